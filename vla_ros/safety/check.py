"""Checks that a way keeps every clearance between its samples too, compiled."""

from __future__ import annotations

import math

import numpy as np

from vla_ros.safety.chain import forward
from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import clearance, put_at, row_bodies, row_count

CONTACT = 1e-6  # [m] a clearance this much below its margin still counts as kept
SCRATCH = 8  # vectors that the functions of the core need within themselves
MAX_CHECKS = 64  # poses that one stop check may look at; more is 'not verified'


@compiled
def curvature(arm, capsule, fixed, d):
    """Return a bound of |p''| [m] of the points of a capsule on the line q + s d, s in [0, 1].

    p'' = sum over joints j, k of d_j d_k w_min x (w_max x (p - o_max)), so
    |p''| <= sum_k lever_k |d_k| (|d_k| + 2 sum_(fixed < j < k) |d_j|).
    """
    total, before = 0.0, 0.0
    for k in range(fixed + 1, arm.capsule_joint[capsule] + 1):
        size = abs(d[k])
        total += arm.lever[capsule, k] * size * (size + 2.0 * before)
        before += size
    return total


@compiled
def reach_of(room, rate, k):
    """Return the largest x up to which room + rate x - k x^2 / 2 >= 0 (room >= 0)."""
    if k > 0.0:
        root = math.sqrt(rate * rate + 2.0 * k * max(room, 0.0))
        if rate >= 0.0:
            return (rate + root) / k
        return 2.0 * max(room, 0.0) / (root - rate)
    return np.inf if rate >= 0.0 else max(room, 0.0) / -rate


@compiled
def time_on_line(u, dt, stop):
    """Return when the straight stop passes u [s]: q + u v with u = t, then t - (t - dt)^2 / 2T."""
    if u <= dt or stop <= 0.0:
        return u
    return dt + stop * (1.0 - math.sqrt(max(0.0, 1.0 - 2.0 * (u - dt) / stop)))


@compiled
def way_on_line(t, dt, stop):
    """Return u at time t [s] of the straight stop; the inverse of `time_on_line`."""
    late = min(max(t - dt, 0.0), stop)
    return min(t, dt) + (late - 0.5 * late * late / stop if stop > 0.0 else 0.0)


@compiled
def falls_to(t, dt, stop):
    """Return the share of a speed that is left at t [s], if it falls evenly from dt to dt + T."""
    if t <= dt:
        return 1.0
    return max(0.0, 1.0 - (t - dt) / stop) if stop > 0.0 else 0.0


@compiled
def nearing(solids, solid, since, span):
    """Return how much an obstacle may come nearer within `span`, `since` after its stamp [m]."""
    v = solids.velocity[solid]
    speed = math.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) + solids.swell[solid]
    rush = solids.accel[solid]
    return (speed + rush * since + 0.5 * rush * span) * span


@compiled
def end_rate(n, e, linear, angular, start, end):
    """Return n.de/du of a point that the joints from `start` on to before `end` move."""
    u0, w0 = linear[end, 0] - linear[start, 0], angular[end, 0] - angular[start, 0]
    u1, w1 = linear[end, 1] - linear[start, 1], angular[end, 1] - angular[start, 1]
    u2, w2 = linear[end, 2] - linear[start, 2], angular[end, 2] - angular[start, 2]
    return (
        n[0] * (u0 + w1 * e[2] - w2 * e[1])
        + n[1] * (u1 + w2 * e[0] - w0 * e[2])
        + n[2] * (u2 + w0 * e[1] - w1 * e[0])
    )


