"""The law of velocity by position along a stop that follows the plan; compiled."""

from __future__ import annotations

from vla_ros.safety.check import falls_to, time_on_line, way_on_line
from vla_ros.safety.compiled import compiled
from vla_ros.safety.limits import law_speed
from vla_ros.safety.pace import plan_at

PIECES = 24  # that the way is cut into; within each the worst place meets the worst speed


@compiled
def largest(value, least, most):
    """Return the largest product of a number and a share in [least, most]."""
    return value * (most if value > 0.0 else least)


@compiled
def plan_keeps_law(
    limits, plan, phi, q, rate, brake, rest, dt, span, stop, hard, scratch, tolerance
):
    """Say whether a step along the plan and slowing its clock down keep every joint's law.

    q(t) = q + p(phi(t)) - p(phi) + rest way(t), v(t) = p'(phi(t)) sigma(t) + rest fall(t). On a
    piece of width w p' stays within w max|p''| of that at its beginning, and p within
    w^2 max|p''| / 8 of the chord.

    Args:
        limits: Of the joints.
        plan: Its cubics.
        phi: Plan time at the beginning of the step [s].
        q: (n,) [rad].
        rate: sigma of the step.
        brake: How fast sigma falls after it [1/s].
        rest: (n,) [rad/s] velocity of the step that is not the plan's.
        dt: Length of the step [s].
        span: Plan time that the clock goes on for [s].
        stop: How long `rest` takes to end [s].
        hard: (n,) [rad/s^2] largest |p''| on the way.
        scratch: (SCRATCH, n or 3) buffer.
        tolerance: Of a velocity [rad/s].
    """
    n, free = len(q), True
    for j in range(n):
        free = free and limits.law[j, 0, 1] <= 0.0 and limits.law[j, 1, 1] <= 0.0
    if free:
        return True
    clock = rate / brake
    start, here, there = scratch[0, : len(q)], scratch[1, : len(q)], scratch[2, : len(q)]
    slope, unused = scratch[3, : len(q)], scratch[4, : len(q)]
    end, w = max(dt + clock, dt + stop), span / PIECES
    plan_at(plan, phi, start, unused)
    for m in range(PIECES):
        since, until = end * m / PIECES, end * (m + 1) / PIECES
        if rate > 0.0:
            since = time_on_line(w * m / rate, dt, clock)
            until = time_on_line(w * (m + 1) / rate, dt, clock) if m + 1 < PIECES else end
        most, least = rate * falls_to(since, dt, clock), rate * falls_to(until, dt, clock)
        early, late = falls_to(since, dt, stop), falls_to(until, dt, stop)
        plan_at(plan, phi + w * m, here, slope)
        plan_at(plan, phi + w * (m + 1), there, unused)
        for j in range(n):
            drift = rest[j] * way_on_line(since, dt, stop)
            further = rest[j] * way_on_line(until, dt, stop) - drift
            place, along = q[j] + (here[j] - start[j]) + drift, there[j] - here[j]
            sag, bend = w * w * hard[j] / 8.0, w * hard[j]
            for side in range(2):
                sign = 2.0 * side - 1.0  # towards the limit of this side
                c, k, limit = limits.law[j, side]
                if k <= 0.0:
                    continue
                room = sign * (limit - place) - max(sign * along, 0.0)
                room -= max(sign * further, 0.0) + sag
                speed = largest(sign * slope[j] + bend, least, most)
                speed += largest(sign * rest[j], late, early)
                if speed > law_speed(room, c, k, limits.accel[j]) + tolerance:
                    return False
    return True
