"""Velocities: a loop that closes drift, controllers that run on, and one that does not."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.drivers.velocity import FRESH, VelocityLoop
from vla_ros.drivers.velocity_follower import JOG_HALT, JOG_TIMEOUT, VelocityFollower
from vla_ros.errors import ShapeError

PERIOD = 0.005  # [s]
LIMIT = np.array([1.0, 2.0])  # [rad/s]


def drive(gain: float, slip: float, age: float, seconds: float = 4.0) -> np.ndarray:
    """Follow a swing with an arm that is too slow by a share; return its errors (T, 2) [rad]."""
    loop, place = VelocityLoop(gain, LIMIT), np.zeros(2)
    past, errors = [], []
    for k in range(round(seconds / PERIOD)):
        now = 50.0 + k * PERIOD
        ahead = now + PERIOD - 50.0
        reference = np.array([0.4, -0.3]) * (1.0 - np.cos(ahead))
        speed = np.array([0.4, -0.3]) * np.sin(ahead)
        past.append((now, place.copy()))
        if k * PERIOD > age:
            loop.measure(*past[-1 - round(age / PERIOD)])
        loop.refer(now + PERIOD, reference)
        place = place + PERIOD * (1.0 - slip) * loop.velocity(speed)
        errors.append(place - reference)
    return np.array(errors)


@pytest.mark.parametrize('age', [0.0, 0.02])
def test_the_loop_closes_the_drift_of_an_arm_that_is_too_slow(age):
    open_loop, closed = drive(0.0, 0.05, age), drive(5.0, 0.05, age)
    assert np.abs(open_loop).max() > 0.035
    assert np.abs(closed).max() < 0.005  # slip x speed / gain = 4 mrad
    assert np.abs(drive(5.0, 0.0, age)).max() < 0.002  # old measurements are no errors


def test_no_velocity_exceeds_a_limit():
    loop = VelocityLoop(20.0, LIMIT)
    loop.refer(1.0, np.array([3.0, -3.0]))
    loop.measure(1.0, np.zeros(2))
    np.testing.assert_array_equal(loop.velocity(np.array([0.5, -0.5])), [1.0, -2.0])


@pytest.mark.parametrize('bad', [np.array([np.nan, 0.0]), np.array([np.inf, 0.0])])
def test_what_was_measured_wrongly_or_long_ago_corrects_nothing(bad):
    loop, wanted = VelocityLoop(5.0, LIMIT), np.array([0.3, 0.3])
    loop.measure(0.0, np.ones(2))  # there is no reference yet
    loop.refer(1.0, np.zeros(2))
    loop.measure(1.0, bad)
    np.testing.assert_array_equal(loop.velocity(wanted), wanted)
    loop.measure(1.0, np.array([0.02, 0.0]))
    assert loop.velocity(wanted)[0] == pytest.approx(0.2)
    loop.refer(1.0 + 2.0 * FRESH, np.zeros(2))
    np.testing.assert_array_equal(loop.velocity(wanted), wanted)


def test_a_forward_velocity_controller_runs_on_in_silence():
    arm = VelocityFollower(np.zeros(2), np.full(2, np.inf))
    arm.accept(np.array([0.5, -5.0]), 10.0)
    place, speed = arm.sample(13.0)
    np.testing.assert_allclose(place, [1.5, -15.0])
    np.testing.assert_array_equal(speed, [0.5, -5.0])


def test_servo_halts_a_timeout_after_the_last_jog_and_slows_all_joints_alike():
    arm = VelocityFollower(np.zeros(2), LIMIT, JOG_TIMEOUT, JOG_HALT)
    arm.accept(np.array([2.0, 1.0]), 10.0, 10.0)  # twice the limit of the first
    for now in np.arange(10.0, 10.0 + JOG_TIMEOUT, PERIOD):
        np.testing.assert_allclose(arm.sample(now + 1e-4)[1], [1.0, 0.5])
    path = [arm.sample(10.0 + JOG_TIMEOUT + PERIOD * k)[0][0] for k in range(100)]
    steps = np.diff(path)
    assert (steps >= -1e-12).all() and steps[-1] == 0.0
    assert path[-1] - path[0] == pytest.approx(0.5 * 1.0**2 / JOG_HALT, rel=0.1)
    assert not arm.sample(11.0)[1].any()


@pytest.mark.parametrize(
    ('velocity', 'age'), [([0.1], 0.0), ([0.1, np.nan], 0.0), ([0.1, 0.1], 1.1 * JOG_TIMEOUT)]
)
def test_a_jog_that_cannot_be_used_changes_nothing(velocity, age):
    arm = VelocityFollower(np.zeros(2), LIMIT, JOG_TIMEOUT, JOG_HALT)
    arm.accept(np.array([0.5, 0.5]), 10.0, 10.0)
    with pytest.raises(ShapeError):
        arm.accept(np.array(velocity), 10.01, 10.01 - age)
    assert arm.sample(10.02)[1][0] == 0.5
