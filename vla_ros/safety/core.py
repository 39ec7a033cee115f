"""The core as a tick calls it: all that stays between two calls, in one buffer.

Every array that crosses from Python into compiled code costs 0.2 us, and the arm, its limits, the
obstacles and the buffers of a tick are eighty. Here they are views of two arrays, made anew inside
each call; Python has the same views. The plain form of each call is the function of the same name
without `_in`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from vla_ros.safety.chain import Arm, Floats, Ints, Pose
from vla_ros.safety.check import SCRATCH
from vla_ros.safety.check_plan import FINEST
from vla_ros.safety.compiled import compiled
from vla_ros.safety.decide import begin, CHOSEN, finish, no_velocity, REFUSED
from vla_ros.safety.distance import Solids
from vla_ros.safety.ease import ease
from vla_ros.safety.limits import Limits
from vla_ros.safety.pace import plan_grip
from vla_ros.safety.stop import step
from vla_ros.safety.tick import go_around, look, walk
from vla_ros.safety.work import Knobs, knobs_in, NOTES, POINTS, Program, SOFT, Work
from vla_ros.safety.work import VECTORS as NAMES

VECTORS = len(NAMES)  # buffers of shape (n,), one after the other
KNOBS = len(Knobs._fields)
SIZES = 10  # numbers at the head of `Core.ints`


class Parts(NamedTuple):
    """What a core holds."""

    arm: Arm
    limits: Limits
    solids: Solids
    margins: Floats  # (K,) [m]
    knobs: Floats  # the fields of Knobs
    work: Work
    pose: Pose  # of the checks; that of `work` stays the arm's


class Seen(NamedTuple):
    """What the survey of scene and plan found; the rest is in the scene's buffers."""

    smooth: bool  # whether the box keeps every jerk limit
    kept: bool  # whether every margin is kept
    least: int  # row of the smallest barrier, -1 for none
    touching: int  # row in which the arm touches what it may not, -1 for none
    sigma: float  # to go on with
    tied: bool  # whether the reference is on the plan, and to stay there
    hindered: float  # [s] for which the plan was held up
    deviates: bool  # whether the arm goes around what holds it up
    rows: int  # of the program, without the soft ones


class Core(NamedTuple):
    """The values of `Parts`, one array after the other."""

    floats: Floats
    ints: Ints  # first the sizes of everything, in the order of `make_core`


