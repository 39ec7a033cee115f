"""What a tick computes before it decides: rows, box, where the plan wants to go; compiled."""

from __future__ import annotations

import math

import numpy as np

from vla_ros.safety.chain import tool_place
from vla_ros.safety.check import CONTACT
from vla_ros.safety.check_plan import CLOCK_SHARE
from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import PERSON, put_at, TARGET
from vla_ros.safety.limits import excess_of, limit_box, stop_time
from vla_ros.safety.pace import (
    plan_at,
    plan_peaks,
    rate_range,
    rejoin,
    wanted_rate,
)
from vla_ros.safety.rows import build_rows
from vla_ros.safety.separation import allowed_share, fastest_point, NOBODY

AHEAD = 0.3  # [s] of the plan that its pace looks ahead
CAUTION = 0.999  # of the tool's speed, for what it gains within a tick
ON_PLAN = 1e-7  # [rad] so near to the plan the reference is on it
RECOVERING = 1e-9  # [m] a clearance below its margin may shrink by no more than this


@compiled
def look(arm, solids, limits, q, v, acc, dt, age, margins, knobs, work):
    """Fill clearances, rows and box at q, and the clearances that a stop must keep.

    A row that is inside its margin already must not lose any clearance.

    Returns:
        (count, smooth, kept, least, touching): rows of the program, whether the box keeps the
        jerk limits, whether every margin is kept, the row of the smallest barrier, and the row in
        which the arm touches what it may not, -1 for none: itself, the floor or an obstacle that
        is no target; in mode off nobody looks. What is held may press in by the margin that
        says so.
    """
    put_at(solids, age)
    count = build_rows(
        arm, solids, q, margins, limits.accel, knobs.gamma, knobs.reach, knobs.glide, work.pose,
        work.h, work.g, work.bound, work.which, work.scratch,
    )  # fmt: skip
    kept, least, touching = True, -1, -1
    nearest, deepest = np.inf, 0.0
    bodies = len(arm.pairs) + len(arm.above_floor)
    for row in range(len(margins)):
        gap = work.h[row] - margins[row]
        if gap < nearest:
            nearest, least = gap, row
        depth = work.h[row] - min(margins[row], 0.0)
        solid = (row - bodies) // len(arm.moving) if row >= bodies else -1
        if knobs.verified and depth < deepest and (solid < 0 or solids.role[solid] != TARGET):
            deepest, touching = depth, row
        work.allowed[row] = margins[row] - CONTACT
        if work.h[row] < work.allowed[row]:
            work.allowed[row] = work.h[row] - RECOVERING
            if work.h[row] < min(margins[row], 0.0):
                work.allowed[row] = np.inf  # in contact by the model: no motion is clear
            kept = False
    see_person(arm, solids, age + dt, knobs, work)
    smooth = limit_box(limits, q, v, acc, knobs.recover, dt, work.lo, work.hi)
    return count, smooth, kept, least, touching


@compiled
def see_person(arm, solids, since, knobs, work):
    """Fill `person`: the one that asks for the largest distance counts for all of them."""
    work.person[0], work.person[1] = NOBODY, knobs.walking
    work.person[2] = knobs.reaction + since
    first = len(arm.pairs) + len(arm.above_floor)
    for solid in range(len(solids.role)):
        if solids.role[solid] == PERSON:
            for c in range(len(arm.moving)):
                gap = work.h[first + solid * len(arm.moving) + c]
                work.person[0] = min(work.person[0], gap)
            v = solids.velocity[solid]
            speed = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) + solids.swell[solid]
            work.person[1] = max(work.person[1], speed)


@compiled
def share_near_person(arm, limits, v, knobs, work):
    """Return the largest share of joint velocities v (n,) that a person nearby allows."""
    if work.person[0] == NOBODY:
        return math.inf
    return allowed_share(
        fastest_point(arm, work.pose, v), stop_time(v, limits.accel) / CLOCK_SHARE,
        work.person[1], work.person[2], knobs.intrusion, work.person[0],
    )  # fmt: skip


@compiled
def tool_speed(arm, pose, v):
    """Return the speed of the fastest tool centre [m/s] at joint velocities v (n,)."""
    square = 0.0
    for chain in range(len(arm.chains)):
        x = y = z = 0.0
        p0, p1, p2 = tool_place(arm, pose, chain)
        for j in range(arm.chains[chain, 0], arm.chains[chain, 1] + 1):
            a = pose.axis[j]
            r0, r1, r2 = p0 - pose.origin[j, 0], p1 - pose.origin[j, 1], p2 - pose.origin[j, 2]
            x += v[j] * (a[1] * r2 - a[2] * r1)
            y += v[j] * (a[2] * r0 - a[0] * r2)
            z += v[j] * (a[0] * r1 - a[1] * r0)
        square = max(square, x * x + y * y + z * z)
    return math.sqrt(square)


