"""The doubles of action controllers over the wire: they refuse, reach, preempt and give up."""

from __future__ import annotations

from collections.abc import Iterator
import random
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.action import ActionClient

from vla_ros import graph, paths, supervisor
from vla_ros.cli.session import free_domain
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface
from vla_ros.status import GoalCode
from vla_ros.types import Trajectory

pytestmark = pytest.mark.timeout(300)
ROBOT = load_robot(paths.find('robots', 'panda_action'))
HOME = np.array(ROBOT.home)
LIMIT = 40.0  # bound of every wait [s]
SUCCEEDED, CANCELED, ABORTED = 4, 5, 6  # action_msgs/GoalStatus


class Caller:
    """Sends goals to the simulated controllers."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.actions = [
            ActionClient(client.node, interface(kind), name)
            for name, kind in graph.controller_actions(ROBOT)
        ]

    def send(self, goal: Any, index: int = 0) -> Any:
        action = self.actions[index]
        self.client.until(action.server_is_ready, LIMIT, 'the action server')
        return self.client.wait(action.send_goal_async(goal), LIMIT, 'the answer to a goal')

    def ended(self, handle: Any) -> Any:
        return self.client.wait(handle.get_result_async(), LIMIT, 'the end of a goal')

    def code(self, handle: Any) -> tuple[int, GoalCode]:
        answer = self.ended(handle)
        return answer.status, convert.goal_result_from_msg(answer.result)[0]


@pytest.fixture(scope='module')
def caller() -> Iterator[Caller]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        others = ('forwarder', 'safety_filter', 'policy', 'markers', 'recorder')
        only = supervisor.commands(ROBOT, {'robot': 'panda_action', 'seed': 1}, without=others)
        lines: list[str] = []
        with (
            supervisor.Supervisor(only, lambda name, line: lines.append(line)),
            Client('caller') as client,
        ):
            client.until(lambda: client.task, LIMIT, f'the simulator: {lines}')
            yield Caller(client)


def way(by: float, seconds: float, stamp: float = 0.0) -> Trajectory:
    return Trajectory(stamp, [seconds], [HOME + by * np.eye(7)[0]], np.zeros((1, 7)))


def test_a_goal_is_reached(caller):
    handle = caller.send(convert.goal_to_msg(way(0.1, 0.5), ROBOT.arm_joints))
    assert handle.accepted
    assert caller.code(handle) == (SUCCEEDED, GoalCode.SUCCESSFUL)


@pytest.mark.parametrize(
    ('goal', 'names'),
    [
        (way(0.1, 0.5), ('other', *ROBOT.arm_joints[1:])),
        (way(0.1, 0.5, stamp=1000.0), ROBOT.arm_joints),  # it was over long ago
        (Trajectory(0.0, [0.5], [HOME], np.ones((1, 7))), ROBOT.arm_joints),  # no rest at its end
        (Trajectory(0.0, [0.5, 0.5], [HOME, HOME]), ROBOT.arm_joints),
    ],
)
def test_what_the_topic_refuses_the_action_refuses(caller, goal, names):
    assert not caller.send(convert.goal_to_msg(goal, names)).accepted


def test_a_newer_goal_preempts_and_the_older_is_told_so(caller):
    first = caller.send(convert.goal_to_msg(way(0.0, 5.0), ROBOT.arm_joints))
    second = caller.send(convert.goal_to_msg(way(0.05, 0.4), ROBOT.arm_joints))
    assert caller.code(first) == (ABORTED, GoalCode.INVALID_GOAL)
    assert caller.code(second) == (SUCCEEDED, GoalCode.SUCCESSFUL)


def test_a_goal_that_is_canceled_leaves_the_arm_where_it_is(caller):
    handle = caller.send(convert.goal_to_msg(way(-0.2, 5.0), ROBOT.arm_joints))
    time.sleep(0.3)
    caller.client.wait(handle.cancel_goal_async(), LIMIT, 'the cancellation')
    assert caller.ended(handle).status == CANCELED


def test_a_path_that_the_arm_cannot_keep_is_given_up(caller):
    goal = convert.goal_to_msg(way(0.3, 0.3), ROBOT.arm_joints)
    kind = interface('control_msgs/msg/JointTolerance')
    goal.path_tolerance = [kind(name=name, position=1e-5) for name in ROBOT.arm_joints]
    assert caller.code(caller.send(goal)) == (ABORTED, GoalCode.PATH_TOLERANCE_VIOLATED)


def test_a_gripper_goal_is_reached_and_says_where_it_is(caller):
    answer = caller.ended(caller.send(convert.gripper_goal(0.005, 40.0), index=1))
    assert answer.status == SUCCEEDED and answer.result.reached_goal
    assert answer.result.position == pytest.approx(0.005, abs=0.011)
    for nowhere in (float('nan'), float('inf')):
        assert not caller.send(convert.gripper_goal(nowhere, 40.0), index=1).accepted
