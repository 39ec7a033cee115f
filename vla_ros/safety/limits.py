"""The box of one tick: position, velocity, acceleration and jerk limits, compiled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vla_ros.robot import RobotSpec
from vla_ros.safety.chain import Floats
from vla_ros.safety.compiled import compiled


class Limits(NamedTuple):
    """Planning limits of the arm joints, and the strokes of g grippers."""

    lower: Floats  # (n,) [rad]
    upper: Floats  # (n,) [rad]
    speed: Floats  # (n,) [rad/s]
    accel: Floats  # (n,) [rad/s^2]
    jerk: Floats  # (n,) [rad/s^3]
    law: Floats  # (n, 2, 3) velocity by position, below and above: c [rad/s], k [rad/s^2], q [rad]
    closed: Floats  # (g,) [m] least place of each gripper
    open: Floats  # (g,) [m] largest


def limits_of(robot: RobotSpec) -> Limits:
    """Return the limits of a robot's arms and grippers."""
    return Limits(
        lower=robot.limits('lower'),
        upper=robot.limits('upper'),
        speed=robot.limits('velocity'),
        accel=robot.limits('acceleration'),
        jerk=robot.limits('jerk'),
        law=np.array([joint.velocity_law for joint in robot.joints]),
        closed=np.array([min(g.closed, g.open) for g in robot.grippers]),
        open=np.array([max(g.closed, g.open) for g in robot.grippers]),
    )


@compiled
def stopping_speed(room, decel, lag):
    """Return the speed from which a stop with `decel`, begun `lag` later, takes just `room`.

    v lag + v^2 / (2 a) = d, so v = a (-lag + sqrt(lag^2 + 2 d / a)).
    """
    return decel * (math.sqrt(lag * lag + 2.0 * room / decel) - lag)


@compiled
def law_speed(room, c, k, decel):
    """Return the speed that a law of velocity by position allows at a distance `room` [rad].

    -c + sqrt(k d); where following it towards the limit would take more than `decel`, which is
    (k - k c / sqrt(k d)) / 2, it goes on as the parabola v^2 = v*^2 + 2 a (d - d*) tangent there.
    """
    if room <= 0.0:
        return 0.0
    root = math.sqrt(k * room)
    if k > 2.0 * decel:
        knee = c / (1.0 - 2.0 * decel / k)
        if root > knee:
            best = knee - c
            return math.sqrt(best * best + 2.0 * decel * (room - knee * knee / k))
    return max(0.0, root - c)


@compiled
def law_bounds(limits, q, j, dt):
    """Return the lowest and highest velocity that the law allows joint j after a step of dt."""
    low, high = -limits.speed[j], limits.speed[j]
    for side in range(2):
        c, k, end = limits.law[j, side]
        if k > 0.0:
            room = end - q if side == 1 else q - end
            now = law_speed(room, c, k, limits.accel[j])
            then = law_speed(room - dt * now, c, k, limits.accel[j])
            if side == 1:
                high = min(high, then)
            else:
                low = max(low, -then)
    return low, high


