"""Simulator, forwarder and safety filter as processes: any of them dies, and the arm rests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
import random
import signal
import time

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')

from vla_ros import graph, paths
from vla_ros.cli.session import free_domain
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.supervisor import commands, Supervisor
from vla_ros.types import Trajectory

ROBOT = load_robot(paths.find('robots', 'panda_streaming'))
LIMIT = 40.0  # bound of every wait [s]
MOVING, RESTING = 0.1, 0.01  # [rad/s]
AGAIN = 1.0  # [s] after which an arm that rests is asked again
STOP = 1.0  # [s] in which every stop of this arm is over, the notice included
LATE = 0.6  # [s] so that a busy machine is not taken for a dead filter


class Cell:
    """The processes, each of its own, and an operator who overrides the policy."""

    def __init__(self, client: Client, robot: Path, safety: Path) -> None:
        self.client = client
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
        every = commands(ROBOT, {**self._files, 'seed': 1})
        only = tuple(command for command in every if command.name == node)
        made = Supervisor(only, lambda name, line: self.lines.append(f'[{name}] {line}'))
        self.running[node] = made
        made.start()

    def end(self, node: str) -> None:
        if node in self.running:
            self.running.pop(node).stop()

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
                self._out.publish(convert.trajectory_to_msg(sent, ROBOT.joint_names))
            return self.speed() > MOVING

        self.until(moving, 'motion')

    def rest(self) -> list[float]:
        """Wait until the arm rests and return the way of its first joint until then."""
        first = len(self.joints)
        self.until(lambda: self.speed() < RESTING, 'rest', LIMIT)
        return [float(j.position[0]) for j in self.joints[first:]]

    def reset(self) -> None:
        """Reset once it is possible, and wait until nothing latches any more."""
        self.until(self._cleared, 'the reset')
        self.until(lambda: self.reason == 'no_plan', 'the end of the fault')

    def _cleared(self) -> bool:
        try:
            self.client.reset_safety()
        except NodeError:
            return False
        return True

    def _on_joints(self, message) -> None:
        self.joints.append(convert.joint_state_from_msg(message, ROBOT.joint_names))


@pytest.fixture(scope='module')
def cell(tmp_path_factory) -> Iterator[Cell]:
    folder = tmp_path_factory.mktemp('patient')
    robot, safety = folder / 'robot.yaml', folder / 'safety.yaml'
    driver = {**asdict(ROBOT.driver), 'late': LATE}
    robot.write_text(yaml.safe_dump({'extends': 'panda', 'name': 'patient', 'driver': driver}))
    settings = yaml.safe_load(paths.find('safety', 'default').read_text(encoding='utf-8'))
    safety.write_text(yaml.safe_dump({**settings, 'deadline': LATE}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        with Client('operator') as client:
            made = Cell(client, robot, safety)
            try:
                for node in ('sim', 'forwarder', 'safety_filter'):
                    made.start(node)
                made.until(lambda: made.joints and made.reason == 'no_plan', 'every process')
                yield made
            finally:
                for node in list(made.running):
                    made.end(node)


@pytest.fixture(autouse=True)
def ready(cell):
    """Begin each test at rest with every process there and nothing latched."""
    for node in ('sim', 'forwarder', 'safety_filter'):
        if node not in cell.running:
            cell.start(node)
    cell.until(lambda: cell.speed() < RESTING, 'rest')
    cell.until(lambda: cell.reason not in ('', 'process_lost'), 'the filter')
    cell.reset()


def test_an_override_is_streamed_to_the_arm_and_reported(cell):
    start = cell.place()
    cell.move(0.4)
    cell.until(lambda: cell.client.safety.source == 'override', 'the source')
    cell.until(lambda: abs(cell.place() - start - 0.4) < 0.02, 'the goal')
    cell.until(lambda: cell.client.safety.source == '', 'the end of the override')


def test_a_killed_filter_leaves_an_arm_that_stops_and_needs_one_reset(cell):
    cell.move(-0.8)
    cell.signal('safety_filter', signal.SIGKILL)
    began = time.monotonic()
    way = cell.rest()
    assert time.monotonic() - began < STOP + LATE + 1.0
    assert max(np.diff(way), default=0.0) < 1e-3  # it went on as it went, and did not turn back
    held = cell.place()

    cell.client.safety = None
    cell.start('safety_filter')
    cell.until(lambda: cell.reason == 'stream_stopped', 'the filter to hear of the stop')
    assert cell.client.safety.latched and cell.client.safety.level == 3
    assert cell.place() == pytest.approx(held, abs=2e-3)

    count = len(cell.joints)
    cell.reset()
    cell.move(0.4)
    steps = np.abs(np.diff([j.position[0] for j in cell.joints[count:]]))
    assert steps.max() < 0.02  # it resumed where it was, without a jump


def test_a_frozen_filter_stops_the_arm_and_cannot_take_it_back(cell):
    cell.move(0.8)
    cell.signal('safety_filter', signal.SIGSTOP)
    cell.rest()
    time.sleep(2.0 * LATE)
    held = cell.place()
    cell.signal('safety_filter', signal.SIGCONT)
    cell.until(lambda: cell.client.safety.latched, 'the fault')
    cell.until(lambda: {'missed_deadline', 'stream_stopped'} & {cell.reason}, 'its reason')
    time.sleep(0.3)
    assert cell.place() == pytest.approx(held, abs=2e-3)
    cell.reset()
    cell.move(-0.4)


def test_a_killed_forwarder_is_told_and_its_return_needs_a_reset(cell):
    cell.move(-0.8)
    cell.signal('forwarder', signal.SIGKILL)
    cell.until(lambda: cell.reason in ('process_lost', 'tracking_lost'), 'the fault')
    assert cell.client.safety.latched
    cell.rest()
    held = cell.place()
    cell.start('forwarder')
    time.sleep(0.5)
    assert cell.place() == pytest.approx(held, abs=2e-3)
    cell.reset()
    cell.move(0.4)
