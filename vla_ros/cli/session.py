"""The graph for the length of one command: its own DDS domain, its processes, a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
import os
from pathlib import Path
import random
import socket
import time
from typing import TYPE_CHECKING

from vla_ros.errors import NodeError
from vla_ros.robot import RobotSpec
from vla_ros.supervisor import commands, Supervisor

if TYPE_CHECKING:
    from vla_ros.nodes.client import Client

START = 90.0  # [s] for every process to report, with cold caches on a busy machine
DOMAINS = range(1, 102)  # ids whose ports lie below the range of Linux's own
POLL = 0.1  # [s] between two looks at a condition
TAIL = 12  # lines of a dead process's log that are shown


class Session:
    """A running graph and a client of it."""

    def __init__(self, supervisor: Supervisor, client: Client, tail: deque[str]) -> None:
        self.client = client
        self._supervisor, self._tail = supervisor, tail

    def check(self) -> None:
        """Raise NodeError, with the end of the log, if a process has ended."""
        for ended in self._supervisor.poll():
            lines = '\n'.join(self._tail)
            raise NodeError(f'{ended}. The end of the log:\n{lines}')

    def pid(self, node: str) -> int:
        """Return the process id of a node."""
        return self._supervisor.pid(node)

    def until(
        self,
        condition: Callable[[], object],
        timeout: float,
        what: str,
        each: Callable[[], None] = lambda: None,
    ) -> None:
        """Wait until a condition holds while every process lives.

        Args:
            condition: Looked at every POLL seconds.
            timeout: [s]
            what: What is awaited, for the message.
            each: Called after each look.

        Raises:
            NodeError: A process ended, or the condition did not hold in time.
        """
        deadline = time.monotonic() + timeout
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise NodeError(
                    f'waited {timeout:.0f} s for {what}. Last heard: {self.client.heard()}.'
                )
            each()
            time.sleep(POLL)

    def ready(self) -> None:
        """Wait until every node has reported.

        Raises:
            NodeError: A process ended, or one did not report in time.
        """
        client = self.client
        for name in ('task', 'safety', 'policy'):
            self.until(partial(client.reports, name), START, f"a report of '{name}'")


@contextmanager
def session(
    robot: RobotSpec, arguments: Mapping[str, str | int | float | bool], log: Path
) -> Iterator[Session]:
    """Start simulator, safety filter and policy in a DDS domain of their own; end them after.

    Args:
        robot: The arm.
        arguments: Launch arguments by their names in graph.py.
        log: File for everything that the processes print.
    """
    os.environ['ROS_DOMAIN_ID'] = str(free_domain(random.Random()))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    from vla_ros.nodes.client import Client

    tail: deque[str] = deque(maxlen=TAIL)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w', encoding='utf-8') as file:

        def write(name: str, line: str) -> None:
            text = f'[{name}] {line}'
            tail.append(text)
            file.write(text + '\n')

        supervisor = Supervisor(commands(robot, arguments), write)
        with supervisor, Client() as client:
            yield Session(supervisor, client, tail)


def free_domain(rng: random.Random) -> int:
    """Return a DDS domain that nobody on this machine uses.

    The first participant of domain d listens on UDP port 7400 + 250 d + 10 (DDSI-RTPS 9.6.1).
    """
    for domain in rng.sample(DOMAINS, len(DOMAINS)):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', 7410 + 250 * domain))
            except OSError:
                continue
            return domain
    raise NodeError('every DDS domain from 1 to 101 is in use on this machine; end some graph.')
