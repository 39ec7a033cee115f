"""The whole graph with simulator and learned policy, for the rows in which the policy fails."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
import itertools
import signal
import sys

from cell import Cell, HERE, Message, MOVING, ROBOT, START
import numpy as np
from sabotage_policy import HEAL, POISON

from vla_ros import graph
from vla_ros.nodes.client import Client
from vla_ros.ros import convert
from vla_ros.sim.tasks import sample_episode
from vla_ros.status import PolicyPhase
from vla_ros.supervisor import Command, commands
from vla_ros.types import JointState

SEED = 3


class Table(Cell):
    """A cell whose arm is simulated and whose policy is a process of its own."""

    still, stays = 0.01, 2e-3  # [rad/s], [rad]: physics and noise move an arm at rest

    def __init__(self, client: Client, which: Sequence[Command]) -> None:
        super().__init__(client, which, ROBOT)
        client.listen(graph.JOINT_STATES, self._on_truth)
        objects = sample_episode('reach', SEED).layout.objects
        self._wishes = itertools.cycle(f'reach the {o.colour} {o.shape}' for o in objects)

    def start(self) -> None:
        """Start one process after another and wait until each is heard."""
        for name, node in (('policy', 'policy'), ('sim', 'task'), ('safety_filter', 'safety')):
            self.processes[name].start()  # weights load faster without the others
            self.until(partial(self.client.reports, node), f'the report of {node}', START)

    def behave(self) -> None:
        """Let the policy answer again."""
        reported = self.client.policy
        if reported is None or reported.phase is PolicyPhase.STOPPED:  # on its way to its end
            self.revive('policy')
        if not self.processes['policy'].poll():
            self.signal('policy', signal.SIGCONT)
            self.signal('policy', HEAL)

    def look(self) -> None:
        """Nothing to do: the policy looks for itself."""

    def ready(self) -> None:
        """Clear what is latched; the arm rests until it is asked for something."""
        if self.status.latched:
            self.reset()

    def moves(self) -> None:
        """Ask for another thing until the arm moves."""
        self.client.say(next(self._wishes), START)
        self.until(lambda: self.speed > MOVING and self.status.level <= 1, 'motion', START)

    def revive(self, name: str) -> None:
        """Start a process again, and wait until the policy is ready."""
        self.client.policy = None
        super().revive(name)
        self.until(partial(self.client.reports, 'policy'), 'the report of the policy', START)

    def poison(self) -> None:
        """Let the policy answer NaN."""
        self.signal('policy', POISON)

    def _on_truth(self, message: Message) -> None:
        """Take the mean velocity of 0.1 s: noise of one state is no motion."""
        state = convert.joint_state_from_msg(message, ROBOT.joint_names)
        self._recent = [*getattr(self, '_recent', []), state][-20:]
        mean = np.mean([s.velocity for s in self._recent], axis=0)
        self.truth.append(JointState(state.stamp, state.position, mean))


def table_programs() -> list[Command]:
    """Return simulator, filter and a policy that can be poisoned."""
    arguments = {'robot': ROBOT.name, 'policy': 'tiny_pi0', 'task': 'reach', 'seed': SEED}
    nodes = {command.name: command for command in commands(ROBOT, arguments)}
    argv = nodes['policy'].argv
    poisonable = (sys.executable, str(HERE / 'sabotage_policy.py'))
    argv = (*poisonable, *argv[argv.index('--ros-args') :])
    return [nodes['sim'], nodes['safety_filter'], Command('policy', argv)]
