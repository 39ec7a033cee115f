"""Names, order, units and limits of joint states: judged from their values."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from vla_ros.errors import UnknownNameError
from vla_ros.preflight.controllers import named
from vla_ros.preflight.facts import Facts, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, ok, unseen, warn
from vla_ros.types import Array

NEAR = 0.1  # [rad] by which an arm may rest outside its planning limits
STROKE = 0.1  # share of its stroke by which a gripper may be outside it
UNITS = {'degrees': np.pi / 180.0, 'millimetres': 1e-3, 'turns': 2.0 * np.pi}  # to radians, metres
NUMBERS = 'std_msgs/msg/Float64MultiArray'  # the command that has no names
MOVED = 0.02  # [rad] of motion that tells the unit of a velocity
AGREE = 3.0  # factor within which velocities agree with positions


def judge_joints(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with names, order, units and limits of the joints."""
    joints = facts.joints
    if joints is None:
        return [unseen('joint names', 'no joint state came')]
    findings = gather('joint names', _names(facts, wanted), 'every joint of the robot file')
    findings += gather('joint order', _order(facts, wanted), _order_told(facts))
    place, speed = joints.positions, joints.velocities
    if not np.isfinite(place[:, ~np.isnan(place).all(axis=0)]).all():
        cure = 'look at the encoders and at the joint state broadcaster'
        return [*findings, bad('joint values', 'a position is not finite', 'numbers', cure)]
    findings += gather('joint values', _values(place, wanted), 'inside the limits')
    if _speeds(facts, wanted):
        return findings + _speeds(facts, wanted)
    return [*findings, *_velocity_units(place, speed, facts)]


def bounds(wanted: Wanted) -> tuple[Array, Array]:
    """Return the lowest and the highest place of every joint, (joints,) [rad] or [m]."""
    robot = wanted.robot
    ends = np.sort([(g.closed, g.open) for g in robot.grippers]).reshape(-1, 2)
    room = STROKE * np.diff(ends)[:, 0]
    low = np.append(robot.limits('lower') - NEAR, ends[:, 0] - room)
    high = np.append(robot.limits('upper') + NEAR, ends[:, 1] + room)
    return low, high


def _inside(place: Array, low: Array, high: Array) -> bool:
    return bool(np.all((place >= low) & (place <= high) | np.isnan(place)))


def _names(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    assert facts.joints is not None
    for names in facts.joints.names:
        missing = [name for name in wanted.robot.joint_names if name not in names]
        if missing:
            hint = str(UnknownNameError('joint', missing[0], names))
            cure = 'compare the robot file with the controllers; one broadcaster must say all'
            found = f'joint_states lacks {", ".join(missing)}: {hint}'
            yield bad('joint names', found, ', '.join(wanted.robot.joint_names), cure)


def _order(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    """A stream of numbers without names is read in the controller's own order."""
    for one in named(wanted):
        names = facts.controller_joints.get(one.name, one.joints)
        if names == one.joints:
            continue
        if set(names) == set(one.joints) and one.type != NUMBERS:
            continue  # it has names
        cure = 'correct joints: of the controller, or the order of the robot file'
        found = f'{one.name} has the joints {", ".join(names)}'
        yield bad('joint order', found, ', '.join(one.joints), cure)


def _order_told(facts: Facts) -> str:
    known = ', '.join(facts.controller_joints)
    return f'as that of {known}' if known else 'joint states are read by name'


def _values(place: Array, wanted: Wanted) -> Iterator[Finding]:
    low, high = bounds(wanted)
    names = wanted.robot.joint_names
    seen = place[-1]
    arm, rest = slice(0, wanted.robot.dof), slice(wanted.robot.dof, None)
    for part in (arm, rest):
        if _inside(seen[part], low[part], high[part]):
            continue
        outside = [
            f'{name} {value:.4g}'
            for name, value, a, b in zip(names[part], seen[part], low[part], high[part])
            if not a <= value <= b
        ]
        found = f'outside the limits: {", ".join(outside)}'
        unit = _unit(seen[part], low[part], high[part])
        swap = _swap(seen[part], low[part], high[part])
        if unit:
            cure = f'they look like {unit}: let the driver publish radians and metres'
            yield bad('joint values', found, 'radians and metres', cure)
        elif swap:
            one, other = (names[part][i] for i in swap)
            cure = f'they fit with {one} and {other} exchanged: correct the names in the driver'
            yield bad('joint values', found, 'values of these joints', cure)
        else:
            cure = 'bring the arm inside by hand, calibrate its zero, or correct the robot file'
            yield bad('joint values', found, 'inside the limits of the robot file', cure)


def _unit(place: Array, low: Array, high: Array) -> str:
    """Return the unit in which values would be inside; empty: in none."""
    return next((u for u, f in UNITS.items() if _inside(place * f, low, high)), '')


def _swap(place: Array, low: Array, high: Array) -> tuple[int, int] | None:
    """Return two joints that, exchanged, would bring all inside; None: there are none."""
    for one, other in combinations(range(len(place)), 2):
        swapped = place.copy()
        swapped[[one, other]] = place[[other, one]]
        if _inside(swapped, low, high):
            return one, other
    return None


def _speeds(facts: Facts, wanted: Wanted) -> list[Finding]:
    assert facts.joints is not None
    joints = facts.joints
    missing = [
        name
        for name, place, speed in zip(
            wanted.robot.joint_names, joints.positions.T, joints.velocities.T
        )
        if np.isnan(speed).all() and not np.isnan(place).all()
    ]
    if not missing:
        return []
    cure = 'let the state broadcaster publish the velocity interface too'
    found = f'no velocity of {", ".join(missing)}'
    return [bad('joint velocities', found, 'a velocity for every position', cure)]


def _velocity_units(place: Array, speed: Array, facts: Facts) -> list[Finding]:
    """Compare velocities with differences of positions, v ~ dq/dt, while the arm moves."""
    stamps = facts.streams['joint_states'].stamps
    if len(stamps) != len(place) or len(stamps) < 3 or np.nanmax(np.ptp(place, axis=0)) < MOVED:
        return [unseen('joint velocities', 'the arm did not move')]
    joint = int(np.nanargmax(np.ptp(place, axis=0)))
    steps = np.diff(stamps) > 0.0
    way = float(np.abs(np.diff(place[:, joint]))[steps].sum())
    said = float((np.abs(speed[:-1, joint]) * np.diff(stamps))[steps].sum())
    if said > way * AGREE or said * AGREE < way:
        factor = said / way
        cure = 'let the driver publish rad/s and m/s, positions and velocities in one unit'
        found = f'velocities are {factor:.3g} times what positions say'
        return [warn('joint velocities', found, 'the same', cure)]
    return [ok('joint velocities', 'as positions say')]