def make_core(parts: Parts) -> tuple[Core, Parts]:
    """Return a core with the values of some parts, and the parts as views of it."""
    arm = parts.arm
    sizes = (
        len(arm.turn), len(arm.capsule_joint), len(arm.pairs), len(arm.above_floor),
        len(arm.moving), len(parts.solids.kind), len(parts.margins), len(arm.chains), arm.within,
        len(parts.limits.open),
    )  # fmt: skip
    core = Core(
        np.append(arm.floor, _joined(parts, np.float64)),
        np.append(np.array(sizes), _joined(parts, np.int64)),
    )
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
    n, m, self_pairs, above, movers, solids, rows = i[0], i[1], i[2], i[3], i[4], i[5], i[6]
    arms, within, grips = i[7], i[8], i[9]
    a, b = 1, SIZES
    turn, a = f[a : a + 9 * n].reshape((n, 3, 3)), a + 9 * n
    offset, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    axis, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    ends_a, a = f[a : a + 3 * m].reshape((m, 3)), a + 3 * m
    ends_b, a = f[a : a + 3 * m].reshape((m, 3)), a + 3 * m
    radius, a = f[a : a + m], a + m
    lever, a = f[a : a + m * n].reshape((m, n)), a + m * n
    tool, a = f[a : a + 3 * arms].reshape((arms, 3)), a + 3 * arms
    joint, b = i[b : b + m], b + m
    pairs, b = i[b : b + 2 * self_pairs].reshape((self_pairs, 2)), b + 2 * self_pairs
    floors, b = i[b : b + above], b + above
    moving, b = i[b : b + movers], b + movers
    chains, b = i[b : b + 2 * arms].reshape((arms, 2)), b + 2 * arms
    first, b = i[b : b + m], b + m
    arm = Arm(
        turn, offset, axis, joint, ends_a, ends_b, radius, lever, pairs, floors, moving,
        f[0], tool, chains, first, within,
    )  # fmt: skip
    lower, a = f[a : a + n], a + n
    upper, a = f[a : a + n], a + n
    speed, a = f[a : a + n], a + n
    accel, a = f[a : a + n], a + n
    jerk, a = f[a : a + n], a + n
    law, a = f[a : a + 6 * n].reshape((n, 2, 3)), a + 6 * n
    closed, a = f[a : a + grips], a + grips
    opened, a = f[a : a + grips], a + grips
    limits = Limits(lower, upper, speed, accel, jerk, law, closed, opened)
    kind, b = i[b : b + solids], b + solids
    centre, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    turned, a = f[a : a + 9 * solids].reshape((solids, 3, 3)), a + 9 * solids
    half, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    thick, a = f[a : a + solids], a + solids
    velocity, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    spin, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    swell, a = f[a : a + solids], a + solids
    rush, a = f[a : a + solids], a + solids
    role, b = i[b : b + solids], b + solids
    seen_centre, a = f[a : a + 3 * solids].reshape((solids, 3)), a + 3 * solids
    seen_radius, a = f[a : a + solids], a + solids
    around = Solids(
        kind, centre, turned, half, thick, velocity, spin, swell, rush, role, seen_centre,
        seen_radius,
    )  # fmt: skip
    margins, a = f[a : a + rows], a + rows
    knobs, a = f[a : a + KNOBS], a + KNOBS
    turn, a = f[a : a + 9 * n].reshape((n, 3, 3)), a + 9 * n
    offset, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    axis, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    ends, a = f[a : a + 6 * m].reshape((m, 2, 3)), a + 6 * m
    now = Pose(turn, offset, axis, ends)
    h, a = f[a : a + rows], a + rows
    most = rows + SOFT * arms
    g, a = f[a : a + most * n].reshape((most, n)), a + most * n
    bound, a = f[a : a + most], a + most
    which, b = i[b : b + most], b + most
    allowed, a = f[a : a + rows], a + rows
    again, a = f[a : a + rows], a + rows
    near, a = f[a : a + 3], a + 3
    detour, a = f[a : a + 3], a + 3
    v, a = f[a : a + VECTORS * n].reshape((VECTORS, n)), a + VECTORS * n
    linear, a = f[a : a + 3 * n + 3].reshape((n + 1, 3)), a + 3 * n + 3
    angular, a = f[a : a + 3 * n + 3].reshape((n + 1, 3)), a + 3 * n + 3
    nodes, a = f[a : a + FINEST * n + n].reshape((FINEST + 1, n)), a + FINEST * n + n
    times, a = f[a : a + FINEST + 1], a + FINEST + 1
    low, a = f[a : a + FINEST * n].reshape((FINEST, n)), a + FINEST * n
    high, a = f[a : a + FINEST * n].reshape((FINEST, n)), a + FINEST * n
    wide = max(n, 3)
    scratch, a = f[a : a + SCRATCH * wide].reshape((SCRATCH, wide)), a + SCRATCH * wide
    gram, a = f[a : a + 12 * max(n, 6)].reshape((12, max(n, 6))), a + 12 * max(n, 6)
    stop_times, a = f[a : a + POINTS], a + POINTS
    every = n + grips
    stop_places, a = f[a : a + POINTS * every].reshape((POINTS, every)), a + POINTS * every
    stop_speeds, a = f[a : a + POINTS * every].reshape((POINTS, every)), a + POINTS * every
    grip, a = f[a : a + grips], a + grips
    size = n + 2
    target, a = f[a : a + size], a + size
    matrix, a = f[a : a + most * size].reshape((most, size)), a + most * size
    under, a = f[a : a + size + most], a + size + most
    over, a = f[a : a + size + most], a + size + most
    packed, b = i[b : b + most], b + most
    program = Program(target, matrix, under, over, packed)
    notes = i[b : b + rows + n + NOTES]
    work = Work(
        now, h, g, bound, which, allowed, again, near, detour, v[0], v[1], v[2], v[3], v[4], v[5],
        v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15], v[16], linear, angular,
        nodes, times, low, high, scratch, gram, stop_times, stop_places, stop_speeds, grip,
        program, notes,
    )  # fmt: skip
    turn, a = f[a : a + 9 * n].reshape((n, 3, 3)), a + 9 * n
    offset, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    axis, a = f[a : a + 3 * n].reshape((n, 3)), a + 3 * n
    ends, a = f[a : a + 6 * m].reshape((m, 2, 3)), a + 6 * m
    return Parts(arm, limits, around, margins, knobs, work, Pose(turn, offset, axis, ends))


