"""Joint states, trajectories and commands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.errors import JointNamesError, ShapeError
from vla_ros.messages.basics import time_from_msg
from vla_ros.status import GoalCode, Hold
from vla_ros.types import Array, JointState, Trajectory


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


def joint_state_from_msg(msg: Any, names: Sequence[str]) -> JointState:
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


def joint_positions_from_msg(msg: Any, names: Sequence[str]) -> Array:
    """Return the positions (n,) [rad] or [m] of the joints called `names`, whatever else is there.

    Raises:
        JointNamesError: A joint is missing.
        ShapeError: Positions are not one a name.
    """
    order = _order(tuple(msg.name), tuple(names), 'joint_states', exact=False)
    if len(msg.position) != len(msg.name):
        raise ShapeError(
            f'joint_states has {len(msg.position)} positions for {len(msg.name)} names.'
        )
    return np.array(msg.position, dtype=np.float64)[order]


def named_joints_from_msg(msg: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Return the positions and the velocities of a joint state by joint, complete or not."""
    names = list(msg.name)
    places = dict.fromkeys(names, float('nan')) | dict(zip(names, map(float, msg.position)))
    return places, dict(zip(names, map(float, msg.velocity)))


def trajectory_from_msg(msg: Any, names: Sequence[str]) -> Trajectory:
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


def positions_from_msg(msg: Any) -> Array:
    """Return positions (n,) [rad] or [m]."""
    return np.array(msg.data, dtype=np.float64)


def hold_from_msg(msg: Any, names: Sequence[str]) -> Hold:
    """Return a report of the forwarder.

    Raises:
        ShapeError: A joint is missing.
    """
    if not len(msg.name):
        return Hold(streams=True)
    if not len(msg.position):
        return Hold(streams=False)
    order = _order(tuple(msg.name), tuple(names), 'the forwarder', exact=True)
    place = np.array(msg.position, dtype=np.float64)[order]
    return Hold(False, place, str(msg.header.frame_id))


def targets_from_msg(msg: Any, names: Sequence[str]) -> tuple[Array, Array]:
    """Return positions and velocities (n,) of a command to Isaac Sim's articulation.

    Raises:
        ShapeError: The joints are not exactly `names`, or not one value of each kind a joint.
    """
    order = _order(tuple(msg.name), tuple(names), 'the command', exact=True)
    if not len(msg.position) == len(msg.velocity) == len(msg.name):
        raise ShapeError(
            f'the command has {len(msg.position)} positions and {len(msg.velocity)} velocities '
            f'for {len(msg.name)} names.'
        )
    return np.array(msg.position)[order], np.array(msg.velocity)[order]


def jog_from_msg(msg: Any, names: Sequence[str]) -> tuple[float, Array]:
    """Return stamp [s] and velocities (n,) [rad/s] of a JointJog; joints left out rest.

    Raises:
        ShapeError: It names another joint, or not one velocity a joint.
    """
    if len(msg.velocities) != len(msg.joint_names):
        raise ShapeError(
            f'the jog has {len(msg.velocities)} velocities for {len(msg.joint_names)} joints.'
        )
    _order(tuple(names), tuple(msg.joint_names), 'the group', exact=False)
    said = dict(zip(msg.joint_names, msg.velocities))
    return time_from_msg(msg.header.stamp), np.array([said.get(name, 0.0) for name in names])


def tolerances_from_msg(goal: Any) -> tuple[float, float, float]:
    """Return what a FollowJointTrajectory goal asks for: path, end [rad] and time [s]; 0: nothing.

    The tightest of its joints counts; below 0 there is to be none.
    """
    path, end = (
        min((t.position for t in wanted if t.position), default=0.0)
        for wanted in (goal.path_tolerance, goal.goal_tolerance)
    )
    return path, end, time_from_msg(goal.goal_time_tolerance)


def goal_result_from_msg(result: Any) -> tuple[GoalCode, str]:
    """Return how a FollowJointTrajectory goal ended, and the controller's words for it."""
    code = int(result.error_code)
    known = code in list(GoalCode)
    return GoalCode(code) if known else GoalCode.INVALID_GOAL, str(result.error_string)


def gripper_goal_from_msg(goal: Any) -> tuple[float, float]:
    """Return position [m] and largest effort [N] of a GripperCommand goal."""
    return float(goal.command.position), float(goal.command.max_effort)
