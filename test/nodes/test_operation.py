"""What an operator does to a running safety filter: press, reset, override, tune, run dry."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
import os
from pathlib import Path
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')

from driven import cleared

from vla_ros import graph, paths, supervisor
from vla_ros.cli.session import free_domain
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.safety.config import load_safety
from vla_ros.types import JointState, Trajectory

PANDA = load_robot(paths.find('robots', 'panda'))
CONFIG = load_safety(paths.find('safety', 'default'))
HOME = np.array([*PANDA.home, PANDA.gripper.open])
LIMIT = 30.0  # bound of every wait [s]
TIMEOUT = 0.5  # [s] of the dead-man switch; a busy machine keeps it pressed in time
STOP = 'panda/stop'  # the driver's stop service


class Operator:
    """Plays arm, policy, driver and operator around one safety filter."""

    def __init__(self, client: Client, robot: RobotSpec, follows: bool) -> None:
        self.client, self.robot, self.follows = client, robot, follows
        self.place = HOME.copy()
        self.would_be: list[np.ndarray] = []
        self.pressed: bool | None = None
        self.stops = 0  # calls of the driver's stop service
        self.errors: list[BaseException] = []
        topics = [graph.JOINT_STATES, graph.TRAJECTORY, graph.OVERRIDE, graph.ESTOP]
        topics += graph.enable_topics(robot)
        self._out = {t.name: self._advertise(t) for t in topics}
        client.listen(graph.controller_topics(robot)[0], self._on_arm)
        client.listen(graph.DRY_RUN_COMMAND, self._on_would_be)
        for name, kind in graph.stop_services(robot):
            client.node.create_service(interface(kind), name, self._on_stop)
        kind = interface('rcl_interfaces/srv/SetParameters')
        self._tune = client.node.create_client(kind, 'safety_filter/set_parameters')
        self.pace = Pace(100.0, self._publish, failed=self.errors.append, name='operator')
        self.pace.start()

    @property
    def reason(self) -> str:
        return self.client.safety.reason if self.client.safety else ''

    def until(self, condition, what: str):
        return self.client.until(condition, LIMIT, what)

    def say(self, topic: graph.Topic, trajectory: Trajectory) -> None:
        msg = convert.trajectory_to_msg(trajectory, self.robot.joint_names)
        self._out[topic.name].publish(msg)

    def turn(self, by: float, seconds: float = 1.5, stamp: float = 0.0) -> Trajectory:
        """Return a turn of the first joint from where the arm is."""
        times = np.linspace(0.1, seconds, 16)
        share = times / seconds
        positions = np.tile(self.place, (16, 1))
        positions[:, 0] += by * (3 * share**2 - 2 * share**3)
        return Trajectory(stamp, times, positions)

    def estop(self, pressed: bool) -> None:
        self._out[graph.ESTOP.name].publish(convert.flag_to_msg(pressed))

    def reset(self) -> None:
        self.until(lambda: cleared(self.client), 'the reset')
        self.until(lambda: not self.client.safety.latched, 'the end of the fault')

    def tune(self, **values: object) -> tuple[bool, str]:
        """Set parameters, with `__` for a dot; return whether it was done, and why not."""
        from rclpy.parameter import Parameter

        request = self._tune.srv_type.Request()
        request.parameters = [
            Parameter(name.replace('__', '.'), value=value).to_parameter_msg()
            for name, value in values.items()
        ]
        answer = self.client.wait(self._tune.call_async(request), LIMIT, 'the parameters')
        (result,) = answer.results
        return result.successful, result.reason

    def _advertise(self, topic: graph.Topic):
        return self.client.node.create_publisher(
            interface(topic.type), topic.name, profile(topic.qos)
        )

    def _publish(self, dt: float) -> None:
        state = JointState(time.time(), self.place, np.zeros(len(HOME)))
        msg = convert.joint_state_to_msg(state, self.robot.joint_names)
        self._out[graph.JOINT_STATES.name].publish(msg)
        if self.pressed is not None:
            for topic in graph.enable_topics(self.robot):
                self._out[topic.name].publish(convert.flag_to_msg(self.pressed))

    def _on_arm(self, msg) -> None:
        if self.follows:
            place = convert.trajectory_from_msg(msg, self.robot.arm_joints).positions[0]
            self.place = np.append(place, HOME[-1])

    def _on_would_be(self, msg) -> None:
        command = convert.trajectory_from_msg(msg, self.robot.joint_names)
        self.would_be.append(command.positions[0])

    def _on_stop(self, request, answer):
        self.stops += 1
        return convert.trigger_answer(True, 'brakes are on')


@contextmanager
def operator(follows: bool, **arguments: object) -> Iterator[Operator]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        robot = load_robot(paths.find('robots', str(arguments.get('robot', 'panda'))))
        every = supervisor.commands(robot, arguments)
        only = tuple(command for command in every if command.name == 'safety_filter')
        lines: list[str] = []
        with (
            supervisor.Supervisor(only, lambda name, line: lines.append(line)),
            Client('operator') as client,
        ):
            made = Operator(client, robot, follows)
            made.until(lambda: client.safety, f'the filter: {lines}')
            for out in made._out.values():
                made.until(lambda out=out: out.get_subscription_count(), out.topic_name)
            yield made
            made.pace.stop()
            assert not made.errors


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """A robot with a dead-man switch and a stoppable driver, and an e-stop of level 4."""
    made = tmp_path_factory.mktemp('cell')
    driver = {**asdict(PANDA.driver), 'stop': STOP}
    robot = {'extends': 'panda', 'name': 'cell', 'driver': driver, 'enable': {'timeout': TIMEOUT}}
    (made / 'robot.yaml').write_text(yaml.safe_dump(robot))
    settings = yaml.safe_load(paths.find('safety', 'default').read_text(encoding='utf-8'))
    settings['faults']['estop']['level'] = 4
    settings['deadline'] = 2.0  # a busy machine is no fault here
    (made / 'safety.yaml').write_text(yaml.safe_dump(settings))
    return made


@pytest.fixture(scope='module')
def cell(folder) -> Iterator[Operator]:
    files = {'robot': str(folder / 'robot.yaml'), 'safety': str(folder / 'safety.yaml')}
    with operator(True, **files) as made:
        yield made


@pytest.fixture
def pressed(cell) -> Operator:
    """The cell with its switch pressed and nothing latched."""
    cell.pressed = True
    cell.estop(False)
    time.sleep(0.1)
    if cell.client.safety.latched:
        cell.reset()
    cell.until(lambda: cell.reason in ('no_plan', 'plan_end', 'plan_silent'), 'rest')
    return cell


def test_a_switch_is_pressed_and_then_reset(cell):
    cell.until(lambda: cell.reason == 'enable_released', 'the fault')
    with pytest.raises(NodeError, match='press it'):
        cell.client.reset_safety()
    cell.pressed = True
    cell.reset()
    cell.until(lambda: cell.reason == 'no_plan', 'a filter that waits')


@pytest.mark.parametrize('left', [False, None])
def test_a_released_or_silent_switch_stops_the_motion(pressed, left):
    start = pressed.place[0]
    pressed.say(graph.OVERRIDE, pressed.turn(0.6, seconds=3.0))
    pressed.until(lambda: abs(pressed.place[0] - start) > 0.05, 'motion')
    pressed.pressed = left
    pressed.until(lambda: pressed.reason == 'enable_released', 'the fault')
    pressed.until(lambda: np.abs(pressed.client.safety.filtered_velocity).max() < 1e-6, 'rest')
    assert pressed.client.safety.latched
    assert abs(pressed.place[0] - start) < 0.55


def test_an_override_wins_over_the_policy(pressed):
    start = pressed.place[0]
    pressed.say(graph.OVERRIDE, pressed.turn(-0.3))
    pressed.until(lambda: pressed.client.safety.source == 'override', 'the source')
    pressed.say(graph.TRAJECTORY, pressed.turn(0.3, stamp=time.time()))
    pressed.until(lambda: pressed.client.safety.source == '', 'the end of the override')
    assert pressed.place[0] == pytest.approx(start - 0.3, abs=0.02)
    pressed.say(graph.TRAJECTORY, pressed.turn(0.2, stamp=time.time()))
    pressed.until(lambda: pressed.client.safety.source == 'policy', 'the policy')


def test_level_4_asks_the_driver_once(pressed):
    calls = pressed.stops
    pressed.estop(True)
    pressed.until(lambda: pressed.client.safety.level == 4, 'level 4')
    pressed.until(lambda: 'brakes are on' in pressed.client.safety.message, 'its answer')
    time.sleep(0.2)
    assert pressed.stops == calls + 1
    pressed.estop(False)
    pressed.reset()


def test_parameters_change_while_the_filter_runs(pressed):
    assert pressed.tune(speed_scale=0.25) == (True, '')
    pressed.until(lambda: pressed.client.safety.speed_scale == 0.25, 'the status')
    assert pressed.tune(speed_scale=1.0) == (True, '')
    name, value = 'safety__margin_obstacle', CONFIG.margin_obstacle
    assert pressed.tune(**{name: value + 0.01}) == (True, '')
    assert pressed.tune(**{name: value}) == (True, '')


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ({'speed_scale': 0.0}, 'range'),
        ({'speed_scale': 1.5}, 'range'),
        ({'safety__plan_timeout': -1.0}, 'range'),
        ({'safety__plan_timeout': 'soon'}, 'type'),
        ({'safety__period': 0.004}, 'read-only'),
        ({'safety__barrier_gain': 90.0}, 'lower the gain'),
        ({'safety__margin_self': 0.1}, 'nearer than the new margin'),
    ],
)
def test_a_change_that_cannot_be_is_refused_with_its_reason(pressed, values, words):
    done, reason = pressed.tune(**values)
    assert not done
    assert words in reason


def test_a_dry_run_commands_nobody(folder):
    with operator(False, dry_run=True, safety=str(folder / 'safety.yaml')) as dry:
        dry.until(lambda: dry.reason == 'no_plan', 'a filter that waits')
        assert dry.client.safety.dry_run
        for topic in graph.controller_topics(PANDA):
            assert dry.client.node.count_publishers(topic.name) == 0
        said = [0.0]

        def moved() -> bool:  # a starved machine may take up a plan too late: say it again
            if time.monotonic() - said[0] > 3.0:
                said[0] = time.monotonic()
                dry.say(graph.TRAJECTORY, dry.turn(0.4, seconds=0.9, stamp=time.time()))
            return max((q[0] for q in dry.would_be[-400:]), default=0.0) > 0.1

        dry.until(moved, 'the would-be motion')
        dry.until(lambda: np.abs(dry.would_be[-1] - HOME).max() < 1e-9, 'the way back')
        assert not dry.client.safety.latched


def test_a_wrong_parameter_at_the_start_is_one_clear_line(folder):
    for said, words in (
        ('safety.margin_self:=9.0', 'must be 0 to 0.1'),
        ('safety.mode:=pathe', "Did you mean 'path'"),
        ('speed_scale:=2.0', 'must be 0.01 to 1'),
    ):
        argv = [sys.executable, '-m', 'vla_ros.nodes.safety_filter_node', '--ros-args', '-p', said]
        done = subprocess.run(
            argv,
            env={**os.environ, 'ROS_DOMAIN_ID': str(free_domain(random.Random()))},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
        assert done.returncode == 1
        assert words in done.stderr
        assert 'Traceback' not in done.stderr
