"""A double for each kind of controller: what the simulator's arm is driven by."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vla_ros.drivers.follower import PositionFollower, TrajectoryFollower
from vla_ros.drivers.velocity_follower import JOG_HALT, JOG_TIMEOUT, VelocityFollower
from vla_ros.robot import RobotSpec
from vla_ros.types import Array

Double = TrajectoryFollower | PositionFollower | VelocityFollower


def _jog(robot: RobotSpec, position: Array) -> VelocityFollower:
    return VelocityFollower(position, robot.limits('velocity'), JOG_TIMEOUT, JOG_HALT)


DOUBLES: dict[str, Callable[[RobotSpec, Array], Double]] = {  # by the kind of the robot file
    'joint_trajectory_controller': lambda robot, position: TrajectoryFollower(position),
    'follow_joint_trajectory': lambda robot, position: TrajectoryFollower(position),
    'forward_position_controller': lambda robot, position: PositionFollower(position),
    'forward_velocity_controller': lambda robot, position: VelocityFollower(
        position, np.full(robot.dof, np.inf)
    ),
    'isaac': lambda robot, position: PositionFollower(position),
    'moveit_servo': _jog,
}


def arm_double(robot: RobotSpec, position: Array) -> Double:
    """Return the controller of a robot's arm, at rest at a position (n,) [rad]."""
    return DOUBLES[robot.driver.kind](robot, position)
