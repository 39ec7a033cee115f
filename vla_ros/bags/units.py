"""Whether recorded joints are in the units that the robot file means."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import BagError
from vla_ros.robot import RobotSpec
from vla_ros.types import Array
from vla_ros.urdf import turning_joints

SLACK = 0.35  # [rad] a joint may be beyond its planning limit: hardware has more room
OPEN = 0.5  # share of a gripper's stroke that it may be beyond its ends
SHARE = 0.01  # of the rows may be wilder: a glitch is no unit
TURN, SLIDE = ('rad', 'degrees', np.pi / 180.0), ('m', 'millimetres', 1e-3)  # ours, another's


def check_units(positions: Array, robot: RobotSpec, source: str) -> None:
    """Refuse joints that cannot be in radians, or a gripper not in metres, or radians if it turns.

    Args:
        positions: (K, n) as recorded, the grippers' last.
        robot: Says which positions the arm can have.
        source: What recorded them, for the message.

    Raises:
        BagError: They lie where the arm never is; says which unit they look like.
    """
    if not len(positions):
        return
    if not np.isfinite(positions).all():
        raise BagError(f'{source} has positions that are not finite: record it again.')
    arm = positions[:, : robot.dof]
    lower, upper = robot.limits('lower') - SLACK, robot.limits('upper') + SLACK
    _check(arm, lower, upper, robot.arm_joints, TURN, source)
    turning = turning_joints(robot.urdf_path)
    for column, gripper in enumerate(robot.grippers, robot.dof):
        ends = np.sort([gripper.closed, gripper.open])
        room = OPEN * (ends[1] - ends[0])
        low, high = ends[:1] - room, ends[1:] + room
        mine, unit = positions[:, [column]], TURN if gripper.joint in turning else SLIDE
        _check(mine, low, high, (gripper.joint,), unit, source)


def _check(
    values: Array,
    lower: Array,
    upper: Array,
    names: tuple[str, ...],
    unit: tuple[str, str, float],
    source: str,
) -> None:
    """Refuse columns (K, n) with too many rows outside; `unit` is ours, another, that in ours."""
    beyond = (values < lower) | (values > upper)
    wrong = np.flatnonzero(beyond.mean(0) > SHARE)
    if not len(wrong):
        return
    first = int(wrong[0])
    ours, other, factor = unit
    scaled = values * factor
    fits = (((scaled >= lower) & (scaled <= upper)).mean(0) >= 1.0 - SHARE).all()
    worst = values[np.abs(values[:, first]).argmax(), first]
    guess = (
        f'these are {other}: convert them to {ours} before they are published, or record again'
        if fits
        else 'compare the robot file with the arm, and its joint names with those in the bag'
    )
    raise BagError(
        f"joint '{names[first]}' of {source} is at {worst:.4g}, expected "
        f'{lower[first]:.3g} to {upper[first]:.3g} {ours}; {guess}.'
    )