@compiled
def check_line(
    arm, solids, q, v, dt, stop, age, h, allowed, pose, again, linear, angular, scratch
):  # fmt: skip
    """Say whether every row keeps its clearance during a step of dt at v and a straight stop.

    All of it lies on the line q + u v, 0 <= u <= dt + T / 2. Conservative advancement: along the
    direction n found at u, an end e of the capsule keeps n.e(u + x) >= n.e + x n.e' - x^2 K / 2
    with K of `curvature`, the other body does not move in its own frame, an obstacle comes nearer
    by no more than its declared motion, and a capsule of another arm by what the same bound, with
    its own K, says of its ends; the row is looked at again where that may reach
    `allowed`.

    Args:
        arm: Constants of the arm.
        solids: Obstacles; moved and grown here as time passes.
        q: (n,) [rad].
        v: (n,) [rad/s] of the step.
        dt: Length of the step [s].
        stop: Time T of the stop after it [s].
        age: Time from the stamp of the obstacles to the beginning of the step [s].
        h: (K,) [m] clearances at q.
        allowed: (K,) [m] clearance that must be kept.
        pose: Buffer.
        again: (K,) buffer: u at which a row is due again.
        linear: (n + 1, 3) buffer: dp/du of frame j - 1 at the base's origin.
        angular: (n + 1, 3) buffer: dR/du of frame j - 1.
        scratch: (SCRATCH, n or 3) buffer.

    Returns:
        (row, checks): the first row that fails, -1 for none, -2 for too many checks.
    """
    rows, bodies = row_count(arm, solids), len(arm.pairs) + len(arm.above_floor)
    end = dt + 0.5 * stop
    n, point, x = scratch[0], scratch[1], scratch[2, : len(q)]
    for row in range(rows):
        capsule, fixed, other = row_bodies(arm, row)
        reach = allowed[row]
        for j in range(fixed + 1, arm.capsule_joint[capsule] + 1):
            reach += arm.lever[capsule, j] * abs(v[j]) * end
        if other >= 0:
            for j in range(arm.first[other], arm.capsule_joint[other] + 1):
                reach += arm.lever[other, j] * abs(v[j]) * end
        if row >= bodies:
            reach += nearing(solids, (row - bodies) // len(arm.moving), age, dt + stop)
        again[row] = np.inf if h[row] >= reach else 0.0  # it cannot come so near
    u = 0.0
    for check in range(MAX_CHECKS):
        t = time_on_line(u, dt, stop)
        pace = falls_to(t, dt, stop)  # du/dt, never rises again
        put_at(solids, age + t)
        for j in range(len(q)):
            x[j] = q[j] + u * v[j]
        forward(arm, x, pose)
        linear[0], angular[0] = 0.0, 0.0
        for j in range(len(q)):
            a, o = pose.axis[j], pose.origin[j]
            linear[j + 1, 0] = linear[j, 0] + v[j] * (o[1] * a[2] - o[2] * a[1])
            linear[j + 1, 1] = linear[j, 1] + v[j] * (o[2] * a[0] - o[0] * a[2])
            linear[j + 1, 2] = linear[j, 2] + v[j] * (o[0] * a[1] - o[1] * a[0])
            for i in range(3):
                angular[j + 1, i] = angular[j, i] + v[j] * a[i]
        following = end
        for row in range(rows):
            if again[row] <= u:
                h, support = clearance(arm, solids, pose, row, n, point)
                if h < allowed[row]:
                    return row, check
                capsule, fixed, other = row_bodies(arm, row)
                k = curvature(arm, capsule, fixed, v)
                if other >= 0:
                    k += curvature(arm, other, arm.first[other] - 1, v)
                approach, rush = 0.0, 0.0  # [m/s], [m/s^2] of the obstacle
                if row >= bodies:
                    solid = (row - bodies) // len(arm.moving)
                    for i in range(3):
                        approach += n[i] * solids.velocity[solid, i]
                    rush = solids.accel[solid]
                    approach += solids.swell[solid] + rush * (age + t)
                step, ends = np.inf, 2
                link = arm.capsule_joint[capsule] + 1
                if other >= 0:  # its ends, each against each, take the place of the support
                    ends = 4
                    support = arm.capsule_radius[capsule] + arm.capsule_radius[other]
                for side in range(ends):
                    e = pose.ends[capsule, side % 2]
                    rate = end_rate(n, e, linear, angular, fixed + 1, link)
                    room = n[0] * e[0] + n[1] * e[1] + n[2] * e[2] - support - allowed[row]
                    if other >= 0:
                        e = pose.ends[other, side // 2]
                        last = arm.capsule_joint[other] + 1
                        rate -= end_rate(n, e, linear, angular, arm.first[other], last)
                        room -= n[0] * e[0] + n[1] * e[1] + n[2] * e[2]
                    if approach == 0.0 and rush == 0.0:
                        step = min(step, reach_of(room, rate, k))
                    else:
                        later = reach_of(
                            room, min(rate, 0.0) * pace - approach, k * pace * pace + rush
                        )
                        step = min(step, way_on_line(t + later, dt, stop) - u)
                again[row] = u + step
            following = min(following, again[row])
        if following >= end:
            return -1, check + 1
        if following <= u:
            return -2, check + 1
        u = following
    return -2, MAX_CHECKS