@compiled
def walk(arm, limits, plan, q, phi, rate, dt, stopping, count, knobs, work):
    """Fill p, p', error and way back at plan time phi; say how fast the plan may go on.

    Returns:
        (free, slowed, low): sigma that the joints and the tools allow, and the same where the
        rows of the program bound the plan's own way too: g.(sigma p' + kappa) >= bound. Both
        as the arm can follow; `low` is the slowest sigma that it can follow.
    """
    plan_at(plan, phi, work.here, work.slope)
    n, last = len(q), len(plan.due) - 1
    until = plan.due[0] - phi
    parting = 0.0
    for j in range(n):
        work.error[j] = work.here[j] - q[j]
        parting += work.error[j] * work.slope[j]
    share = math.inf
    if until > 0.0:  # spread the way to the first point over the time there is
        share = max(rate, knobs.rise * dt) / until
    rejoin(work.error, limits.accel, limits.jerk, knobs.rejoin, knobs.period, share, work.back)
    plan_peaks(plan, phi, AHEAD, work.fast, work.hard)
    # The plan waits for an arm that it leaves behind, not for one that it comes back to.
    lag_limit = knobs.lag_limit if until <= 0.0 and parting >= 0.0 else math.inf
    remaining = 0.0 if stopping else plan.due[last] - phi
    free = min(knobs.scale, wanted_rate(
        work.slope, work.fast, work.hard, remaining, work.error, work.back, limits.speed,
        limits.accel, lag_limit, knobs.slowest, dt,
    ))  # fmt: skip
    plan_at(plan, phi + dt, work.wanted, work.chord)
    tool = max(tool_speed(arm, work.pose, work.slope), tool_speed(arm, work.pose, work.chord))
    if tool > 0.0:
        free = min(free, CAUTION * knobs.tool_speed / tool)
    free = min(free, share_near_person(arm, limits, work.slope, knobs, work))
    free = min(free, share_near_person(arm, limits, work.chord, knobs, work))
    slowed = free
    for r in range(count):
        along = side = 0.0
        for j in range(n):
            along += work.g[r, j] * work.slope[j]
            side += work.g[r, j] * work.back[j]
        if along < 0.0:
            slowed = min(slowed, max(0.0, (work.bound[r] - side) / along))
    low, high = rate_range(rate, work.slope, limits.accel, knobs.rise, dt)
    return min(max(free, low), high), min(max(slowed, low), high), low


@compiled
def go_around(plan, phi, free, slowed, hindered, deviates, dt, knobs, work):
    """Leave the plan's way where a body has held it up for long, until on the plan behind it.

    Args:
        plan: Its cubics.
        phi: Plan time [s].
        free: sigma that joints, tool and persons allow.
        slowed: sigma that the rows allow too.
        hindered: For how long the plan was held up [s].
        deviates: Whether the arm goes around now.
        dt: [s].
        knobs: Settings.
        work: Buffers that `walk` filled.

    Returns:
        (hindered, deviates, tied): the same after this tick, and whether the reference is on the
        plan and to stay there.
    """
    on_plan = phi >= plan.due[0]
    for j in range(len(work.error)):
        on_plan = on_plan and abs(work.error[j]) < ON_PLAN
    if slowed < min(knobs.held_up, free):
        hindered += dt
    else:
        hindered = max(0.0, hindered - dt)
    if hindered >= knobs.patience:
        hindered, deviates = knobs.patience, True
    elif hindered == 0.0 and on_plan:
        deviates = False
    return hindered, deviates, knobs.ties and on_plan and not deviates


@compiled
def want(plan, phi, rate, dt, work):
    """Fill the velocity along the plan at sigma = rate, and with the way back added."""
    plan_at(plan, phi + rate * dt, work.chord, work.wanted)
    for j in range(len(work.chord)):
        work.chord[j] = (work.chord[j] - work.here[j]) / dt
        work.wanted[j] = work.chord[j] + work.back[j]


@compiled
def cut(arm, limits, wanted, knobs, work):
    """Cut a wanted velocity (n,) to what joints, tool and a person nearby allow; keep its way."""
    excess = excess_of(wanted, limits.speed)
    if not excess <= 1.0:  # first: squares of what is huge are not finite
        for j in range(len(wanted)):
            wanted[j] /= excess
    tool = tool_speed(arm, work.pose, wanted)
    share = knobs.tool_speed / tool if tool > knobs.tool_speed else 1.0
    share = min(share, share_near_person(arm, limits, wanted, knobs, work))
    if share < 1.0:
        for j in range(len(wanted)):
            wanted[j] *= share


@compiled
def rate_in_box(plan, phi, rate, dt, work):
    """Return the nearest sigma at which the plan's own velocity lies in the box, -1 for none.

    sigma m_j in [lo_j, hi_j] with m the mean slope of the step, which hardly depends on sigma.
    """
    for _ in range(4):
        ahead = max(rate, 1e-3) * dt
        plan_at(plan, phi + ahead, work.chord, work.wanted)
        low, high = 0.0, 1.0
        for j in range(len(work.chord)):
            m = (work.chord[j] - work.here[j]) / ahead
            if m > 1e-12:
                low, high = max(low, work.lo[j] / m), min(high, work.hi[j] / m)
            elif m < -1e-12:
                low, high = max(low, work.hi[j] / m), min(high, work.lo[j] / m)
            elif work.lo[j] > 0.0 or work.hi[j] < 0.0:
                return -1.0
        if low > high:
            return -1.0
        nearest = min(max(rate, low), high)
        if nearest == rate:
            break
        rate = nearest
    return rate


@compiled
def inside(velocity, tolerance, work):
    """Say whether a velocity (n,) lies in the box."""
    for j in range(len(velocity)):
        if not work.lo[j] - tolerance <= velocity[j] <= work.hi[j] + tolerance:
            return False
    return True
