"""The check of a stop along the plan: its clock slows down evenly, its way stays, compiled."""

from __future__ import annotations

import math

import numpy as np

from vla_ros.safety.chain import forward, gain
from vla_ros.safety.check import curvature, nearing, time_on_line, way_on_line
from vla_ros.safety.check_law import plan_keeps_law
from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import clearance, put_at, row_bodies, row_count
from vla_ros.safety.limits import excess_of
from vla_ros.safety.pace import plan_at, plan_peaks

AHEAD = 0.5  # [s] of plan time within which such a stop must end
CLOCK_SHARE, REST_SHARE = 0.8, 0.2  # of the acceleration: to slow the clock, to end the rest
UNEVEN = 1.5  # half of (1 + the last tick's length over this one's), which is 2 at most
FINEST = 12  # pieces that the way is cut into at most
PIECE = 0.03  # [rad] of a piece that is looked at as one


@compiled
def clock_brake(plan, phi, rate, accel, dt, fast, hard):
    """Return D [1/s], how fast sigma may fall; 0 where the plan bends too hard to slow down.

    |p''| sigma^2 + |p'| D <= CLOCK_SHARE a for every joint and all of the plan within AHEAD.
    """
    plan_peaks(plan, phi, AHEAD, fast, hard)
    brake = 1.0 / dt
    for j in range(len(fast)):
        left = CLOCK_SHARE * accel[j] - UNEVEN * hard[j] * rate * rate
        if left <= 0.0:
            return 0.0
        if fast[j] * brake > left:
            brake = left / fast[j]
    return brake


@compiled
def rest_time(rest, accel):
    """Return how long the velocity that is not the plan's takes to end [s]."""
    return excess_of(rest, accel) / REST_SHARE


@compiled
def cut_way(plan, phi, q, rate, brake, rest, dt, stop, hard, nodes, times, low, high, scratch):
    """Cut the way into pieces; fill their first poses, times and boxes; return how many.

    q(t) = q + p(phi(t)) - p(phi) + rest way(t). A cubic stays within w^2 max|p''| / 8 of the
    chord of a piece of width w.
    """
    n = len(q)
    span = rate * dt + (0.5 * rate * rate / brake if rate > 0.0 else 0.0)  # of plan time
    clock_stop = rate / brake
    end = max(dt + clock_stop, dt + stop)
    longest = 0.0
    for j in range(n):
        longest = max(longest, abs(rest[j]) * (dt + 0.5 * stop))
    start, place, unused = scratch[0, :n], scratch[1, :n], scratch[2, :n]
    plan_at(plan, phi, start, unused)
    plan_at(plan, phi + span, place, unused)
    for j in range(n):
        longest = max(longest, abs(place[j] - start[j]))
    count = min(max(math.ceil(longest / PIECE), 1), FINEST)
    for m in range(count + 1):
        w = span * m / count
        times[m] = time_on_line(w / rate, dt, clock_stop) if rate > 0.0 else end * m / count
        if m == count:
            times[m] = end
        drift = way_on_line(times[m], dt, stop)
        plan_at(plan, phi + w, place, unused)
        for j in range(n):
            # the difference first: a plan may be so far away that a sum would lose the pose
            nodes[m, j] = q[j] + (place[j] - start[j]) + rest[j] * drift
    wide = (span / count) ** 2 / 8.0
    for m in range(count):
        drift = way_on_line(times[m + 1], dt, stop) - way_on_line(times[m], dt, stop)
        for j in range(n):
            # the two motions may run against each other within a piece, so their ranges add up
            along = nodes[m + 1, j] - nodes[m, j] - rest[j] * drift
            sag = wide * hard[j]
            low[m, j] = nodes[m, j] + min(along, 0.0) + min(rest[j] * drift, 0.0) - sag
            high[m, j] = nodes[m, j] + max(along, 0.0) + max(rest[j] * drift, 0.0) + sag
    return count


@compiled
def least_on_box(arm, pose, capsule, fixed, side, n, x, low, high, size):
    """Return a bound of how much n.e of one end may fall from pose x within a box of poses [m].

    Sum over joints of the least of g_j d_j, less `curvature` of the largest |d| / 2.
    """
    total = 0.0
    e = pose.ends[capsule, side]
    for j in range(len(x)):
        size[j] = 0.0
    for j in range(fixed + 1, arm.capsule_joint[capsule] + 1):
        g = gain(pose, j, n, e[0], e[1], e[2])
        down, up = low[j] - x[j], high[j] - x[j]
        total += min(g * down, g * up)
        size[j] = max(abs(down), abs(up))
    return total - 0.5 * curvature(arm, capsule, fixed, size)


