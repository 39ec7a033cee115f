"""The velocity of one tick: the nearest to what is wanted that a clear stop can follow; compiled.

Two stops are looked at. A, along the plan: its clock slows down evenly, so the arm stays on its
way. B, straight: every joint slows by the same share. A velocity is commanded only if one of them
is clear from there on; that one runs where the next velocity is refused.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from vla_ros.safety.certify import (
    certify,
    follow_at,
    JERK_ROW,
    NONE,
    STRAIGHT,
    UNBOUNDED,
)
from vla_ros.safety.compiled import compiled
from vla_ros.safety.detour import go_aside
from vla_ros.safety.limits import brake_share, differs, jerks
from vla_ros.safety.optimality import BINDS, pack, settle
from vla_ros.safety.soft import soft_rows
from vla_ros.safety.tick import cut, want

# What became of a tick. Refused: the stop of the tick before has to run.
CHOSEN, REFUSED, ASKS, NOT_FINITE, UNSOLVED = range(5)

PASSED = 1e-9  # [rad/s] a velocity that differs by less passed unchanged
STILL = 1e-6  # [rad/s] slower is at rest
LEAST_SHARE = 1e-6  # of a slow-down to rest, which is no refusal
TOLERANCE = 1e-6  # [rad/s], [m/s] of every condition of optimality


class Decision(NamedTuple):
    """What `begin` and `finish` return."""

    status: int
    share: float  # of what was wanted, the rest is the brake; 0: refused
    rate: float  # sigma that goes with the velocity
    stop: int  # the one that is clear: NONE, STRAIGHT, ALONG_PLAN
    slowing: float  # [1/s] D of a stop along the plan
    slack: float  # [m/s] largest violated row of the program
    checks: int  # poses that the stop checks looked at
    notes: int  # how many things held the velocity back
    rows: int  # of the program, if it has to be solved
    jerky: bool  # a blend that breaks the jerk limit: a brake
    passed: bool  # the plan passed unchanged


@compiled
def no_velocity(status, slack=0.0, checks=0, notes=0, rows=0):
    """Return the fields of a Decision for none."""
    return status, 0.0, 0.0, NONE, 0.0, slack, checks, notes, rows, False, False


@compiled
def begin(
    arm, solids, limits, plan, phi, sigma, low, q, v, acc, dt, age, tied, aside, count, smooth,
    kept, halting, knobs, work, pose,
):  # fmt: skip
    """Find the velocity to command, or the program that has to be solved for it.

    Where the reference is on the plan and tied to it, only sigma gives way. Else what the program
    answers is blended towards the brake until a stop behind it is verified.

    Args:
        arm: Constants of the arm.
        solids: Obstacles.
        limits: Of the joints.
        plan: Its cubics.
        phi: Plan time [s].
        sigma: To go on with.
        low: Slowest sigma that the arm can follow.
        q: (n,) [rad].
        v: (n,) [rad/s] of the step before.
        acc: (n,) [rad/s^2] of the step before.
        dt: Length of the step [s].
        age: Time from the stamp of the obstacles to the beginning of the step [s].
        tied: Whether the reference is on the plan, and to stay there.
        aside: Whether it goes along a body in the way, on one side.
        count: Rows of the program.
        smooth: Whether the box keeps the jerk limits.
        kept: Whether every margin is kept.
        halting: Whether a fault stops the arm along the plan.
        knobs: Settings.
        work: Buffers that `look` and `walk` filled.
        pose: Buffer.

    Returns:
        The fields of a Decision; the velocity is in `chosen`.
    """
    if tied:
        work.back[:] = 0.0
    want(plan, phi, sigma, dt, work)
    for j in range(len(q)):
        if not math.isfinite(work.wanted[j]):
            return no_velocity(NOT_FINITE)
    if tied:
        slower = slow_down(
            arm, solids, limits, plan, phi, sigma, low, q, v, acc, dt, age, smooth, kept, halting,
            knobs, work, pose,
        )  # fmt: skip
        if slower[0] != UNSOLVED:
            return slower
        want(plan, phi, sigma, dt, work)
    for j in range(len(q)):
        work.desired[j] = work.wanted[j]
    if aside:
        go_aside(arm, solids, v, count, dt, knobs, work)
    cut(arm, limits, work.desired, knobs, work)
    if knobs.deviates:
        soft = soft_rows(arm, q, count, knobs, work, pose)
        rows = pack(
            work.desired, work.lo, work.hi, work.g, work.bound, count, soft, knobs.slack,
            knobs.ease, work.program,
        )  # fmt: skip
        if rows > 0:  # with none that can bind, the nearest velocity in the box is the answer
            return no_velocity(ASKS, 0.0, 0, 0, rows)
    for j in range(len(q)):
        work.best[j] = min(max(work.desired[j], work.lo[j]), work.hi[j])
    notes = note_joints(0, work)
    return blend(
        arm, solids, limits, plan, phi, sigma, q, v, acc, dt, age, smooth, kept, halting, tied,
        0.0, notes, knobs, work, pose,
    )  # fmt: skip


@compiled
def finish(
    x, dual, rows, count, arm, solids, limits, plan, phi, sigma, q, v, acc, dt, age, tied, smooth,
    kept, halting, knobs, work, pose,
):  # fmt: skip
    """Go on after `begin` with a solver's answer, which is checked.

    x (n + 2,) are velocities and scaled slacks, `dual` (n + 2 + rows,) the multipliers; the
    others are those of `begin`.

    Returns:
        The fields of a Decision; UNSOLVED where the answer fails its check.
    """
    good, slack = settle(
        x, dual, work.desired, work.lo, work.hi, work.g, work.bound, count, work.program.which,
        rows, knobs.slack, knobs.ease, TOLERANCE, work.best,
    )  # fmt: skip
    if not good:
        return no_velocity(UNSOLVED)
    notes = 0
    for r in range(rows):
        if dual[len(q) + 2 + r] < -BINDS:
            work.notes[notes] = work.which[work.program.which[r]]
            notes += 1
    notes = note_joints(notes, work)
    return blend(
        arm, solids, limits, plan, phi, sigma, q, v, acc, dt, age, smooth, kept, halting, tied,
        slack, notes, knobs, work, pose,
    )  # fmt: skip


@compiled
def note_joints(notes, work):
    """Note every joint whose limit holds the wanted velocity back; return how many notes.

    Joint j is noted as K + j, after the K rows.
    """
    for j in range(len(work.best)):
        value = work.best[j]
        changed = abs(value - work.desired[j]) > PASSED
        if changed and not work.lo[j] < value < work.hi[j]:
            work.notes[notes] = len(work.h) + j
            notes += 1
    return notes


@compiled
def slow_down(
    arm, solids, limits, plan, phi, sigma, low, q, v, acc, dt, age, smooth, kept, halting, knobs,
    work, pose,
):  # fmt: skip
    """Try slower and slower sigma on the plan's way; UNSOLVED: that way breaks a limit itself."""
    checks, notes, possible, tried = 0, 0, False, -1.0
    fastest = UNBOUNDED if kept else knobs.recover
    for k in range(3):
        wish = sigma - 0.5 * k * (sigma - low)
        rate = follow_at(plan, phi, wish, dt, work)
        if rate < 0.0 or rate == tried:
            continue
        tried, possible = rate, True
        stop, row, more, slowing = certify(
            arm, solids, limits, plan, phi, rate, q, v, work.chord, dt, age, knobs.along, knobs,
            fastest, work, pose,
        )  # fmt: skip
        checks += more
        if stop != NONE:
            for j in range(len(q)):
                work.chosen[j] = work.chord[j]
            share = max(rate / sigma, LEAST_SHARE) if sigma > 0.0 else 1.0
            return end(
                limits, v, acc, dt, smooth, halting, True, share, rate, stop, slowing, 0.0,
                checks, notes, work,
            )  # fmt: skip
        work.notes[notes] = row
        notes += 1
    status = REFUSED if possible else UNSOLVED
    return no_velocity(status, 0.0, checks, notes)


