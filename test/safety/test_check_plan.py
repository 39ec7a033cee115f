"""The check of a stop along the plan, against dense sampling of what it claims."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.actions import Plan
from vla_ros.obstacle import Obstacle
from vla_ros.safety import World
from vla_ros.safety.check import falls_to, way_on_line
from vla_ros.safety.check_law import plan_keeps_law
from vla_ros.safety.check_plan import check_plan, clock_brake, rest_time
from vla_ros.safety.limits import (
    law_speed,
    Limits,
    limits_of,
    stop_keeps_limits,
    stop_time,
    stopping_speed,
)
from vla_ros.safety.pace import plan_at
from vla_ros.safety.scene import Scene
from vla_ros.safety.stop import Brake, command_of, step
from vla_ros.types import Trajectory

DT = 0.005


def random_plan(robot, rng):
    """Return the cubics of a plan that wanders about a random pose."""
    n = robot.dof + 1
    low, high = robot.limits('lower'), robot.limits('upper')
    start = rng.uniform(low + 0.4, high - 0.4)
    times = np.arange(1, 21) * 0.1
    drift, waves = rng.normal(size=robot.dof) * 0.4, rng.normal(size=robot.dof) * 0.05
    points = np.zeros((20, n))
    points[:, :-1] = start + np.outer(times, drift) + np.sin(2.0 * times)[:, None] * waves
    plan = Plan(n)
    plan.clock.restart(0.0)
    assert plan.accept(Trajectory(0.001, times, points), 0.01).ok
    return plan.pieces


@pytest.fixture(scope='module')
def scene(shared_filter, robot, config):
    return Scene(shared_filter.scene._empty, limits_of(robot), config)


def test_no_stop_is_cleared_that_dense_sampling_refutes(scene, robot, shared_filter):
    rng = np.random.default_rng(11)
    limits, n = shared_filter.scene.limits, robot.dof
    cleared = refuted = 0
    for _ in range(4000):
        if cleared >= 60 and refuted >= 60:
            break
        pieces = random_plan(robot, rng)
        phi, rate = rng.uniform(0.2, 1.0), rng.uniform(0.3, 1.0)
        q, slope = np.zeros(n), np.zeros(n)
        plan_at(pieces, phi, q, slope)
        shift = rng.normal(size=n) * 0.02
        solid = Obstacle(
            name='ball', shape='sphere', size=np.array([0.1]),
            position=rng.uniform([0.2, -0.5, 0.1], [0.7, 0.5, 0.7]),
            orientation=np.array([0.0, 0.0, 0.0, 1.0]),
            linear_velocity=rng.normal(size=3) * rng.choice([0.0, 0.3]),
            angular_velocity=np.zeros(3),
        )  # fmt: skip
        scene.set_world(World(0.0, (solid,)).prepared())
        q = q + shift
        h = scene.rows(q, 0.0).clearance.copy()
        if h.min() < 0.006:
            continue
        allowed = np.full(len(h), 0.005)
        rest, work = rng.normal(size=n) * 0.05, scene.work
        work.hard[:] = 0.0
        brake = clock_brake(pieces, phi, rate, limits.accel, DT, work.fast, work.hard)
        if brake == 0.0:
            continue
        row, _ = check_plan(
            scene.arm, scene.bodies, limits, pieces, phi, q, rate, brake, rest, DT, 0.0, h,
            allowed, scene.pose, work.again, work.hard, work.nodes, work.times, work.low,
            work.high, work.scratch, 1e-9,
        )  # fmt: skip
        here = np.zeros(n)
        plan_at(pieces, phi, here, slope)
        late, clock = rest_time(rest, limits.accel), rate / brake
        end = max(clock, late)
        worst = np.inf
        for t in np.linspace(0.0, DT + end, 60):
            gone = min(t, DT) * rate
            gone += (
                rate * min(max(t - DT, 0.0), clock)
                - 0.5 * brake * min(max(t - DT, 0.0), clock) ** 2
            )
            part = min(max(t - DT, 0.0), late)
            drift = min(t, DT) + part - 0.5 * part * part / late
            place = np.zeros(n)
            plan_at(pieces, phi + gone, place, slope)
            x = q + place - here + rest * drift
            if (x < limits.lower - 1e-8).any() or (x > limits.upper + 1e-8).any():
                worst = -1.0
                break
            worst = min(worst, scene.rows(x, t).clearance.min())
        if worst < 0.005:
            refuted += 1
            assert row != -1
        elif row == -1:
            cleared += 1
    assert cleared >= 60 and refuted >= 60


def test_slowing_the_clock_keeps_the_acceleration_also_in_uneven_ticks(robot, shared_filter):
    rng = np.random.default_rng(3)
    limits, n = shared_filter.scene.limits, robot.dof
    fast, hard, done = np.zeros(n), np.zeros(n), 0
    for _ in range(100):
        pieces = random_plan(robot, rng)
        phi, rate, dt = 0.3, rng.uniform(0.3, 1.0), DT
        brake = clock_brake(pieces, phi, rate, limits.accel, dt, fast, hard)
        if brake == 0.0 or phi + 0.5 * rate * rate / brake + 0.02 > 0.3 + 0.5:
            continue
        done += 1
        here, there, unused, v = np.zeros(n), np.zeros(n), np.zeros(n), None
        while rate > 0.0:
            plan_at(pieces, phi, here, unused)
            plan_at(pieces, phi + rate * dt, there, unused)
            now = (there - here) / dt
            if v is not None:
                assert (np.abs(now - v) <= limits.accel * dt + 1e-9).all()
            v, phi = now, phi + rate * dt
            dt = float(np.clip(dt * rng.uniform(0.5, 2.0), 0.0025, 0.01))
            rate = max(0.0, rate - brake * dt)
    assert done > 20


def test_the_tail_of_a_command_ends_where_the_stop_ends(robot, shared_filter):
    rng = np.random.default_rng(5)
    limits, n = shared_filter.scene.limits, robot.dof
    pieces = random_plan(robot, rng)
    here, slope = np.zeros(n), np.zeros(n)
    plan_at(pieces, 0.4, here, slope)
    stop = Brake(pieces, 0.4, 0.8, 3.0, 0.01 * np.ones(n))
    v = 0.8 * slope + stop.rest
    work = shared_filter.scene.work
    grip = np.array([0.02])
    step(limits, here - DT * v, v, v, DT, grip, work)
    command = command_of(0.0, work, limits.accel, grip, stop)
    plan_at(pieces, 0.4 + 0.5 * 0.8**2 / 3.0, slope, here.copy())
    late = rest_time(stop.rest, limits.accel)
    np.testing.assert_allclose(
        command.positions[-1, :-1], slope + stop.rest * late / 2, atol=1e-12
    )
    assert not command.velocities[-1].any() and (np.diff(command.times) > 0.0).all()
    for k in range(len(command.times) - 1):  # the velocities are the slopes of the positions
        gap = command.times[k + 1] - command.times[k]
        mean = (command.velocities[k] + command.velocities[k + 1]) / 2
        np.testing.assert_allclose(
            command.positions[k + 1] - command.positions[k], mean * gap, atol=2e-3
        )


# --- velocity by position: the law of the Franka Research 3 (libfranka's rate limiting) ----------


def fr3(j=0):
    return np.array([[[0.30, 12.0, -2.7501], [0.30, 12.0, 2.7501]]])


def test_the_law_never_asks_for_more_than_the_acceleration_and_is_smooth():
    room = np.linspace(1e-6, 3.0, 4000)
    speed = np.array([law_speed(d, 0.30, 12.0, 3.0) for d in room])
    raw = np.maximum(0.0, -0.30 + np.sqrt(12.0 * room))
    assert (speed <= raw + 1e-12).all() and (speed[room < 0.01] == raw[room < 0.01]).all()
    assert (np.diff(speed**2) / 2 / np.diff(room) <= 3.0 + 1e-6).all()
    knee = (0.30 / (1.0 - 2.0 * 3.0 / 12.0)) ** 2 / 12.0  # where it begins to ask for 3 rad/s^2
    for side in (-1e-7, 1e-7):
        slope = (law_speed(knee + side, 0.3, 12.0, 3.0) - law_speed(knee, 0.3, 12.0, 3.0)) / side
        assert slope == pytest.approx(10.0, rel=1e-3)  # k / (2 sqrt(k d)) on either side


@pytest.mark.parametrize('seed', range(3))
def test_a_stop_that_passes_keeps_the_law_all_the_way(seed):
    rng = np.random.default_rng(seed)
    one = np.ones(1)
    limits = Limits(
        -2.7 * one, 2.7 * one, 2.6 * one, 4.0 * one, 400.0 * one, fr3(), np.zeros(0), np.zeros(0)
    )
    passed = failed = 0
    for _ in range(3000):
        q, v = rng.uniform(-2.7, 2.7, 1), rng.uniform(-2.6, 2.6, 1)
        stop = stop_time(v, limits.accel)
        t = np.linspace(0.0, stop, 200)
        place = q + v * DT + v * t - 0.5 * v / stop * t * t
        speed = np.abs(v * (1 - t / stop))
        room = np.where(v > 0, 2.7501 - place, place + 2.7501)
        over = max(s - law_speed(r, 0.30, 12.0, 4.0) for s, r in zip(speed, room))
        if stop_keeps_limits(limits, q, v, DT, 1e-9):
            passed += 1
            assert over < 1e-6
        elif over > 1e-3:
            failed += 1
    assert passed > 500 and failed > 50


@pytest.mark.parametrize('rest', [0.0, 0.05])
def test_a_stop_along_the_plan_that_passes_keeps_the_law_all_the_way(robot, shared_filter, rest):
    """Against dense sampling; of those that it refuses, most are near the law."""
    rng = np.random.default_rng(17)
    n = robot.dof
    limits = shared_filter.scene.limits
    low, high = robot.limits('lower'), robot.limits('upper')
    law = np.zeros((n, 2, 3))
    law[:, :, 0], law[:, :, 1] = 0.3, 2.0
    law[:, 0, 2], law[:, 1, 2] = low, high
    limits = limits._replace(law=law)
    scratch = shared_filter.scene.work.scratch
    passed = broken = strict = 0
    for _ in range(1500):
        pieces = random_plan(robot, rng)
        phi, rate = rng.uniform(0.2, 1.0), rng.choice([0.0, 1.0]) * rng.uniform(0.1, 1.0)
        q, slope, fast, hard = np.zeros((4, n))
        plan_at(pieces, phi, q, slope)
        j = int(rng.integers(n))  # bring one joint near to one of its limits, on its way there
        near = rng.uniform(0.05, 0.8)
        q[j] = high[j] - near if slope[j] > 0.0 else low[j] + near
        v = rng.normal(size=n) * rest
        brake = clock_brake(pieces, phi, rate, limits.accel, DT, fast, hard)
        if brake == 0.0:
            continue
        late, clock = rest_time(v, limits.accel), rate / brake
        span = rate * DT + 0.5 * rate * clock
        said = plan_keeps_law(
            limits, pieces, phi, q, rate, brake, v, DT, span, late, hard, scratch, 1e-9
        )
        times = np.linspace(0.0, DT + max(clock, late), 400)
        here, over = np.zeros(n), -np.inf
        plan_at(pieces, phi, here, slope)
        for t in times:
            place = np.zeros(n)
            gone = rate * way_on_line(t, DT, clock)
            plan_at(pieces, phi + gone, place, slope)
            x = q + place - here + v * way_on_line(t, DT, late)
            speed = slope * rate * falls_to(t, DT, clock) + v * falls_to(t, DT, late)
            up = [law_speed(r, 0.3, 2.0, a) for r, a in zip(high - x, limits.accel)]
            down = [law_speed(r, 0.3, 2.0, a) for r, a in zip(x - low, limits.accel)]
            over = max(over, (speed - up).max(), (-speed - down).max())
        passed += said
        broken += over > 1e-6
        strict += not said and over < -0.1
        assert not (said and over > 1e-6), over
    assert passed > 200 and broken > 100 and strict < 0.1 * passed


def test_stopping_speed_leaves_the_room_it_needs():
    for room in (1e-6, 0.01, 0.5, 2.0):
        v = stopping_speed(room, 5.0, 0.01)
        assert v * 0.01 + v * v / 10.0 == pytest.approx(room)