@compiled
def look_in(core, q, v, acc, dt, age):
    """See `look`."""
    arm, limits, solids, margins, knobs, work, _ = unpack(core)
    return look(arm, solids, limits, q, v, acc, dt, age, margins, knobs_in(knobs), work)


@compiled
def begin_in(
    core, plan, q, v, acc, phi, rate, dt, age, gripper, halting, straight, hindered, deviates
):  # fmt: skip
    """See `look`, `walk`, `go_around`, `begin`, `step`; only the first before a straight stop.

    Returns:
        (seen, decision): the fields of Seen and of `decide.Decision`.
    """
    arm, limits, solids, margins, numbers, work, pose = unpack(core)
    knobs = knobs_in(numbers)
    count, smooth, kept, least, touching = look(
        arm, solids, limits, q, v, acc, dt, age, margins, knobs, work
    )
    if straight or touching >= 0 or len(plan.due) == 0:  # never look into an empty plan
        seen = smooth, kept, least, touching, 0.0, False, hindered, deviates, count
        return seen, no_velocity(REFUSED)
    free, slowed, low = walk(arm, limits, plan, q, phi, rate, dt, halting, count, knobs, work)
    for k in range(len(gripper)):
        work.grip[k] = gripper[k]
    if phi >= plan.due[0]:
        plan_grip(plan, phi, len(q), limits.closed, limits.open, work.grip)
    hindered, deviates, tied = go_around(
        plan, phi, free, slowed, hindered, deviates, dt, knobs, work
    )
    if not deviates:
        work.detour[:] = 0.0
    aside = deviates and not halting
    sigma = slowed if knobs.ties and not deviates else free
    decision = begin(
        arm, solids, limits, plan, phi, sigma, low, q, v, acc, dt, age, tied, aside, count, smooth,
        kept, halting, knobs, work, pose,
    )  # fmt: skip
    if decision[0] == CHOSEN:
        step(limits, q, v, work.chosen, dt, work.grip, work)
    seen = smooth, kept, least, touching, sigma, tied, hindered, deviates, count
    return seen, decision


@compiled
def finish_in(
    core, x, dual, rows, count, plan, q, v, acc, phi, sigma, dt, age, tied, smooth, kept, halting
):  # fmt: skip
    """See `finish`, and `step` where a velocity was chosen; the grippers go on to `Work.grip`."""
    arm, limits, solids, _, numbers, work, pose = unpack(core)
    decision = finish(
        x, dual, rows, count, arm, solids, limits, plan, phi, sigma, q, v, acc, dt, age, tied,
        smooth, kept, halting, knobs_in(numbers), work, pose,
    )  # fmt: skip
    if decision[0] == CHOSEN:
        step(limits, q, v, work.chosen, dt, work.grip, work)
    return decision


@compiled
def ease_in(core, q, v, acc, dt, age, gripper, smooth, kept):
    """See `ease`, and `step` where a velocity was chosen.

    Returns:
        (clear, share): whether one was, and how fast it is against the one before.
    """
    arm, limits, solids, _, numbers, work, pose = unpack(core)
    knobs = knobs_in(numbers)
    if not ease(arm, solids, limits, q, v, acc, dt, age, smooth, kept, knobs, work, pose):
        return False, 0.0
    before = after = 0.0
    for j in range(len(v)):
        before, after = max(before, abs(v[j])), max(after, abs(work.chosen[j]))
    step(limits, q, v, work.chosen, dt, gripper, work)
    return True, min(after / before, 1.0) if before > 0.0 else 0.0


@compiled
def step_in(core, q, v, velocity, dt, gripper):
    """See `step`."""
    parts = unpack(core)
    step(parts.limits, q, v, velocity, dt, gripper, parts.work)
