"""Simulator, forwarder and safety filter as processes, and an operator who moves the arm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
import random
import signal
import time

import numpy as np
import pytest
import yaml

from vla_ros import graph, paths
from vla_ros.cli.session import free_domain
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.supervisor import commands, Supervisor
from vla_ros.types import Trajectory

LIMIT = 40.0  # bound of every wait [s]
MOVING, RESTING = 0.1, 0.01  # [rad/s]
STILL = 1e-4  # [rad/s] after the last milliradian, by which a servo swings back
AGAIN = 1.0  # [s] after which an arm that rests is asked again
LATE = 0.6  # [s] so that a busy machine is not taken for a dead filter


class Cell:
    """The processes, each of its own, and an operator who overrides the policy."""

    def __init__(self, client: Client, which: RobotSpec, robot: Path, safety: Path) -> None:
        self.client, self.robot = client, which
        self._files = {'robot': str(robot), 'safety': str(safety)}
        self.lines: list[str] = []
        self.joints: list = []
        client.listen(graph.JOINT_STATES, self._on_joints)
        topic = graph.OVERRIDE
        self._out = client.node.create_publisher(
            interface(topic.type), topic.name, profile(topic.qos)
        )
        self.running: dict[str, Supervisor] = {}

    def start(self, node: str) -> None:
        """Start a process, in the place of the one before."""
        self.end(node)
        every = commands(self.robot, {**self._files, 'seed': 1})
        only = tuple(command for command in every if command.name == node)
        made = Supervisor(only, lambda name, line: self.lines.append(f'[{name}] {line}'))
        self.running[node] = made
        made.start()

    def end(self, node: str) -> None:
        if node in self.running:
            self.running.pop(node).stop()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the processes that move the arm."""
        made = graph.processes(self.robot, simulated=True)
        return tuple(p.node for p in made if p.node in ('sim', 'forwarder', 'safety_filter'))

    def ready(self) -> None:
        """Wait until every process is there, the arm rests and nothing is latched."""
        for node in self.nodes:
            if node not in self.running:
                self.start(node)
        self.until(lambda: self.speed() < RESTING, 'rest')
        self.until(lambda: self.reason not in ('', 'process_lost'), 'the filter')
        self.reset()

    def signal(self, node: str, number: int) -> None:
        self.running[node].signal(node, number)

    @property
    def reason(self) -> str:
        return self.client.safety.reason if self.client.safety else ''

    def speed(self) -> float:
        recent = [j for j in self.joints[-20:] if j.stamp > self.joints[-1].stamp - 0.1]
        return float(np.abs(np.mean([j.velocity[:-1] for j in recent], axis=0)).max())

    def place(self) -> float:
        return float(self.joints[-1].position[0])

    def until(self, condition, what: str, limit: float = LIMIT):
        return self.client.until(condition, limit, f'{what}. Log: {self.lines[-8:]}')

    def move(self, by: float) -> None:
        """Override with a turn of the first joint until the arm is well in motion.

        After a reset it is refused until the forwarder reports that it streams.
        """
        times = np.linspace(0.2, 3.0, 20)
        share = times / times[-1]
        asked = -np.inf  # [s]

        def moving() -> bool:
            nonlocal asked
            now = time.monotonic()
            if asked == -np.inf or (now - asked > AGAIN and self.speed() < RESTING):
                asked = now
                positions = np.tile(self.joints[-1].position, (20, 1))
                positions[:, 0] += by * (3 * share**2 - 2 * share**3)
                sent = Trajectory(0.0, times, positions)
                self._out.publish(convert.trajectory_to_msg(sent, self.robot.joint_names))
            return self.speed() > MOVING

        self.until(moving, 'motion')

    def rest(self) -> list[float]:
        """Wait until the arm rests and return the way of its first joint until then."""
        first = len(self.joints)
        self.until(lambda: self.speed() < RESTING, 'rest', LIMIT)
        return [float(j.position[0]) for j in self.joints[first:]]

    def reset(self) -> None:
        """Reset once it is possible, and wait until nothing latches any more."""
        self.until(lambda: cleared(self.client), 'the reset')
        self.until(lambda: self.reason == 'no_plan', 'the end of the fault')

    def lose_filter(self, stop: float) -> None:
        """Kill the filter of a moving arm, which stops within `stop` [s], and start it again."""
        self.move(-0.8)
        self.signal('safety_filter', signal.SIGKILL)
        began = time.monotonic()
        way = self.rest()
        assert time.monotonic() - began < stop + LATE + 1.0
        assert max(np.diff(way), default=0.0) < 1e-3  # it went on as it went, not back
        self.until(lambda: self.speed() < STILL, 'the end of the swing', LIMIT)
        held = self.place()
        self.client.safety = None
        self.start('safety_filter')
        self.until(lambda: self.reason == 'stream_stopped', 'the filter to hear of the stop')
        assert self.place() == pytest.approx(held, abs=2e-3)

    def _on_joints(self, message) -> None:
        self.joints.append(convert.joint_state_from_msg(message, self.robot.joint_names))


def cleared(client: Client) -> bool:
    """Reset the filter; return whether it let itself be."""
    try:
        client.reset_safety()
    except NodeError:
        return False
    return True


@contextmanager
def cell_of(name: str, folder: Path) -> Iterator[Cell]:
    """Run the processes of a robot whose forwarder and filter bear a busy machine."""
    which = load_robot(paths.find('robots', name))
    robot, safety = folder / 'robot.yaml', folder / 'safety.yaml'
    driver = {**asdict(which.driver), 'late': LATE}
    robot.write_text(yaml.safe_dump({'extends': 'panda', 'name': 'patient', 'driver': driver}))
    settings = yaml.safe_load(paths.find('safety', 'default').read_text(encoding='utf-8'))
    safety.write_text(yaml.safe_dump({**settings, 'deadline': LATE}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        with Client('operator') as client:
            made = Cell(client, which, robot, safety)
            try:
                for node in made.nodes:
                    made.start(node)
                made.until(lambda: made.joints and made.reason == 'no_plan', 'every process')
                yield made
            finally:
                for node in list(made.running):
                    made.end(node)
