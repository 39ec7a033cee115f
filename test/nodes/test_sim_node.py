"""The simulator as a process: what it publishes, what it takes, what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
import os
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from vla_ros import graph, paths, supervisor
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.types import Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
HOME = np.array(ROBOT.home)
LIMIT = 40.0  # bound of every wait [s]
CAMERAS = tuple(camera.name for camera in ROBOT.cameras)


class Watch:
    """Keeps what the simulator publishes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.joints: list = []
        self.clock: list[float] = []
        self.frames: dict[str, list] = {name: [] for name in CAMERAS}
        self.infos: dict[str, list] = {name: [] for name in CAMERAS}
        client.listen(
            graph.JOINT_STATES,
            lambda m: self.joints.append(convert.joint_state_from_msg(m, ROBOT.joint_names)),
        )
        client.listen(graph.CLOCK, lambda m: self.clock.append(convert.time_from_msg(m.clock)))
        for name in CAMERAS:
            image, info = graph.camera_topics(ROBOT, name)
            frames, infos = self.frames[name], self.infos[name]
            client.listen(image, lambda m, f=frames: f.append(convert.frame_from_msg(m)))
            client.listen(info, infos.append)
        arm, _ = graph.controller_topics(ROBOT)
        self._arm = client.node.create_publisher(interface(arm.type), arm.name, profile(arm.qos))

    def until(self, condition, what: str):
        return self.client.until(condition, LIMIT, what)

    def command(self, trajectory: Trajectory, names: tuple[str, ...] = ROBOT.arm_joints) -> None:
        self._arm.publish(convert.trajectory_to_msg(trajectory, names))


@pytest.fixture(scope='module')
def watch() -> Iterator[Watch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', '95')
        only = supervisor.commands(
            ROBOT,
            {'robot': 'panda', 'task': 'push', 'seed': 4},
            without=('safety_filter', 'policy'),
        )
        lines: list[str] = []
        with (
            supervisor.Supervisor(only, lambda name, line: lines.append(line)),
            Client('watch') as client,
        ):
            made = Watch(client)
            made.until(lambda: client.task and made.joints, f'the simulator: {lines}')
            yield made


def test_joint_states_come_stamped_in_order_and_fresh(watch):
    count = len(watch.joints)
    watch.until(lambda: len(watch.joints) > count + 20, 'joint states')
    newest = watch.joints[-1]
    assert 0.0 <= time.time() - newest.stamp < 5.0
    stamps = [state.stamp for state in watch.joints]
    assert (np.diff(stamps) > 0.0).all()
    np.testing.assert_allclose(newest.position[:-1], HOME, atol=5e-3)


def test_the_clock_is_the_time_of_the_joint_states(watch):
    watch.until(lambda: len(watch.clock) > 20, 'clock messages')
    # the newest messages of the two topics are at most a few ticks apart
    assert watch.clock[-1] == pytest.approx(watch.joints[-1].stamp, abs=0.5)
    assert watch.clock[-1] == pytest.approx(time.time(), abs=5.0)


def test_pictures_of_one_instant_come_from_every_camera(watch):
    for name in CAMERAS:
        watch.until(lambda name=name: len(watch.frames[name]) > 2, f'pictures of {name}')
        frame = watch.frames[name][-1]
        assert frame.image.shape == (480, 640, 3)
        assert frame.image.std() > 10.0, 'the picture shows something'
        watch.until(
            lambda name=name: any(
                convert.stamp_from_msg(m) == watch.frames[name][-1].stamp
                for m in watch.infos[name]
            ),
            'the camera_info of the same instant',
        )
        info = watch.infos[name][-1]
        assert (info.width, info.height) == (640, 480)
    stamps = [{frame.stamp for frame in watch.frames[name]} for name in CAMERAS]
    assert len(stamps[0] & stamps[1]) >= 2


def test_obstacles_and_task_are_known_to_late_comers(watch):
    heard: list = []
    watch.client.listen(
        graph.OBSTACLES,
        lambda m: heard.append(convert.obstacles_from_msg(m)),
    )
    watch.until(lambda: heard, 'the obstacles')
    task = watch.client.task
    assert (task.suite, task.task, task.seed) == ('tabletop', 'push', 4)
    assert task.instruction


def test_the_world_can_be_reset(watch):
    text = watch.client.reset_world('', 'pick', 8)
    watch.until(lambda: watch.client.task.seed == 8, 'the new task')
    task = watch.client.task
    assert (task.task, task.instruction, task.success) == ('pick', text, False)
    assert task.step < 50


@pytest.mark.parametrize(
    ('suite', 'task', 'hint'), [('', 'pik', "'pick'"), ('tabeltop', 'pick', "'tabletop'")]
)
def test_a_wrong_name_is_refused_with_the_closest(watch, suite, task, hint):
    with pytest.raises(NodeError, match=f'Did you mean {hint}'):
        watch.client.reset_world(suite, task, 1)


def test_the_arm_follows_commands_and_drops_those_of_others(watch):
    watch.client.reset_world('', 'reach', 2)
    goal = HOME + [0.1, 0, 0, 0, 0, 0, 0]
    names = tuple(f'other_{name}' for name in ROBOT.arm_joints)
    watch.command(Trajectory(0.0, [0.3], [HOME + 0.1], np.zeros((1, 7))), names)
    watch.command(Trajectory(0.0, [0.5], [goal], np.zeros((1, 7))))
    watch.until(
        lambda: np.abs(watch.joints[-1].position[:-1] - goal).max() < 5e-3, 'the arm at its goal'
    )
    assert np.abs(watch.joints[-1].position[1:-1] - HOME[1:]).max() < 0.02


@pytest.mark.parametrize(
    ('parameter', 'hint'),
    [("robot:='pandas'", "'panda'"), ("task:='reech'", "'reach'"), ("suite:='top'", "'tabletop'")],
)
def test_a_wrong_name_is_one_clear_line_and_ends_the_process(parameter, hint):
    done = subprocess.run(
        [sys.executable, '-m', 'vla_ros.nodes.sim_node', '--ros-args', '-p', parameter],
        env={**os.environ, 'ROS_DOMAIN_ID': '94'},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if 'ERROR' in line]
    assert len(errors) == 1, done.stderr
    assert f'Did you mean {hint}' in errors[0]
    assert 'Traceback' not in done.stderr
