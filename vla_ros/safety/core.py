"""The core as a tick calls it: all that stays between two calls, in one buffer.

Every array that crosses from Python into compiled code costs 0.2 us, and the arm, its limits, the
obstacles and the buffers of a tick are eighty. Here they are views of two arrays, made anew inside
each call; Python has the same views. The plain form of each call is the function of the same name
without `_in`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vla_ros.safety.certify import certify, follow_at
from vla_ros.safety.chain import Arm, Floats, Ints, Pose
from vla_ros.safety.check import SCRATCH
from vla_ros.safety.check_plan import FINEST
from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import Solids
from vla_ros.safety.limits import Limits
from vla_ros.safety.tick import cut, look, walk, want, Work
from vla_ros.safety.tick import VECTORS as NAMES

VECTORS = len(NAMES)  # buffers of shape (n,), one after the other


class Parts(NamedTuple):
    """What a core holds."""

    arm: Arm
    limits: Limits
    solids: Solids
    margins: Floats  # (K,) [m]
    work: Work
    pose: Pose  # of the checks; that of `work` stays the arm's


class Core(NamedTuple):
    """The values of `Parts`, one array after the other, and their sizes."""

    floats: Floats
    ints: Ints
    floor: float  # [m] of the arm
    joints: int
    capsules: int
    pairs: int
    floors: int  # capsules above the floor
    moving: int
    solids: int
    rows: int


def make_core(parts: Parts) -> tuple[Core, Parts]:
    """Return a core with the values of some parts, and the parts as views of it."""
    arm = parts.arm
    core = Core(
        _joined(parts, np.float64), _joined(parts, np.int64), arm.floor, len(arm.turn),
        len(arm.capsule_joint), len(arm.pairs), len(arm.above_floor), len(arm.moving),
        len(parts.solids.kind), len(parts.margins),
    )  # fmt: skip
    return core, unpack.py_func(core)  # compiled, it could not hand arrays out


def _joined(parts: Any, kind: Any) -> Any:
    """Return all arrays of one kind in a tree of tuples, one after the other."""
    if isinstance(parts, np.ndarray):
        return parts.ravel() if parts.dtype == kind else np.zeros(0, kind)
    if not isinstance(parts, tuple):
        return np.zeros(0, kind)
    return np.concatenate([_joined(part, kind) for part in parts])


@compiled
def unpack(core):
    """Return the parts of a core as views, in the order of their fields."""
    f, i = core.floats, core.ints
    n, m, rows, solids = core.joints, core.capsules, core.rows, core.solids
    a = 9 * n
    turn = f[:a].reshape((n, 3, 3))
    offset, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    axis, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    ends_a, a = f[a : a + 3 * m].reshape((m, 3)), a + 3 * m
    ends_b, a = f[a : a + 3 * m].reshape((m, 3)), a + 3 * m
    radius, a = f[a : a + m], a + m
    lever, a = f[a : a + m * n].reshape((m, n)), a + m * n
    tool, a = f[a : a + 3], a + 3
    joint, b = i[:m], m
    pairs, b = i[b : b + 2 * core.pairs].reshape((core.pairs, 2)), b + 2 * core.pairs
    floors, b = i[b : b + core.floors], b + core.floors
    moving, b = i[b : b + core.moving], b + core.moving
    arm = Arm(
        turn, offset, axis, joint, ends_a, ends_b, radius, lever, pairs, floors, moving,
        core.floor, tool,
    )  # fmt: skip
    lower, a = f[a : a + n], a + n
    upper, a = f[a : a + n], a + n
    speed, a = f[a : a + n], a + n
    accel, a = f[a : a + n], a + n
    jerk, a = f[a : a + n], a + n
    law, a = f[a : a + 6 * n].reshape((n, 2, 3)), a + 6 * n
    limits = Limits(lower, upper, speed, accel, jerk, law)
    kind, b = i[b : b + solids], b + solids
    centre, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    turned, a = f[a : a + 9 * solids].reshape((solids, 3, 3)), a + 9 * solids
    half, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    thick, a = f[a : a + solids], a + solids
    velocity, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    spin, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    swell, a = f[a : a + solids], a + solids
    rush, a = f[a : a + solids], a + solids
    person, b = i[b : b + solids], b + solids
    seen_centre, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    seen_radius, a = f[a : a + solids], a + solids
    around = Solids(
        kind, centre, turned, half, thick, velocity, spin, swell, rush, person, seen_centre,
        seen_radius,
    )  # fmt: skip
    margins, a = f[a : a + rows], a + rows
    turn, a = f[a : a + 9 * n].reshape((n, 3, 3)), a + 9 * n
    offset, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    axis, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    ends, a = f[a : a + 6 * m].reshape((m, 2, 3)), a + 6 * m
    now = Pose(turn, offset, axis, ends)
    h, a = f[a : a + rows], a + rows
    g, a = f[a : a + rows * n].reshape((rows, n)), a + rows * n
    bound, a = f[a : a + rows], a + rows
    which = i[b : b + rows]
    allowed, a = f[a : a + rows], a + rows
    again, a = f[a : a + rows], a + rows
    near, a = f[a : a + 3], a + 3
    v, a = f[a : a + VECTORS * n].reshape((VECTORS, n)), a + VECTORS * n
    linear, a = f[a : a + 3 * n + 3].reshape((n + 1, 3)), a + 3 * n + 3
    angular, a = f[a : a + 3 * n + 3].reshape((n + 1, 3)), a + 3 * n + 3
    nodes, a = f[a : a + FINEST * n + n].reshape((FINEST + 1, n)), a + FINEST * n + n
    times, a = f[a : a + FINEST + 1], a + FINEST + 1
    low, a = f[a : a + FINEST * n].reshape((FINEST, n)), a + FINEST * n
    high, a = f[a : a + FINEST * n].reshape((FINEST, n)), a + FINEST * n
    wide = max(n, 3)
    scratch, a = f[a : a + SCRATCH * wide].reshape((SCRATCH, wide)), a + SCRATCH * wide
    work = Work(
        now, h, g, bound, which, allowed, again, near, v[0], v[1], v[2], v[3], v[4], v[5], v[6],
        v[7], v[8], v[9], v[10], v[11], v[12], linear, angular, nodes, times, low, high, scratch,
    )  # fmt: skip
    turn, a = f[a : a + 9 * n].reshape((n, 3, 3)), a + 9 * n
    offset, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    axis, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    ends, a = f[a : a + 6 * m].reshape((m, 2, 3)), a + 6 * m
    return Parts(arm, limits, around, margins, work, Pose(turn, offset, axis, ends))


@compiled
def look_in(core, q, v, acc, dt, age, knobs):
    """See `look`."""
    arm, limits, solids, margins, work, _ = unpack(core)
    return look(arm, solids, limits, q, v, acc, dt, age, margins, knobs, work)


@compiled
def survey_in(core, plan, q, v, acc, phi, rate, dt, age, stopping, rejoin_accel, lag, knobs):
    """See `look` and `walk`, which is left out where there is no plan; and the largest error.

    Returns:
        (count, smooth, kept, least, touching, free, slowed, low, grip, error): the error is that
        of a joint [rad].
    """
    arm, limits, solids, margins, work, _ = unpack(core)
    count, smooth, kept, least, touching = look(
        arm, solids, limits, q, v, acc, dt, age, margins, knobs, work
    )
    if len(plan.due) == 0:
        return count, smooth, kept, least, touching, 0.0, 0.0, 0.0, 0.0, 0.0
    free, slowed, low, grip = walk(
        arm, limits, plan, q, phi, rate, dt, stopping, count, rejoin_accel, lag, knobs, work
    )
    error = 0.0
    for j in range(len(q)):
        error = max(error, abs(work.error[j]))
    return count, smooth, kept, least, touching, free, slowed, low, grip, error


@compiled
def want_in(core, plan, phi, rate, dt, tied, knobs):
    """See `want`, and `cut` where the arm is not tied to the plan; say whether all is finite."""
    arm, limits, _, _, work, _ = unpack(core)
    want(plan, phi, rate, dt, work)
    for j in range(len(work.wanted)):
        if not np.isfinite(work.wanted[j]):
            return False
        work.desired[j] = work.wanted[j]
    if not tied:
        cut(arm, limits, work.desired, knobs, work)
    return True


@compiled
def follow_in(core, plan, phi, wish, dt):
    """See `follow_at`."""
    return follow_at(plan, phi, wish, dt, unpack(core).work)


@compiled
def certify_in(core, plan, phi, rate, q, v, velocity, dt, age, on_way, knobs, fastest):
    """See `certify`."""
    arm, limits, solids, _, work, pose = unpack(core)
    return certify(
        arm, solids, limits, plan, phi, rate, q, v, velocity, dt, age, on_way, knobs, fastest,
        work, pose,
    )  # fmt: skip
