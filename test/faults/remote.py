"""An arm whose policy node asks a policy server, for the rows in which the server fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
import signal
import socket
import sys

from cell import Cell, HERE, MOVING, programs, ROBOT, START
import numpy as np
from sabotage_server import HEAL, POISON
import yaml

from vla_ros.nodes.client import Client
from vla_ros.status import PolicyPhase
from vla_ros.supervisor import Command, commands

ACTION = [{'kind': 'joint_position', 'unit': 'rad'}, {'kind': 'gripper', 'unit': 'open_fraction'}]
SHAPE = {'images': [], 'action': ACTION, 'step': 0.05, 'horizon': 20, 'replan_steps': 5}
SWINGS, SWING, HALF = 60, 0.25, 1.0  # count, [rad] of the first joint, [s] from end to end
TIMEOUT = 0.4  # [s] of one answer
STARTED = 'serving policy'


class Remote(Cell):
    """A cell whose trajectories come from a policy node and a server behind it."""

    def __init__(self, client: Client, which: Sequence[Command]) -> None:
        super().__init__(client, which, ROBOT)
        self.silence()  # the policy that the test plays elsewhere

    def start(self) -> None:
        """Start the server before the node that asks it."""
        self.processes['server'].start()
        self.until(lambda: any(STARTED in line for line in self.lines), 'the server', START)
        for name in self.processes.keys() - {'server'}:
            self.processes[name].start()
        self.until(lambda: self.truth and self.status, 'arm and filter', START)
        self.until(lambda: self.client.reports('policy'), 'the policy node', START)

    def moves(self) -> None:
        """Ask for motion until the arm moves; the server may just have come back."""
        self.until(self._moving, 'motion', START)

    def _moving(self) -> bool:
        if self.status.latched:
            self.reset()
        if self.client.policy.phase is PolicyPhase.ERROR or not self.client.policy.instruction:
            self.client.say('swing', START)
        return self.speed > MOVING

    def stops(self, reason: str) -> None:
        """Wait until the arm rests and the policy node says why."""
        self.until(
            lambda: self.client.policy.phase is PolicyPhase.ERROR
            and reason in self.client.policy.message,
            reason,
        )
        self.rests()

    def garble(self) -> None:
        self.signal('server', POISON)

    def heal(self) -> None:
        self.signal('server', HEAL)

    def serve_again(self) -> None:
        """Start the server anew after it was killed."""
        self.lines.clear()
        self.processes['server'].stop()
        self.processes['server'] = self._process(*self.processes['server'].commands)
        self.processes['server'].start()
        self.until(lambda: any(STARTED in line for line in self.lines), 'the server', START)

    def stall(self) -> None:
        self.signal('server', signal.SIGSTOP)

    def go_on(self) -> None:
        self.signal('server', signal.SIGCONT)

    def kill(self) -> None:
        self.signal('server', signal.SIGKILL)


def remote_programs(folder: Path) -> list[Command]:
    """Return server, arm, filter and policy node; the server swings the first joint."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    ends = [np.array(ROBOT.home), np.array(ROBOT.home)]
    ends[0][0], ends[1][0] = SWING, -SWING
    waypoints = [
        {'time': HALF * (k + 1), 'action': [*ends[k % 2].tolist(), 1.0]} for k in range(SWINGS)
    ]
    served = {'name': 'swing', 'adapter': 'scripted', 'state': [], **SHAPE,
              'options': {'waypoints': waypoints}}  # fmt: skip
    options = {'url': f'ws://127.0.0.1:{port}', 'layout': 'droid', 'timeout': TIMEOUT}
    state = [{'kind': 'joint_position', 'unit': 'rad'},
             {'kind': 'gripper', 'unit': 'range', 'closed': 1.0, 'open': 0.0}]  # fmt: skip
    asking = {'name': 'far', 'adapter': 'remote_openpi', 'state': state, **SHAPE,
              'options': options}  # fmt: skip
    for name, content in (('served', served), ('asking', asking)):
        (folder / f'{name}.yaml').write_text(yaml.safe_dump(content))
    arguments = {'robot': ROBOT.name, 'policy': str(folder / 'asking.yaml'), 'seed': 1}
    nodes = {command.name: command for command in commands(ROBOT, arguments)}
    serve = (sys.executable, str(HERE / 'sabotage_server.py'), 'serve',
             str(folder / 'served.yaml'), '--port', str(port))  # fmt: skip
    return [Command('server', serve), *programs(ROBOT.name), nodes['policy']]
