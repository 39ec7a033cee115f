"""Stops as they are sent: straight, every joint by the same share, or along the plan."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.safety.check import way_on_line
from vla_ros.safety.check_plan import rest_time
from vla_ros.safety.compiled import compiled
from vla_ros.safety.limits import stop_time
from vla_ros.safety.pace import plan_at
from vla_ros.types import Array, JointCommand, PlanPieces

SHARES = (0.0, 0.5, 1.0)  # of the time of a straight stop, where it has a point
FINE = np.linspace(0.0, 1.0, 9)  # of the time of a stop along the plan
SHORTEST = 1e-6  # [s] of a stop, so that its points have distinct times


class Brake(NamedTuple):
    """A stop that was verified, as it goes on from the end of a tick."""

    plan: PlanPieces | None = None  # None: straight
    phi: float = 0.0  # [s]
    rate: float = 0.0  # sigma
    slowing: float = 0.0  # [1/s] D, how fast sigma falls
    rest: Array | None = None  # (dof,) [rad/s] velocity that is not the plan's


def brake(v: Array, accel: Array, dt: float) -> Array:
    """Return the next velocity of a straight stop: v max(0, 1 - dt / T), T = max |v_j| / a_j.

    Args:
        v: (dof,) [rad/s].
        accel: (dof,) [rad/s^2].
        dt: [s].
    """
    stop = stop_time(v, accel)
    return v * (1.0 - dt / stop) if stop > dt else np.zeros_like(v)


def with_stop(
    stamp: float, q: Array, v: Array, accel: Array, dt: float, gripper: float, stop: Brake
) -> JointCommand:
    """Return the command (q, v), due after dt, and the stop that follows it.

    Straight: q(t) = q + v (t - t^2 / (2 T)), v(t) = v (1 - t / T) for t in [0, T] after row 0;
    a cubic between the points is the stop itself. Along the plan: q(t) = q + p(phi(t)) - p(phi) +
    rest way(t), at more points.

    Args:
        stamp: ROS time of the tick [s].
        q: (dof,) [rad].
        v: (dof,) [rad/s].
        accel: (dof,) [rad/s^2].
        dt: Time from the stamp to row 0 [s].
        gripper: Held target of the gripper [m].
        stop: What follows.
    """
    lasts = stop_time(v, accel)
    if stop.plan is None or stop.rest is None or lasts == 0.0:
        count, n = len(SHARES) if lasts > 0.0 else 1, len(q) + 1
        times, positions, velocities = np.empty(count), np.empty((count, n)), np.empty((count, n))
        straight_stop(q, v, max(lasts, SHORTEST), dt, gripper, times, positions, velocities)
    else:
        times, places, speeds = _along_plan(q, accel, stop.plan, stop, stop.rest)
        speeds[0] = v  # of the tick: what the plan's slope says is a tick's bend away from it
        times += dt
        positions = np.full((len(times), len(q) + 1), gripper)
        velocities = np.zeros_like(positions)
        positions[:, :-1], velocities[:, :-1] = places, speeds
    # They are the command's own; what is read-only it does not copy.
    times.flags.writeable = positions.flags.writeable = velocities.flags.writeable = False
    return JointCommand(stamp, times, positions, velocities)


@compiled
def straight_stop(q, v, stop, dt, gripper, times, positions, velocities):
    """Fill times (T,) [s], positions and velocities (T, n) of a step and its straight stop."""
    n = len(q)
    for k in range(len(times)):
        share = SHARES[k]
        times[k] = dt + share * stop
        for j in range(n):
            positions[k, j] = q[j] + share * stop * (1.0 - 0.5 * share) * v[j]
            velocities[k, j] = (1.0 - share) * v[j]
        positions[k, n], velocities[k, n] = gripper, 0.0


def _along_plan(
    q: Array, accel: Array, plan: PlanPieces, stop: Brake, rest: Array
) -> tuple[Array, Array, Array]:
    """Return times (T,) [s], poses (T, dof) and velocities (T, dof) of a stop along the plan."""
    clock, late = stop.rate / stop.slowing, rest_time(rest, accel)
    times = FINE * max(clock, late, SHORTEST)
    places, speeds = np.empty((len(FINE), len(q))), np.empty((len(FINE), len(q)))
    start, slope = np.empty_like(q), np.empty_like(q)
    plan_at(plan, stop.phi, start, slope)
    for k, t in enumerate(times):
        phi = stop.phi + stop.rate * way_on_line(t, 0.0, clock)
        plan_at(plan, phi, places[k], slope)
        places[k] = q + (places[k] - start) + rest * way_on_line(t, 0.0, late)
        speeds[k] = slope * max(0.0, stop.rate - stop.slowing * t)
        speeds[k] += rest * (max(0.0, 1.0 - t / late) if late > 0.0 else 0.0)
    speeds[-1] = 0.0
    return times, places, speeds
