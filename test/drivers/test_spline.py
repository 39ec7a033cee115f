"""What a trajectory controller makes of the commands is the reference, however fast it is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.drivers.follower import TrajectoryFollower
from vla_ros.drivers.goals import DELAY, EVERY, Goals
from vla_ros.drivers.spline import Spline
from vla_ros.types import JointCommand, Trajectory

PERIOD, ACCEL, BEGIN = 0.005, 4.0, 1.7e9  # [s], [rad/s^2], [s] a wall clock


def reference(t: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a swing that begins at rest."""
    t = max(t, 0.0)
    return np.array([0.3 * (1 - np.cos(2 * t))]), np.array([0.6 * np.sin(2 * t)])


def command(stamp: float, t: float) -> JointCommand:
    """Return the reference a period after t and the straight stop behind it."""
    q, v = reference(t + PERIOD)
    stop = max(abs(float(v[0])) / ACCEL, 1e-6)
    share = np.array([0.0, 0.5, 1.0] if v[0] else [0.0])[:, None]
    return JointCommand(
        stamp, PERIOD + stop * share[:, 0], q + stop * share * (1 - 0.5 * share) * v,
        (1 - share) * v,
    )  # fmt: skip


class Lagging(TrajectoryFollower):
    """A controller that interpolates from the measured state of an arm that lags."""

    lag = 0.02  # [s]

    def accept(self, trajectory: Trajectory, now: float) -> None:
        due = trajectory.stamp + trajectory.times
        if due[0] > now:  # the only case in which it looks at the arm
            place, speed = self.sample(now)
            place = place - self.lag * speed
            due = np.append(now, due)
            self._due = due
            self._positions = np.concatenate([place[None], trajectory.positions])
            self._velocities = np.concatenate([speed[None], trajectory.velocities])
            return
        super().accept(trajectory, now)


def largest_error(shape, jitter: np.ndarray, fine: int = 5) -> float:
    """Return how far a controller five times as fast goes from the reference [rad]."""
    controller, worst = Lagging(np.zeros(1)), 0.0
    ends = 2.0
    for k in range(round(ends / PERIOD)):
        t = k * PERIOD
        sent = shape(command(BEGIN + t, t))
        late = jitter[k % len(jitter)] * PERIOD
        controller.accept(
            Trajectory(sent.stamp, sent.times, sent.positions, sent.velocities), BEGIN + t + late
        )
        for i in range(fine):
            at = t + late + i * PERIOD / fine
            if at > 0.05:
                worst = max(worst, abs(controller.sample(BEGIN + at)[0] - reference(at)[0])[0])
    return worst


@settings(max_examples=15)
@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=50))
def test_the_spline_is_the_reference_however_the_arm_lags(jitter):
    shaped, plain = largest_error(Spline(PERIOD).shape, jitter), largest_error(lambda c: c, jitter)
    assert shaped < 1e-4  # the cubic between two references; the tail, where one came late
    assert plain > 5e-3, 'without the points that are past it goes back to the arm'


def test_a_late_tick_is_no_neighbour():
    spline = Spline(PERIOD)
    counts = [len(spline.shape(command(BEGIN + k * PERIOD, k * PERIOD)).times) for k in range(5)]
    assert counts == [4, 5, 6, 7, 7]  # the point and its stop, a rest, and up to three before
    late = spline.shape(command(BEGIN + 10 * PERIOD, 10 * PERIOD))
    assert late.stamp == BEGIN + 10 * PERIOD and len(late.times) == 4


@given(st.integers(0, 400))
def test_a_shaped_command_ends_with_a_rest(k):
    spline = Spline(PERIOD)
    for i in (k, k + 1):
        sent = spline.shape(command(BEGIN + i * PERIOD, i * PERIOD))
    assert (np.diff(sent.times) > 0.0).all()
    assert not sent.velocities[-1].any()
    np.testing.assert_array_equal(sent.positions[-1], sent.positions[-2])
    assert sent.times[-1] - sent.times[-2] > 0.2


@settings(max_examples=20)
@given(st.lists(st.floats(0.001, 0.049), min_size=1, max_size=20))
def test_goals_take_over_from_each_other_without_a_change_of_the_motion(arrivals):
    goals, controller = Goals(PERIOD), Lagging(np.zeros(1))
    waiting: list[tuple[float, Trajectory]] = []
    worst, number = 0.0, 0
    for k in range(400):
        t = k * PERIOD
        made = command(BEGIN + t, t)
        goals.add(Trajectory(made.stamp, made.times, made.positions, made.velocities))
        if k % round(EVERY / PERIOD) == 0 and (goal := goals.take()) is not None:
            waiting.append((t + arrivals[number % len(arrivals)], goal))
            number += 1
        while waiting and waiting[0][0] <= t:
            controller.accept(waiting.pop(0)[1], BEGIN + t)
        if t > 0.3:
            place = controller.sample(BEGIN + t)[0]
            worst = max(worst, abs(place - reference(t - DELAY)[0])[0])
    assert number > 30
    assert worst < 2e-5


def test_the_last_goal_holds_the_stop_and_rest_needs_no_further_one():
    goals = Goals(PERIOD)
    for k in range(100):
        made = command(BEGIN + k * PERIOD, k * PERIOD)
        goals.add(Trajectory(made.stamp, made.times, made.positions, made.velocities))
    goal = goals.take()
    assert not goal.velocities[-1].any()
    end = goal.positions[-1]
    np.testing.assert_array_equal(end, made.positions[-1])
    assert goals.take() is None
    controller = TrajectoryFollower(np.zeros(1))
    controller.accept(goal, BEGIN + 99 * PERIOD)
    np.testing.assert_array_equal(controller.sample(BEGIN + 9.0)[0], end)

    rest = Trajectory(0.0, [PERIOD], end[None], np.zeros((1, 1)))
    made_goals = 0
    for k in range(101, 200):
        goals.add(Trajectory(BEGIN + k * PERIOD, rest.times, rest.positions, rest.velocities))
        made_goals += goals.take() is not None
    assert made_goals < 25  # as long as the way to it is among the references
    assert goals.take() is None


def test_after_a_failure_everything_begins_anew():
    goals = Goals(PERIOD)
    made = command(BEGIN, 0.0)
    goals.add(Trajectory(made.stamp, made.times, made.positions, made.velocities))
    assert goals.take() is not None
    goals.forget()
    assert goals.take() is None


def test_times_of_a_command_that_hardly_moves_increase_in_nanoseconds():
    q = np.zeros((3, 1))
    made = JointCommand(BEGIN, PERIOD + np.array([0.0, 5e-7, 1e-6]), q, 1e-9 * (q + 1) * 0)
    spline, goals = Spline(PERIOD), Goals(PERIOD)
    for k in range(4):
        later = JointCommand(BEGIN + k * PERIOD, made.times, q, made.velocities)
        shaped = spline.shape(later)
        goals.add(Trajectory(later.stamp, later.times, q, later.velocities))
    for times in (shaped.times, goals.take().times):
        assert (np.diff(np.round(times * 1e9)) > 0).all()
    assert pytest.approx(PERIOD, abs=1e-6) == shaped.times[1] - shaped.times[0]
