"""The markers node beside a running simulator and safety filter, over real topics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import time

import numpy as np
import pinocchio as pin
import pytest

pytest.importorskip('rclpy')

from vla_ros import graph, paths, supervisor
from vla_ros.mark import Form, Mark
from vla_ros.nodes.client import Client
from vla_ros.obstacle import Obstacle
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.safety import Level
from vla_ros.safety.picture import LEVELS

ROBOT = load_robot(paths.find('robots', 'panda'))
LIMIT = 60.0  # bound of every wait [s]; a busy machine compiles the core in that time
pytestmark = pytest.mark.timeout(240)  # seconds on an idle machine
BALL = Obstacle('ball', 'sphere', [0.05], [0.3, 0.5, 0.4])


class Viewer:
    """What RViz would know: every mark that was drawn and not taken away."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.marks: dict[tuple[str, int], Mark] = {}
        self.frames: set[str] = set()
        self.pictures = 0

    def take(self, msg) -> None:
        drawn, gone = convert.marks_from_msg(msg)
        self.frames |= {marker.header.frame_id for marker in msg.markers}
        shown = dict(self.marks)
        for key in gone:
            shown.pop(key, None)  # of a picture before this viewer came
        shown.update({mark.key: mark for mark in drawn})
        self.marks = shown
        self.pictures += 1

    def space(self, name: str) -> list[Mark]:
        return [mark for mark in self.marks.values() if mark.space == name]

    def until(self, condition, what: str):
        return self.client.until(condition, LIMIT, f'{what}. Shown: {sorted(self.marks)}')


@pytest.fixture(scope='module')
def client() -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', '88')
        lines: list[str] = []
        started = supervisor.commands(ROBOT, {'seed': 1, 'markers': True}, without=('policy',))
        with (
            supervisor.Supervisor(started, lambda name, line: lines.append(f'{name}: {line}')),
            Client('viewer') as made,
        ):
            made.until(lambda: made.safety and made.task, LIMIT, f'sim and filter: {lines}')
            made.until(lambda: inputs(made) is not None, LIMIT, f'the markers node: {lines}')
            yield made


def inputs(client: Client) -> set[str] | None:
    """Return the topics of the graph that the markers node listens to; None before it is there."""
    node = client.node
    if not any(
        info.node_name == 'markers'
        for info in node.get_publishers_info_by_topic(graph.MARKERS.name)
    ):
        return None
    return {
        topic.name
        for topic in (
            graph.JOINT_STATES, graph.SAFETY_STATUS, graph.EXECUTION_STATE, graph.OBSTACLES,
        )
        for info in node.get_subscriptions_info_by_topic(topic.name)
        if info.node_name == 'markers'
    }  # fmt: skip


@contextmanager
def watching(client: Client) -> Iterator[Viewer]:
    viewer, topic = Viewer(client), graph.MARKERS
    subscription = client.node.create_subscription(
        interface(topic.type), topic.name, viewer.take, profile(topic.qos)
    )
    try:
        yield viewer
    finally:
        client.between(lambda: client.node.destroy_subscription(subscription))


def test_nobody_is_listened_to_until_somebody_watches_and_after(client):
    assert inputs(client) == set()
    with watching(client) as viewer:
        viewer.until(lambda: viewer.pictures > 2, 'pictures')
        assert len(inputs(client)) == 4
    viewer.until(lambda: inputs(client) == set(), 'the end of listening')


def test_capsules_are_where_the_measured_joints_put_them(client):
    newest = []
    client.listen(
        graph.JOINT_STATES,
        lambda m: newest.append(convert.joint_state_from_msg(m, ROBOT.joint_names)),
    )
    model = pin.buildModelFromUrdf(str(ROBOT.urdf_path))
    data, full = model.createData(), pin.neutral(model)
    with watching(client) as viewer:
        viewer.until(lambda: newest and viewer.space('arm') and viewer.pictures > 2, 'the arm')
        full[: ROBOT.dof] = newest[-1].position[: ROBOT.dof]  # the arm rests
        pin.framesForwardKinematics(model, data, full)
        for i, capsule in enumerate(ROBOT.capsules):
            pose = data.oMf[model.getFrameId(capsule.link)]
            drawn = viewer.marks['arm', 2 * i + 1].points[0]
            np.testing.assert_allclose(drawn, pose.act(np.array(capsule.a)), atol=2e-3)
        assert viewer.frames == {ROBOT.base_frame}
        viewer.until(lambda: colours(viewer) == {LEVELS[Level(client.safety.level)]}, 'the level')
        viewer.until(
            lambda: client.safety.reason in viewer.space('status')[0].text, 'the reason in words'
        )


def colours(viewer: Viewer) -> set[tuple[float, ...]]:
    """Return the colours of the arm; a message has them in single precision."""
    return {tuple(round(part, 6) for part in mark.colour[:3]) for mark in viewer.space('arm')}


def test_obstacles_come_and_go(client):
    topic = graph.OBSTACLES
    out = client.node.create_publisher(interface(topic.type), topic.name, profile(topic.qos))

    def publish(*obstacles: Obstacle) -> None:
        out.publish(convert.obstacles_to_msg(obstacles, time.time(), ROBOT.base_frame))

    with watching(client) as viewer:
        viewer.until(lambda: viewer.space('arm'), 'the arm')
        assert not viewer.space('obstacles')
        publish(BALL)
        viewer.until(lambda: viewer.space('obstacles'), 'the ball')
        (ball,) = viewer.space('obstacles')
        assert ball.form is Form.SPHERES
        np.testing.assert_allclose(ball.points[0], BALL.position)
        assert viewer.space('inflation')
        publish()
        viewer.until(lambda: not viewer.space('obstacles'), 'the ball to go')
        assert not viewer.space('inflation')
    client.between(lambda: client.node.destroy_publisher(out))
