"""Joint states, trajectories and commands."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from builtin_interfaces.msg import Duration
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState as JointStateMsg
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from vla_ros.errors import JointNamesError, ShapeError
from vla_ros.ros.convert.basics import header, split, time_from_msg
from vla_ros.status import Hold
from vla_ros.types import Array, JointCommand, JointState, Trajectory


def doubles(values: Array) -> array[float]:
    """Return what a float64[] field takes without copying element by element."""
    return array('d', np.ascontiguousarray(values, dtype=np.float64).tobytes())


@lru_cache(maxsize=64)  # a publisher says the same names every time
def _order(
    found: tuple[str, ...], wanted: tuple[str, ...], what: str, exact: bool
) -> NDArray[np.intp]:
    """Return where each wanted name stands in a message."""
    place = {name: index for index, name in enumerate(found)}
    missing = [name for name in wanted if name not in place]
    extra = [name for name in found if name not in wanted] if exact else []
    if missing or extra:
        parts = [f'lacks {", ".join(missing)}'] if missing else []
        parts += [f'names {", ".join(extra)} besides'] if extra else []
        raise JointNamesError(
            f'{what} {" and ".join(parts)}; expected {", ".join(wanted)}, found '
            f'{", ".join(found) or "no name"}: compare the robot file with the controllers.'
        )
    return np.array([place[name] for name in wanted], dtype=np.intp)


def joint_state_to_msg(state: JointState, names: Sequence[str]) -> JointStateMsg:
    """Return a message of joints in the order of `names`."""
    return JointStateMsg(
        header=header(state.stamp),
        name=list(names),
        position=doubles(state.position),
        velocity=doubles(state.velocity),
    )


def joint_state_from_msg(msg: JointStateMsg, names: Sequence[str]) -> JointState:
    """Return the joints called `names`, in that order; a message may hold more.

    Raises:
        JointNamesError: A joint is missing.
        ShapeError: Positions or velocities are not one a name.
    """
    order = _order(tuple(msg.name), tuple(names), 'joint_states', exact=False)
    count = len(msg.name)
    for what, values in (('positions', msg.position), ('velocities', msg.velocity)):
        if len(values) != count:
            raise ShapeError(
                f'joint_states has {len(values)} {what} for {count} names: let the state '
                'broadcaster publish both interfaces.'
            )
    return JointState(
        time_from_msg(msg.header.stamp),
        np.frombuffer(msg.position)[order],
        np.frombuffer(msg.velocity)[order],
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


def trajectory_from_msg(msg: JointTrajectory, names: Sequence[str]) -> Trajectory:
    """Return a trajectory with its columns in the order of `names`.

    Raises:
        ShapeError: The joints are not exactly `names`, or a point is not one value a joint.
    """
    order = _order(tuple(msg.joint_names), tuple(names), 'the trajectory', exact=True)
    for what in ('positions', 'velocities'):
        sizes = {len(getattr(point, what)) for point in msg.points}
        allowed = {len(names)} if what == 'positions' else {len(names), 0}
        if len(sizes) > 1 or not sizes <= allowed:
            raise ShapeError(
                f'the trajectory has points with {sorted(sizes)} {what}, expected '
                f'{len(names)} in every point.'
            )
    times = np.array([time_from_msg(point.time_from_start) for point in msg.points])
    shape = (len(times), len(names))
    # The arrays are buffers of doubles: joined as bytes they cost a tenth of a list of them.
    positions = np.frombuffer(b''.join(p.positions for p in msg.points)).reshape(shape)
    velocities = None
    if msg.points and len(msg.points[0].velocities):
        velocities = np.frombuffer(b''.join(p.velocities for p in msg.points)).reshape(shape)
        velocities = velocities[:, order]
    return Trajectory(time_from_msg(msg.header.stamp), times, positions[:, order], velocities)


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


def positions_to_msg(positions: Array) -> Float64MultiArray:
    """Return what a forward position controller gets: positions (n,) [rad] or [m]."""
    return Float64MultiArray(data=doubles(positions))


def positions_from_msg(msg: Float64MultiArray) -> Array:
    """Return positions (n,) [rad] or [m]."""
    return np.array(msg.data, dtype=np.float64)


def hold_to_msg(stamp: float, names: Sequence[str], hold: Hold) -> JointStateMsg:
    """Return a report of the forwarder: without joints the stream runs, without places it waits.

    Args:
        stamp: ROS time [s].
        names: Joints of the arm.
        hold: What is reported.
    """
    msg = JointStateMsg(header=header(stamp), name=[] if hold.streams else list(names))
    if hold.place is not None:
        msg.position = doubles(hold.place)
    return msg


def hold_from_msg(msg: JointStateMsg, names: Sequence[str]) -> Hold:
    """Return a report of the forwarder.

    Raises:
        ShapeError: A joint is missing.
    """
    if not msg.name:
        return Hold(streams=True)
    if not msg.position:
        return Hold(streams=False)
    order = _order(tuple(msg.name), tuple(names), 'the forwarder', exact=True)
    return Hold(False, np.array(msg.position, dtype=np.float64)[order])