@compiled
def check_plan(
    arm, solids, limits, plan, phi, q, rate, brake, rest, dt, age, h, allowed, pose, again, hard,
    nodes, times, low, high, scratch, tolerance,
):  # fmt: skip
    """Say whether a step along the plan and slowing its clock down keep limits and clearances.

    Args:
        arm: Constants of the arm.
        solids: Obstacles; moved and grown here as time passes.
        limits: Of the joints.
        plan: Its cubics.
        phi: Plan time at the beginning of the step [s].
        q: (n,) [rad].
        rate: sigma of the step.
        brake: D of `clock_brake` [1/s].
        rest: (n,) [rad/s] velocity of the step that is not the plan's.
        dt: Length of the step [s].
        age: Time from the stamp of the obstacles to the beginning of the step [s].
        h: (K,) [m] clearances at q.
        allowed: (K,) [m] clearance that must be kept.
        pose: Buffer.
        again: (K,) buffer: 1 where a row still has to be looked at.
        hard: (n,) [rad/s^2] largest |p''| on the way.
        nodes: (FINEST + 1, n) buffer.
        times: (FINEST + 1,) buffer.
        low: (FINEST, n) buffer.
        high: (FINEST, n) buffer.
        scratch: (SCRATCH, n or 3) buffer.
        tolerance: Of a position limit [rad] and a law [rad/s].

    Returns:
        (row, checks): the first row that fails, -1 for none, -3 for a limit or an end of the plan.
    """
    last = len(plan.due) - 1
    span = rate * dt + (0.5 * rate * rate / brake if rate > 0.0 else 0.0)
    if rate > 0.0 and (phi < plan.due[0] or phi + span > plan.due[last]):
        return -3, 0  # the way has a corner where the plan begins or ends
    stop = rest_time(rest, limits.accel)
    count = cut_way(
        plan, phi, q, rate, brake, rest, dt, stop, hard, nodes, times, low, high, scratch
    )  # fmt: skip
    joints = len(q)
    if not plan_keeps_law(
        limits, plan, phi, q, rate, brake, rest, dt, span, stop, hard, scratch, tolerance
    ):
        return -3, 0
    floor, ceiling, size = scratch[2], scratch[3], scratch[4]
    for j in range(joints):
        floor[j], ceiling[j] = low[0, j], high[0, j]
        for m in range(1, count):
            floor[j], ceiling[j] = min(floor[j], low[m, j]), max(ceiling[j], high[m, j])
        if floor[j] < min(limits.lower[j], q[j]) - tolerance:
            return -3, 0
        if ceiling[j] > max(limits.upper[j], q[j]) + tolerance:
            return -3, 0
    rows, bodies = row_count(arm, solids), len(arm.pairs) + len(arm.above_floor)
    left = 0
    for row in range(rows):
        capsule, fixed, other = row_bodies(arm, row)
        reach = allowed[row]
        for j in range(fixed + 1, arm.capsule_joint[capsule] + 1):
            reach += arm.lever[capsule, j] * max(q[j] - floor[j], ceiling[j] - q[j])
        if other >= 0:
            for j in range(arm.first[other], arm.capsule_joint[other] + 1):
                reach += arm.lever[other, j] * max(q[j] - floor[j], ceiling[j] - q[j])
        if row >= bodies:
            reach += nearing(solids, (row - bodies) // len(arm.moving), age, times[count])
        again[row] = 0.0 if h[row] >= reach else 1.0
        left += int(again[row])
    n, point, back = scratch[0], scratch[1], scratch[5]
    for m in range(count):
        if left == 0:
            return -1, m
        put_at(solids, age + times[m])
        forward(arm, nodes[m], pose)
        for j in range(joints):
            floor[j], ceiling[j] = low[m, j], high[m, j]
            for k in range(m + 1, count):
                floor[j], ceiling[j] = min(floor[j], low[k, j]), max(ceiling[j], high[k, j])
        for row in range(rows):
            if again[row] == 0.0:
                continue
            value, support = clearance(arm, solids, pose, row, n, point)
            if value < allowed[row]:
                return row, m + 1
            capsule, fixed, other = row_bodies(arm, row)
            soon = later = 0.0
            if row >= bodies:
                solid, since = (row - bodies) // len(arm.moving), age + times[m]
                soon = nearing(solids, solid, since, times[m + 1] - times[m])
                later = nearing(solids, solid, since, times[count] - times[m])
            x = nodes[m]
            if other >= 0:  # how far its ends may come along n takes the place of the support
                support = arm.capsule_radius[capsule] + arm.capsule_radius[other]
                base = arm.first[other] - 1
                soon = later = -np.inf
                for i in range(3):
                    back[i] = -n[i]
                lo, hi = low[m], high[m]
                for side in range(2):
                    e = pose.ends[other, side]
                    at = n[0] * e[0] + n[1] * e[1] + n[2] * e[2]
                    fall = least_on_box(arm, pose, other, base, side, back, x, lo, hi, size)
                    soon = max(soon, at - fall)
                    fall = least_on_box(
                        arm, pose, other, base, side, back, x, floor, ceiling, size
                    )
                    later = max(later, at - fall)
            piece = whole = np.inf
            for side in range(2):
                e = pose.ends[capsule, side]
                room = n[0] * e[0] + n[1] * e[1] + n[2] * e[2] - support - allowed[row]
                fall = least_on_box(arm, pose, capsule, fixed, side, n, x, low[m], high[m], size)
                piece = min(piece, room + fall - soon)
                fall = least_on_box(arm, pose, capsule, fixed, side, n, x, floor, ceiling, size)
                whole = min(whole, room + fall - later)
            if whole >= 0.0:
                again[row] = 0.0
                left -= 1
            elif piece < 0.0:
                return row, m + 1
    return -1, count
