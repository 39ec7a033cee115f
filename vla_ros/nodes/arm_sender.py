"""What the safety filter says to the controllers of one arm, or to the forwarder before them."""

from __future__ import annotations

import numpy as np

from vla_ros import graph
from vla_ros.drivers.gripper import GripperRamp, stroke_time
from vla_ros.drivers.spline import Spline
from vla_ros.robot import Arm, RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.node import Node
from vla_ros.types import JointCommand, Trajectory


class ArmSender:
    """Sends the share of one arm of every command. Not thread-safe."""

    def __init__(self, node: Node, robot: RobotSpec, arm: Arm) -> None:
        """Advertise the topics.

        Args:
            node: Of the safety filter.
            robot: Whose commands come.
            arm: One of its arms.
        """
        part = robot.part(arm)
        self._node, self._driver, self._gripper = node, arm.driver, arm.gripper
        self._carries = arm.carries
        # One arm has all columns; of several the columns of one need not follow each other.
        self._columns = None if part == robot else robot.every_column(arm)
        joints = arm.commanded_joints
        self._writer = convert.CommandWriter(joints, slice(0, len(joints)))
        out, *gripper = (node.advertise(topic) for topic in graph.command_topics(part))
        self._out, self._gripper_out = out, next(iter(gripper), None)

    def begin(self, period: float) -> None:
        """Begin anew, with a command every `period` [s]."""
        self._spline = Spline(period)
        self._ramp = None if self._gripper is None else GripperRamp(self._gripper)
        self._goal: float | None = None  # [m] of the gripper, as it was sent last

    def send(self, command: JointCommand, again: bool) -> None:
        """Send a command of all arms; the goal of a gripper if it is new, or `again`."""
        if self._columns is not None:
            places, speeds = command.positions, command.velocities
            command = JointCommand.own(
                command.stamp, command.times, places[:, self._columns], speeds[:, self._columns]
            )
        goal = float(command.positions[0, -1])
        if self._carries and self._ramp is not None:
            command = self._ramp.carry(command)
        if not self._driver.streams:
            command = self._spline.shape(command)
        self._out.publish(self._writer.write(command))
        gripper = self._gripper
        if self._gripper_out is None or gripper is None or not (again or goal != self._goal):
            return
        self._goal, stroke = goal, np.array([stroke_time(gripper)])
        target = Trajectory(0.0, stroke, np.array([[goal]]))  # stamp 0: at once
        self._gripper_out.publish(convert.trajectory_to_msg(target, (gripper.joint,)))

    def close(self) -> None:
        """Release the topics."""
        self._node.destroy_publisher(self._out)
        if self._gripper_out is not None:
            self._node.destroy_publisher(self._gripper_out)
