"""Whether a velocity may be commanded: limits, then a clear stop behind it; compiled."""

from __future__ import annotations

import math

from vla_ros.safety.check import check_line
from vla_ros.safety.check_plan import check_plan, clock_brake, rest_time
from vla_ros.safety.compiled import compiled
from vla_ros.safety.limits import stop_keeps_limits, stop_time
from vla_ros.safety.pace import plan_at
from vla_ros.safety.separation import fastest_point, NOBODY, protective_distance
from vla_ros.safety.tick import inside, rate_in_box, tool_speed, want

NONE, STRAIGHT, ALONG_PLAN = 0, 1, 2  # the stop that is clear
# What failed, if no row; -2: the budget of checks was used up.
CHECKS_ROW, LIMIT_ROW, TOOL_ROW, RECOVERY_ROW, PERSON_ROW, JERK_ROW = -2, -3, -4, -5, -6, -7
WORKSPACE_ROW, SINGULAR_ROW = -8, -9  # soft rows, which fail nothing
ROUNDING = 1e-9  # [rad] of a position limit, [rad/s] of a velocity
UNBOUNDED = math.inf  # of `fastest`, where every margin is kept
LONGEST_REST = 0.5  # [s] a stop along the plan may take to end what is not the plan's


@compiled
def follow_at(plan, phi, wish, dt, work):
    """Fill the plan's own velocity at the sigma nearest to a wish that the box allows.

    Returns:
        That sigma, -1 for none.
    """
    rate = rate_in_box(plan, phi, wish, dt, work)
    if rate >= 0.0:
        want(plan, phi, rate, dt, work)
        if not inside(work.chord, ROUNDING, work):
            return -1.0
    return rate


@compiled
def keeps_apart(arm, v, velocity, stop, knobs, work):
    """Say whether a velocity keeps the protective distance, or is no faster than v before."""
    if work.person[0] == NOBODY:
        return True
    fast = fastest_point(arm, work.pose, velocity)
    needed = protective_distance(fast, stop, work.person[1], work.person[2], knobs.intrusion)
    return needed <= work.person[0] + ROUNDING or (
        fast <= (1.0 + ROUNDING) * fastest_point(arm, work.pose, v)
    )


@compiled
def may_move(arm, v, velocity, knobs, fastest, work):
    """Return what forbids a velocity (n,) whatever its stop, -1 for nothing; v is that before."""
    if tool_speed(arm, work.pose, velocity) > (1.0 + ROUNDING) * max(
        knobs.tool_speed, tool_speed(arm, work.pose, v)
    ):
        return TOOL_ROW
    for j in range(len(velocity)):
        if not abs(velocity[j]) <= fastest:
            return RECOVERY_ROW
    return -1


@compiled
def stops_straight(arm, solids, limits, q, v, velocity, dt, age, knobs, work, pose):
    """Return (row, checks): what a step at a velocity and its straight stop break, -1: nothing."""
    if not stop_keeps_limits(limits, q, velocity, dt, ROUNDING):
        return LIMIT_ROW, 0
    stop = stop_time(velocity, limits.accel)
    row, checks = check_line(
        arm, solids, q, velocity, dt, stop, age, work.h, work.allowed, pose, work.again,
        work.linear, work.angular, work.scratch,
    )  # fmt: skip
    if row == -1 and not keeps_apart(arm, v, velocity, stop, knobs, work):
        return PERSON_ROW, checks
    return row, checks


@compiled
def certify(
    arm, solids, limits, plan, phi, rate, q, v, velocity, dt, age, on_way, knobs, fastest, work,
    pose,
):  # fmt: skip
    """Look for a clear stop after one step at a velocity: straight, then along the plan.

    Args:
        arm: Constants of the arm.
        solids: Obstacles; moved and grown here as time passes.
        limits: Of the joints.
        plan: Its cubics.
        phi: Plan time at the beginning of the step [s].
        rate: sigma that goes with the step.
        q: (n,) [rad].
        v: (n,) [rad/s] of the step before.
        velocity: (n,) [rad/s] of the step.
        dt: Length of the step [s].
        age: Time from the stamp of the obstacles to the beginning of the step [s].
        on_way: Whether a straight stop does not count, since it leaves the plan's way.
        knobs: Settings; a tool that is faster than its limit, or an arm that is faster than a
            person nearby allows, may only slow down.
        fastest: Largest joint speed, of a recovery [rad/s].
        work: Buffers that `look` and `walk` filled.
        pose: Buffer.

    Returns:
        (stop, row, checks, slowing): one of NONE, STRAIGHT and ALONG_PLAN, the row that failed,
        the poses that were looked at, and D of a stop along the plan, whose rest is in `work`.
    """
    row, checks = may_move(arm, v, velocity, knobs, fastest, work), 0
    if row != -1:
        return NONE, row, 0, 0.0
    row = LIMIT_ROW
    if not on_way:
        row, checks = stops_straight(
            arm, solids, limits, q, v, velocity, dt, age, knobs, work, pose
        )
        if row == -1:
            return STRAIGHT, row, checks, 0.0
        if row == PERSON_ROW:
            return NONE, row, checks, 0.0
    plan_at(plan, phi + rate * dt, work.rest, work.spare)
    for j in range(len(q)):
        work.rest[j] = velocity[j] - (work.rest[j] - work.here[j]) / dt
    slowing = clock_brake(plan, phi, rate, limits.accel, dt, work.fast, work.hard)
    if slowing == 0.0 or rest_time(work.rest, limits.accel) > LONGEST_REST:
        return NONE, row, checks, 0.0
    way, more = check_plan(
        arm, solids, limits, plan, phi, q, rate, slowing, work.rest, dt, age, work.h,
        work.allowed, pose, work.again, work.hard, work.nodes, work.times, work.low, work.high,
        work.scratch, ROUNDING,
    )  # fmt: skip
    if way == -1:
        longest = max(rate / slowing, rest_time(work.rest, limits.accel))
        if not keeps_apart(arm, v, velocity, longest, knobs, work):
            return NONE, PERSON_ROW, checks + more, 0.0
        return ALONG_PLAN, way, checks + more, slowing
    return NONE, way if on_way else row, checks + more, 0.0
