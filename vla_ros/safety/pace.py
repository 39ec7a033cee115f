"""How the plan is walked: its cubics, how fast its clock runs, how the reference rejoins it."""

from __future__ import annotations

import math

import numpy as np

from vla_ros.safety.chain import Floats
from vla_ros.safety.compiled import compiled
from vla_ros.types import PlanPieces

PATH_SHARE = 0.8  # of the acceleration limit; the rest is for the way back to the plan
SLOWEST = 0.7  # sigma below which acceleration is noise, to be filtered and not waited for
TINY = 1e-9


@compiled
def plan_at(plan: PlanPieces, phi: float, position: Floats, velocity: Floats) -> None:
    """Fill p(phi) and p'(phi) (n,) of the first n joints; at rest outside the plan.

    `actions.Timeline.sample` is its plain form, which allocates.
    """
    due, last = plan.due, len(plan.due) - 1
    velocity[:] = 0.0
    if phi < due[0] or phi >= due[last]:
        row = 0 if phi < due[0] else last
        for j in range(len(position)):
            position[j] = plan.points[row, j]
        return
    i = np.searchsorted(due, phi, side='right') - 1
    x, c = phi - due[i], plan.cubics[i]
    for j in range(len(position)):
        position[j] = c[0, j] + x * (c[1, j] + x * (c[2, j] + x * c[3, j]))
        velocity[j] = c[1, j] + x * (2.0 * c[2, j] + (3.0 * x) * c[3, j])


@compiled
def plan_grip(
    plan: PlanPieces, phi: float, joints: int, low: Floats, high: Floats, grip: Floats
) -> None:
    """Fill the places of the grippers (g,) at plan time phi: held from the last point due.

    Args:
        plan: Its points.
        phi: Plan time [s].
        joints: Columns before the first gripper's.
        low: (g,) [m] least place of each.
        high: (g,) [m] largest.
        grip: (g,) [m].
    """
    row = max(int(np.searchsorted(plan.due, phi, side='right')) - 1, 0)
    for k in range(len(grip)):
        grip[k] = min(max(plan.points[row, joints + k], low[k]), high[k])


@compiled
def plan_peaks(plan: PlanPieces, phi: float, ahead: float, fast: Floats, hard: Floats) -> None:
    """Fill the largest |p'| and |p''| (n,) of the pieces within `ahead` [s] of plan time phi."""
    fast[:], hard[:] = 0.0, 0.0
    first = max(int(np.searchsorted(plan.due, phi, side='right')) - 1, 0)
    last = min(int(np.searchsorted(plan.due, phi + ahead, side='left')), len(plan.fastest))
    for i in range(first, last):
        for j in range(len(fast)):
            fast[j] = max(fast[j], plan.fastest[i, j])
            hard[j] = max(hard[j], plan.hardest[i, j])


@compiled
def rejoin(
    error: Floats, accel: Floats, jerk: Floats, part: float, dt: float, share: float, out: Floats
) -> None:
    """Fill kappa(e) = sign(e) min(a (-tau + sqrt(tau^2 + 2 |e| / a)), share |e|) [rad/s].

    The fastest speed from which a stop with a, begun tau later, ends at e = 0; nothing at e = 0.
    tau is a tick and the time that the jerk limit takes to build up the full acceleration.

    Args:
        error: (dof,) [rad] plan less reference.
        accel: (dof,) [rad/s^2] limits.
        jerk: (dof,) [rad/s^3] limits.
        part: Of the acceleration that a is.
        dt: A tick [s].
        share: [1/s] largest share of the error to go in a second.
        out: (dof,) [rad/s].
    """
    for j in range(len(error)):
        size, a, tau = abs(error[j]), part * accel[j], dt + accel[j] / jerk[j]
        speed = a * (math.sqrt(tau * tau + 2.0 * size / a) - tau)
        out[j] = math.copysign(min(speed, share * size), error[j])


@compiled
def rate_range(
    rate: float, velocity: Floats, accel: Floats, rise: float, dt: float
) -> tuple[float, float]:
    """Return the lowest and the highest sigma that the arm can follow after `rate`.

    d sigma |p'| <= PATH_SHARE a dt for every joint; sigma rises by no more than `rise` [1/s].
    """
    steepest = math.inf
    for j in range(len(velocity)):
        steepest = min(steepest, PATH_SHARE * accel[j] / max(abs(velocity[j]), TINY))
    return max(rate - max(steepest, rise) * dt, 0.0), min(rate + min(steepest, rise) * dt, 1.0)


@compiled
def wanted_rate(
    velocity: Floats,
    fastest: Floats,
    hardest: Floats,
    remaining: float,
    error: Floats,
    correction: Floats,
    speed: Floats,
    accel: Floats,
    lag_limit: float,
    slowest: float,
    dt: float,
) -> float:
    """Return the sigma to head for, in [0, 1].

    The largest at which path and correction keep the velocity limit, the path keeps the
    acceleration limit (sigma^2 p'', down to `slowest`), the error is below half `lag_limit`, and
    the plan's end is reached at rest.

    Args:
        velocity: (dof,) [rad/s] of the plan now, at sigma = 1.
        fastest: (dof,) [rad/s] largest |velocity| soon.
        hardest: (dof,) [rad/s^2] largest |acceleration| soon.
        remaining: Plan time to the end [s]; 0 stops.
        error: (dof,) [rad] plan less reference.
        correction: (dof,) [rad/s] kappa(error).
        speed: (dof,) [rad/s] limits.
        accel: (dof,) [rad/s^2] limits.
        lag_limit: [rad].
        slowest: sigma below which the plan's own acceleration is not waited for.
        dt: [s].
    """
    wanted, bend, steepest = 1.0, 1.0, math.inf
    for j in range(len(velocity)):
        size = max(abs(velocity[j]), TINY)
        along = math.copysign(correction[j], correction[j] * velocity[j])
        wanted = min(wanted, (speed[j] - along) / size, speed[j] / max(fastest[j], TINY))
        wanted = min(wanted, 2.0 - 2.0 * abs(error[j]) / lag_limit)
        bend = min(bend, math.sqrt(accel[j] / max(hardest[j], TINY)))
        steepest = min(steepest, PATH_SHARE * accel[j] / size)  # [1/s]
    ending = min(steepest, 1.0 / dt)
    left = max(remaining, 0.0)
    stop = ending * (math.sqrt(dt * dt + 2.0 * left / ending) - dt)
    return max(min(wanted, max(bend, slowest), stop), 0.0)
