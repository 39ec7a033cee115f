"""Stops as they are sent: straight, every joint by the same share, or along the plan."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.safety.check import way_on_line
from vla_ros.safety.check_plan import rest_time
from vla_ros.safety.compiled import compiled
from vla_ros.safety.limits import brake_share, stop_time
from vla_ros.safety.pace import plan_at
from vla_ros.safety.work import SHARES, Work
from vla_ros.types import Array, JointCommand, PlanPieces

FINE = np.linspace(0.0, 1.0, 9)  # of the time of a stop along the plan
SHORTEST = 1e-6  # [s] of a stop, so that its points have distinct times


class Brake(NamedTuple):
    """A stop that was verified, as it goes on from the end of a tick."""

    plan: PlanPieces | None = None  # None: straight
    phi: float = 0.0  # [s]
    rate: float = 0.0  # sigma
    slowing: float = 0.0  # [1/s] D, how fast sigma falls
    rest: Array | None = None  # (dof,) [rad/s] velocity that is not the plan's


class Choice(NamedTuple):
    """The velocity of one tick, what shaped it and the stop behind it."""

    velocity: Array  # (dof,) [rad/s]
    brake: Brake
    share: float = 0.0  # 1: as wanted; less: blended towards the brake; 0: the brake itself
    passed: bool = False  # the plan passed unchanged
    active: tuple[str, ...] = ()  # what held it back, by name
    slack: float = 0.0  # [m/s] largest violated row
    checks: int = 0  # poses that the stop checks looked at


@compiled
def step(limits, q, v, velocity, dt, gripper, work):
    """Fill pose and acceleration after a step, and the points of its straight stop.

    q(t) = q + v (t - t^2 / (2 T)), v(t) = v (1 - t / T) for t in [0, T] after the first point; a
    cubic between the points is the stop itself. All points are one where the step ends at rest.

    Args:
        limits: Of the joints.
        q: (n,) [rad] before the step.
        v: (n,) [rad/s] before the step.
        velocity: (n,) [rad/s] of the step.
        dt: Length of the step [s].
        gripper: (g,) held targets of the grippers [m].
        work: Buffers.
    """
    n, stop = len(q), stop_time(velocity, limits.accel)
    for j in range(n):
        work.place[j] = q[j] + dt * velocity[j]
        work.bend[j] = (velocity[j] - v[j]) / dt if stop > 0.0 else 0.0
    lasts = max(stop, SHORTEST) if stop > 0.0 else 0.0
    for k in range(len(SHARES)):
        share = SHARES[k]
        work.stop_times[k] = dt + share * lasts
        for j in range(n):
            far = share * lasts * (1.0 - 0.5 * share)
            work.stop_places[k, j] = work.place[j] + far * velocity[j]
            work.stop_speeds[k, j] = (1.0 - share) * velocity[j]
        for g in range(len(gripper)):
            work.stop_places[k, n + g], work.stop_speeds[k, n + g] = gripper[g], 0.0


def command_of(
    stamp: float, work: Work, accel: Array, gripper: Array, stop: Brake
) -> JointCommand:
    """Return the step that is in the buffers as a command, with the stop that follows it.

    Along the plan: q(t) = q + p(phi(t)) - p(phi) + rest way(t), at more points than straight.

    Args:
        stamp: ROS time of the tick [s].
        work: Buffers that `step` filled.
        accel: (dof,) [rad/s^2] of a brake.
        gripper: (g,) held targets of the grippers [m].
        stop: What follows.
    """
    times, positions, velocities = work.stop_times, work.stop_places, work.stop_speeds
    moves = times[-1] > times[0]
    if moves and stop.plan is not None and stop.rest is not None:
        after, places, speeds = _along_plan(work.place, accel, stop.plan, stop, stop.rest)
        n = len(accel)
        speeds[0] = velocities[0, :n]  # the plan's slope is a tick's bend away from it
        times = after + times[0]
        positions = np.empty((len(times), n + len(gripper)))
        velocities = np.zeros_like(positions)
        positions[:, n:] = gripper
        positions[:, :n], velocities[:, :n] = places, speeds
    else:
        if not moves:
            times, positions, velocities = times[:1], positions[:1], velocities[:1]
        times, positions, velocities = times.copy(), positions.copy(), velocities.copy()
    return JointCommand.own(stamp, times, positions, velocities)


def go_on(stop: Brake, v: Array, accel: Array, dt: float) -> tuple[Array, Brake]:
    """Return the next velocity (dof,) [rad/s] of a verified stop, and how it goes on.

    Straight: v max(0, 1 - dt / T), T = max |v_j| / a_j.

    Args:
        stop: The stop.
        v: (dof,) [rad/s] now.
        accel: (dof,) [rad/s^2].
        dt: [s].
    """
    if stop.plan is None or stop.rest is None:
        share = brake_share(v, accel, dt)
        return share * v, Brake(rate=share * stop.rate)
    rate = max(0.0, stop.rate - stop.slowing * dt)
    late = rest_time(stop.rest, accel)
    rest = stop.rest * max(0.0, 1.0 - dt / late) if late > 0.0 else stop.rest
    here, there, unused = np.empty_like(rest), np.empty_like(rest), np.empty_like(rest)
    phi = stop.phi + rate * dt
    plan_at(stop.plan, stop.phi, here, unused)
    plan_at(stop.plan, phi, there, unused)
    return (there - here) / dt + rest, stop._replace(phi=phi, rate=rate, rest=rest)


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
