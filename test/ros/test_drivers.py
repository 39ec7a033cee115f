"""What controllers get says what was meant, and what they cannot use is named."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message, serialize_message

from vla_ros.errors import JointNamesError, MissingPackageError, ShapeError
from vla_ros.robot import KINDS
from vla_ros.ros import convert
from vla_ros.ros.qos import interface
from vla_ros.status import GoalCode, Hold
from vla_ros.types import Trajectory

NAMES = ('left_a', 'left_b')
PLACE, SPEED = np.array([0.5, -0.25]), np.array([0.125, 2.0])
OUT = convert.Outgoing(12.5, NAMES, PLACE, SPEED)


def wire(msg):
    """Return a message as another process would get it."""
    return deserialize_message(serialize_message(msg), type(msg))


def test_every_streaming_kind_has_an_encoder_and_no_other_has():
    streaming = {name for name, kind in KINDS.items() if kind.forwarded and '/msg/' in kind.type}
    assert convert.ENCODERS.keys() == streaming


@pytest.mark.parametrize('kind', sorted(convert.ENCODERS))
def test_an_encoder_makes_the_message_of_its_kind(kind):
    assert isinstance(convert.ENCODERS[kind](OUT), interface(KINDS[kind].type))


def test_arrays_hold_positions_or_velocities():
    place = wire(convert.ENCODERS['forward_position_controller'](OUT))
    speed = wire(convert.ENCODERS['forward_velocity_controller'](OUT))
    np.testing.assert_array_equal(convert.positions_from_msg(place), PLACE)
    np.testing.assert_array_equal(convert.positions_from_msg(speed), SPEED)


def test_isaac_gets_names_positions_and_velocities():
    msg = wire(convert.ENCODERS['isaac'](OUT))
    place, speed = convert.targets_from_msg(msg, NAMES[::-1])
    np.testing.assert_array_equal(place, PLACE[::-1])
    np.testing.assert_array_equal(speed, SPEED[::-1])
    with pytest.raises(JointNamesError, match='right_a'):
        convert.targets_from_msg(msg, ('right_a', 'left_b'))
    msg.velocity.pop()
    with pytest.raises(ShapeError, match='1 velocities'):
        convert.targets_from_msg(msg, NAMES)


def test_a_jog_has_velocities_alone_and_what_it_leaves_out_rests():
    msg = wire(convert.ENCODERS['moveit_servo'](OUT))
    assert not msg.displacements and list(msg.joint_names) == list(NAMES)
    stamp, speed = convert.jog_from_msg(msg, ('left_b', 'left_c', 'left_a'))
    assert stamp == 12.5
    np.testing.assert_array_equal(speed, [2.0, 0.0, 0.125])
    with pytest.raises(JointNamesError):
        convert.jog_from_msg(msg, ('left_a', 'left_c'))
    msg.velocities.pop()
    with pytest.raises(ShapeError, match='1 velocities for 2 joints'):
        convert.jog_from_msg(msg, NAMES)


def test_a_goal_holds_the_trajectory_and_the_tightest_tolerances_count():
    said = Trajectory(3.0, [0.0, 0.5], [PLACE, SPEED], np.zeros((2, 2)))
    goal = convert.goal_to_msg(said, NAMES)
    assert convert.tolerances_from_msg(goal) == (0.0, 0.0, 0.0)
    found = convert.trajectory_from_msg(goal.trajectory, NAMES)
    np.testing.assert_array_equal(found.positions, said.positions)
    kind = interface('control_msgs/msg/JointTolerance')
    goal.path_tolerance = [kind(name=n, position=p) for n, p in zip(NAMES, (0.2, 0.1))]
    goal.goal_tolerance = [kind(name=n, position=0.01) for n in NAMES]
    goal.goal_time_tolerance.sec, goal.goal_time_tolerance.nanosec = 1, 500_000_000
    assert convert.tolerances_from_msg(goal) == (0.1, 0.01, 1.5)


@pytest.mark.parametrize('code', GoalCode)
def test_a_result_keeps_its_code_and_words(code):
    names = interface('control_msgs/action/FollowJointTrajectory').Result
    assert getattr(names, code.name) == code
    assert convert.goal_result_from_msg(convert.goal_result(code, 'why')) == (code, 'why')


def test_an_unknown_code_is_a_failure():
    assert convert.goal_result_from_msg(convert.goal_result(-99, ''))[0] is GoalCode.INVALID_GOAL


def test_gripper_goals_keep_position_and_effort():
    assert convert.gripper_goal_from_msg(convert.gripper_goal(0.02, 40.0)) == (0.02, 40.0)


def test_a_package_that_is_not_installed_is_named_with_its_cure():
    with pytest.raises(MissingPackageError, match=r'ros-\$ROS_DISTRO-no-such-msgs') as caught:
        interface('no_such_msgs/msg/Thing')
    assert 'no_such_msgs' in str(caught.value)


def test_a_report_of_the_forwarder_says_why_it_stopped_the_arm():
    sent = Hold(False, PLACE, 'no command came in time')
    found = convert.hold_from_msg(wire(convert.hold_to_msg(1.0, NAMES, sent)), NAMES)
    assert (found.streams, found.reason) == (False, sent.reason)
    np.testing.assert_array_equal(found.place, PLACE)
