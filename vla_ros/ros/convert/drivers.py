"""What controllers take: a message or a goal for each kind of the robot file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from std_msgs.msg import Float64MultiArray

from vla_ros.ros.convert.basics import header
from vla_ros.ros.convert.joints import doubles, joint_state_to_msg, trajectory_to_msg
from vla_ros.ros.qos import interface
from vla_ros.types import Array, JointState, Trajectory


class Outgoing(NamedTuple):
    """What goes to a controller that takes one command after another."""

    stamp: float  # ROS time [s]
    names: Sequence[str]
    position: Array  # (n,) [rad] or [m]
    velocity: Array  # (n,) [rad/s] or [m/s]


def positions_to_msg(values: Array) -> Float64MultiArray:
    """Return what a forward command controller gets: positions or velocities (n,)."""
    return Float64MultiArray(data=doubles(values))


def jog_to_msg(stamp: float, names: Sequence[str], velocity: Array) -> Any:
    """Return a control_msgs/JointJog, with velocities (n,) [rad/s] and no displacements."""
    return interface('control_msgs/msg/JointJog')(
        header=header(stamp), joint_names=list(names), velocities=doubles(velocity)
    )


ENCODERS: dict[str, Callable[[Outgoing], Any]] = {  # by the kind of the robot file
    'forward_position_controller': lambda out: positions_to_msg(out.position),
    'forward_velocity_controller': lambda out: positions_to_msg(out.velocity),
    'isaac': lambda out: joint_state_to_msg(
        JointState(out.stamp, out.position, out.velocity), out.names
    ),
    'moveit_servo': lambda out: jog_to_msg(out.stamp, out.names, out.velocity),
}


def goal_to_msg(trajectory: Trajectory, names: Sequence[str]) -> Any:
    """Return a FollowJointTrajectory goal; the tolerances are the controller's own."""
    goal = interface('control_msgs/action/FollowJointTrajectory').Goal()
    goal.trajectory = trajectory_to_msg(trajectory, names)
    return goal


def goal_result(code: int, message: str) -> Any:
    """Return how a trajectory goal ended: an error code of FollowJointTrajectory.action."""
    result = interface('control_msgs/action/FollowJointTrajectory').Result()
    result.error_code, result.error_string = code, message
    return result


def gripper_goal(position: float, effort: float) -> Any:
    """Return a GripperCommand goal: a position [m] and the largest effort [N]."""
    goal = interface('control_msgs/action/GripperCommand').Goal()
    goal.command.position, goal.command.max_effort = position, effort
    return goal


def gripper_result(position: float, effort: float, stalled: bool, reached: bool) -> Any:
    """Return how a gripper goal ended: position [m], effort [N], and in which way."""
    return interface('control_msgs/action/GripperCommand').Result(
        position=position, effort=effort, stalled=stalled, reached_goal=reached
    )
