"""A gentle brake: deceleration builds up and ends within the jerk limits; compiled."""

from __future__ import annotations

import math

from vla_ros.safety.certify import may_move, stops_straight, UNBOUNDED
from vla_ros.safety.compiled import compiled
from vla_ros.safety.decide import STILL
from vla_ros.safety.limits import stopping_speed


@compiled
def ease(arm, solids, limits, q, v, acc, dt, age, smooth, kept, knobs, work, pose):
    """Choose the next velocity of a brake within the jerk limits, where its own stop is clear.

    Every joint slows by the share of its speed that all can, min_j a_j(|v_j|) / |v_j| with
    a(v) = min(a, j (-dt + sqrt(dt^2 + 2 v / j))), which still ends at v = 0; and by no more than
    the box allows. It takes about a / j longer than the brake by the acceleration limits.

    Args:
        arm: Constants of the arm.
        solids: Obstacles.
        limits: Of the joints.
        q: (n,) [rad].
        v: (n,) [rad/s] of the step before.
        acc: (n,) [rad/s^2] of the step before.
        dt: Length of the step [s].
        age: Time from the stamp of the obstacles to the beginning of the step [s].
        smooth: Whether the box keeps the jerk limits.
        kept: Whether every margin is kept.
        knobs: Settings.
        work: Buffers that `look` filled; `chosen` gets the velocity.
        pose: Buffer.

    Returns:
        Whether it may be commanded, with a straight stop behind it.
    """
    if not smooth:
        return False
    share, most = 1.0 / dt, 0.0
    for j in range(len(q)):
        speed = abs(v[j])
        if speed > 0.0:
            share = min(share, limits.accel[j] / speed)
            share = min(share, stopping_speed(speed, limits.jerk[j], dt) / speed)
    for j in range(len(q)):
        goal = v[j] * (1.0 - share * dt)
        work.chosen[j] = min(max(goal, work.lo[j]), work.hi[j])
        most = max(most, abs(work.chosen[j]))
    if most < STILL:
        work.chosen[:] = 0.0
    fastest = UNBOUNDED if kept else knobs.recover
    if not math.isfinite(share) or may_move(arm, v, work.chosen, knobs, fastest, work) != -1:
        return False
    row, _ = stops_straight(arm, solids, limits, q, v, work.chosen, dt, age, knobs, work, pose)
    return row == -1