@compiled
def limit_box(limits, q, v, acc, recover, dt, lo, hi):
    """Fill lo, hi (n,) [rad/s]: the next velocities after which every limit can still be kept.

    Position: `stopping_speed` of the distance to the limit. Outside a limit only slow motion back
    is allowed. Braking with the acceleration limit is always inside. Jerk:
    |(v+ - v) / dt - acc| <= j dt, and the velocity limit is approached by the same law one
    derivative up. Where a limit leaves no velocity that keeps the jerk, the box is without it.

    Args:
        limits: Of the joints.
        q: (n,) [rad].
        v: (n,) [rad/s].
        acc: (n,) [rad/s^2] of the last tick.
        recover: Fastest motion back from outside a limit [rad/s].
        dt: [s].
        lo: (n,) [rad/s].
        hi: (n,) [rad/s].

    Returns:
        Whether the box keeps the jerk limit of every joint.
    """
    smooth = True
    for j in range(len(q)):
        a, jerk, speed = limits.accel[j], limits.jerk[j], limits.speed[j]
        up, down = limits.upper[j] - q[j], q[j] - limits.lower[j]
        lo[j], hi[j] = law_bounds(limits, q[j], j, dt)
        if up >= 0.0:
            hi[j] = min(hi[j], stopping_speed(up, a, dt))
        else:
            hi[j], lo[j] = 0.0, -min(recover, speed)
        if down >= 0.0:
            lo[j] = max(lo[j], -stopping_speed(down, a, dt))
        else:
            lo[j], hi[j] = 0.0, min(recover, speed)
        hi[j] = max(min(hi[j], v[j] + a * dt), v[j] - a * dt)
        lo[j] = min(max(lo[j], v[j] - a * dt), v[j] + a * dt)
        gentle = v[j] + dt * stopping_speed(max(speed - v[j], 0.0), jerk, dt)
        high = min(v[j] + (acc[j] + jerk * dt) * dt, gentle)
        gentle = v[j] - dt * stopping_speed(max(speed + v[j], 0.0), jerk, dt)
        low = max(v[j] + (acc[j] - jerk * dt) * dt, gentle)
        if max(lo[j], low) <= min(hi[j], high):
            lo[j], hi[j] = max(lo[j], low), min(hi[j], high)
        else:
            smooth = False
    return smooth


@compiled
def jerks(velocity, v, acc, jerk, dt, tolerance):
    """Say whether a step from v to `velocity` (n,) breaks the jerk limit."""
    for j in range(len(v)):
        if abs((velocity[j] - v[j]) / dt - acc[j]) > jerk[j] * dt + tolerance:
            return True
    return False


@compiled
def differs(a, b, tolerance):
    """Say whether two vectors (n,) differ by more than a tolerance somewhere."""
    same = True
    for j in range(len(a)):
        same = same and abs(a[j] - b[j]) <= tolerance
    return not same


@compiled
def excess_of(v, limit):
    """Return max_j |v_j| / limit_j."""
    most = 0.0
    for j in range(len(v)):
        most = max(most, abs(v[j]) / limit[j])
    return most


@compiled
def stop_time(v, accel):
    """Return T = max_j |v_j| / a_j [s]: how long a straight stop takes."""
    return excess_of(v, accel)


@compiled
def brake_share(v, accel, dt):
    """Return the share of v (n,) that a straight stop leaves after dt: max(0, 1 - dt / T)."""
    stop = stop_time(v, accel)
    return 1.0 - dt / stop if stop > dt else 0.0


@compiled
def stop_keeps_limits(limits, q, v, dt, tolerance):
    """Say whether a step of dt at v and the straight stop after it keep position and law.

    A joint that is outside a limit already may not go further. The law is compared with the
    falling speed where their difference can be least: at the ends, where the law turns into its
    parabola, and at the vertex of k d(t) - (v(t) + c)^2, a quadratic in t.
    """
    stop = stop_time(v, limits.accel)
    for j in range(len(q)):
        end = q[j] + v[j] * (dt + 0.5 * stop)
        if end < min(limits.lower[j], q[j]) - tolerance:
            return False
        if end > max(limits.upper[j], q[j]) + tolerance:
            return False
        side = 1 if v[j] > 0.0 else 0
        c, k, limit = limits.law[j, side]
        if k > 0.0 and v[j] != 0.0:
            a, size = limits.accel[j], abs(v[j])
            room = (limit - q[j] if side == 1 else q[j] - limit) - size * dt
            slope = size / stop
            vertex = knee = 0.0
            if k != 2.0 * slope:
                vertex = (k * size - 2.0 * slope * (size + c)) / (slope * (k - 2.0 * slope))
            if k > 2.0 * a:
                turn = (c / (1.0 - 2.0 * a / k)) ** 2 / k
                knee = (size - math.sqrt(max(0.0, size**2 - 2.0 * slope * (room - turn)))) / slope
            for t in (0.0, stop, min(max(vertex, 0.0), stop), min(max(knee, 0.0), stop)):
                left = room - size * t + 0.5 * slope * t * t
                if size - slope * t > law_speed(left, c, k, a) + tolerance:
                    return False
    return True