@compiled
def blend(
    arm, solids, limits, plan, phi, sigma, q, v, acc, dt, age, smooth, kept, halting, tied, slack,
    notes, knobs, work, pose,
):  # fmt: skip
    """Blend `best` towards the brake, by halves, until a stop behind it is verified."""
    checks, share = 0, 1.0
    fastest = UNBOUNDED if kept else knobs.recover
    brake = brake_share(v, limits.accel, dt)
    for _ in range(knobs.blends):
        for j in range(len(q)):
            slow = brake * v[j]
            work.chosen[j] = work.best[j] if share == 1.0 else slow + share * (work.best[j] - slow)
        stop, row, more, slowing = STRAIGHT, -1, 0, 0.0
        if knobs.verified:
            stop, row, more, slowing = certify(
                arm, solids, limits, plan, phi, share * sigma, q, v, work.chosen, dt, age,
                tied and knobs.along, knobs, fastest, work, pose,
            )  # fmt: skip
        checks += more
        if stop != NONE:
            return end(
                limits, v, acc, dt, smooth, halting, False, share, share * sigma, stop, slowing,
                slack, checks, notes, work,
            )  # fmt: skip
        work.notes[notes] = row
        notes, share = notes + 1, 0.5 * share
    return no_velocity(REFUSED, slack, checks, notes)


@compiled
def end(
    limits, v, acc, dt, smooth, halting, on_way, share, rate, stop, slowing, slack, checks, notes,
    work,
):  # fmt: skip
    """Look at the jerk of the chosen velocity, and let a stop end at rest."""
    jerk = jerks(work.chosen, v, acc, limits.jerk, dt, PASSED)
    if jerk and not smooth:
        work.notes[notes] = JERK_ROW
        return no_velocity(REFUSED, slack, checks, notes + 1)
    jerky = jerk and share < 1.0 and not on_way  # blended so far that it is a brake
    fastest = 0.0
    for j in range(len(v)):
        fastest = max(fastest, abs(work.chosen[j]))
    if fastest < STILL and (halting or jerky):
        work.chosen[:] = 0.0
    passed = not differs(work.chosen, work.wanted, PASSED)
    return CHOSEN, share, rate, stop, slowing, slack, checks, notes, 0, jerky, passed
