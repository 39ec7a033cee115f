"""One slice of an action: from the numbers that a policy gives to what they mean, and back."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.action_space import ActionSlice, StateSlice
from vla_ros.rotation import from_quaternions, to_quaternions
from vla_ros.types import Array

# Columns of an action that is relative to nothing, by kind; a joint takes one each.
COLUMNS = {'tool_position': 3, 'tool_pose': 7, 'gripper': 1}  # tool_pose: x y z, quaternion xyzw


def written(part: StateSlice, value: Array) -> Array:
    """Return where the robot is (C,), as COLUMNS has it, in the numbers of a slice (W,)."""
    if part.turns:
        assert part.rotation is not None
        turn = from_quaternions(value[None, 3:], part.rotation, part.near)[0]
        return np.concatenate([value[:3], turn])
    if part.kind == 'gripper':
        closed, opened = part.ends
        return closed + value * (opened - closed)
    return value / part.scale


def absolute(part: ActionSlice, values: Array, anchor: Array, step: float) -> Array:
    """Return what a slice of a chunk asks for, relative to nothing.

    Args:
        part: What the numbers mean.
        values: (T, W) of the policy.
        anchor: (C,) where the robot is at t_obs.
        step: Spacing of the actions [s].

    Returns:
        (T, C): tool positions [m], poses [m, quaternion xyzw], joint positions [rad] or
        gripper openings [0 closed, 1 open].

    Raises:
        ShapeError: A rotation is none.
    """
    if part.turns:
        return _poses(part, values, anchor)
    offset, factor = _line(part, step)
    asked = (values - offset) * factor
    if part.chained:
        return anchor + np.cumsum(asked, axis=0)
    return asked if part.relative_to == 'absolute' else anchor + asked


def relative(part: ActionSlice, actions: Array, anchor: Array, step: float) -> Array:
    """Return the numbers (K, W) with which a policy asks for (K, C), undoing `absolute`."""
    before = np.broadcast_to(anchor, actions.shape)
    if part.chained:
        before = np.concatenate([anchor[None], actions[:-1]])
    if part.turns:
        return _numbers(part, actions, before)
    offset, factor = _line(part, step)
    free = part.relative_to == 'absolute' and not part.chained
    return (actions if free else actions - before) / factor + offset


def _line(part: ActionSlice, step: float) -> tuple[float, float]:
    """Return offset and factor: (value - offset) factor is an action in SI, or a change of one."""
    if part.kind == 'gripper':
        closed, opened = part.ends
        return (closed if part.relative_to == 'absolute' else 0.0), 1.0 / (opened - closed)
    return 0.0, part.scale * (step if part.kind == 'joint_velocity' else 1.0)


def _poses(part: ActionSlice, values: Array, anchor: Array) -> Array:
    """Return poses (T, 7): asked for, or changed by p + d, D R (base), by p + R d, R D (tool)."""
    assert part.rotation is not None
    moves = part.scale * values[:, :3]
    turns = to_quaternions(part.rotation_scale * values[:, 3:], part.rotation)
    if part.relative_to == 'absolute':
        return np.concatenate([moves, turns], axis=1)
    places, rotations = np.empty((len(values), 3)), np.empty((len(values), 3, 3))
    p, r = anchor[:3], Rotation.from_quat(anchor[3:]).as_matrix()
    for k, (d, turn) in enumerate(zip(moves, Rotation.from_quat(turns).as_matrix())):
        tool = part.frame == 'tool'
        places[k] = p + (r @ d if tool else d)
        rotations[k] = r @ turn if tool else turn @ r
        if part.chained:
            p, r = places[k], rotations[k]
    return np.concatenate([places, Rotation.from_matrix(rotations).as_quat()], axis=1)


def _numbers(part: ActionSlice, poses: Array, before: Array) -> Array:
    """Return the numbers (K, W) that lead from poses (K, 7) to poses (K, 7)."""
    assert part.rotation is not None
    moves, turns = poses[:, :3], poses[:, 3:]
    if part.relative_to != 'absolute':
        r = Rotation.from_quat(before[:, 3:])
        moves = moves - before[:, :3]
        turn = Rotation.from_quat(turns)
        if part.frame == 'tool':
            moves, turn = r.inv().apply(moves), r.inv() * turn
        else:
            turn = turn * r.inv()
        turns = turn.as_quat()
    angles = from_quaternions(turns, part.rotation, part.near) / part.rotation_scale
    return np.concatenate([moves / part.scale, angles], axis=1)
