"""Joint states, trajectories and commands."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Duration
import numpy as np
from sensor_msgs.msg import JointState as JointStateMsg
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.ros.convert.basics import header, split
from vla_ros.status import Hold
from vla_ros.types import Array, JointCommand, JointState, Trajectory


def doubles(values: Array) -> array[float]:
    """Return what a float64[] field takes without copying element by element."""
    return array('d', np.ascontiguousarray(values, dtype=np.float64).tobytes())


def joint_state_to_msg(state: JointState, names: Sequence[str]) -> JointStateMsg:
    """Return a message of joints in the order of `names`."""
    return JointStateMsg(
        header=header(state.stamp),
        name=list(names),
        position=doubles(state.position),
        velocity=doubles(state.velocity),
    )


def _points(times: Array, positions: Array, velocities: Array | None) -> list[Any]:
    points = []
    for k, time in enumerate(times):
        sec, nanosec = split(float(time))
        point = JointTrajectoryPoint(time_from_start=Duration(sec=sec, nanosec=nanosec))
        point.positions = doubles(positions[k])
        if velocities is not None:
            point.velocities = doubles(velocities[k])
        points.append(point)
    return points


def trajectory_to_msg(trajectory: Trajectory, names: Sequence[str]) -> JointTrajectory:
    """Return a message of a trajectory; no point means: cancel the plan."""
    return JointTrajectory(
        header=header(trajectory.stamp),
        joint_names=list(names),
        points=_points(trajectory.times, trajectory.positions, trajectory.velocities),
    )


class CommandWriter:
    """Writes commands into one message, which is used again and again: 200 times a second."""

    def __init__(self, names: Sequence[str], columns: slice) -> None:
        """Prepare the message.

        Args:
            names: Joints of the controller.
            columns: Where those joints stand in a command.
        """
        self._columns = columns
        self._msg = JointTrajectory(joint_names=list(names))
        self._size = len(names)
        self._points: list[JointTrajectoryPoint] = []
        self._rows: list[tuple[Array, Array]] = []  # views of each point's positions, velocities

    def write(self, command: JointCommand) -> JointTrajectory:
        """Return what a joint trajectory controller gets: the next point and the stop after it.

        The message is valid until the next call.
        """
        count = len(command.times)
        while len(self._points) < count:
            self._add()
        for k in range(count):
            place, speed = self._rows[k]
            place[:] = command.positions[k, self._columns]
            speed[:] = command.velocities[k, self._columns]
            due = self._points[k].time_from_start
            due.sec, due.nanosec = split(float(command.times[k]))
        if len(self._msg.points) != count:
            self._msg.points = self._points[:count]
        stamp = self._msg.header.stamp
        stamp.sec, stamp.nanosec = split(command.stamp)
        return self._msg

    def _add(self) -> None:
        zeros = array('d', bytes(8 * self._size))
        point = JointTrajectoryPoint(positions=zeros, velocities=zeros)  # copies them
        self._points.append(point)
        self._rows.append((np.frombuffer(point.positions), np.frombuffer(point.velocities)))


def hold_to_msg(stamp: float, names: Sequence[str], hold: Hold) -> JointStateMsg:
    """Return a report of the forwarder: without joints the stream runs, without places it waits.

    The frame holds why it stopped the arm.

    Args:
        stamp: ROS time [s].
        names: Joints of the arm.
        hold: What is reported.
    """
    msg = JointStateMsg(header=header(stamp), name=[] if hold.streams else list(names))
    msg.header.frame_id = hold.reason
    if hold.place is not None:
        msg.position = doubles(hold.place)
    return msg
