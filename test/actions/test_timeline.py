"""Each case of the time axis, and the curve between the points."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from vla_ros.actions import Phase, Plan, Timeline, Verdict
from vla_ros.types import Trajectory

STEP = 0.1  # [s]


def chunk(stamp, first=0.0, count=5, slope=1.0, start=STEP, velocities=False):
    """A line of one joint that rises by `slope` a second, and a gripper that counts."""
    times = start + STEP * np.arange(count)
    positions = np.stack([first + slope * times, np.arange(count, dtype=float)], axis=1)
    given = np.tile([slope, 0.0], (count, 1)) if velocities else None
    return Trajectory(stamp, times, positions, given)


def laid(*chunks, now=0.0, phi=0.0):
    timeline = Timeline(2)
    for c in chunks:
        assert timeline.accept(c, c.stamp, max(now, c.stamp), phi).ok
    return timeline


def test_empty():
    sample = Timeline(2).sample(0.3)
    assert sample.phase is Phase.EMPTY and not sample.position.any()
    assert Timeline(2).end == -np.inf and Timeline(2).start == np.inf


def test_before_the_first_point_the_plan_rests_there():
    sample = laid(chunk(0.0)).sample(0.05)
    assert sample.phase is Phase.BEFORE
    assert sample.position[0] == pytest.approx(0.1) and sample.velocity[0] == 0.0


def test_on_and_between_points():
    timeline = laid(chunk(0.0))
    for phi in (0.1, 0.17, 0.2, 0.35):
        sample = timeline.sample(phi)
        assert sample.phase is Phase.ON
        assert sample.position[0] == pytest.approx(phi)
        assert sample.velocity[0] == pytest.approx(1.0)


def test_after_the_last_point_the_plan_rests_there():
    timeline = laid(chunk(0.0))
    assert timeline.sample(0.5).phase is Phase.ON
    sample = timeline.sample(0.7)
    assert sample.phase is Phase.AFTER
    assert sample.position[0] == pytest.approx(0.5) and sample.velocity[0] == 0.0


def test_the_gripper_is_held_and_never_interpolated():
    timeline = laid(chunk(0.0))
    assert [timeline.sample(phi).position[1] for phi in (0.1, 0.19, 0.2, 0.29, 0.5, 9.0)] == [
        0.0, 0.0, 1.0, 1.0, 4.0, 4.0,
    ]  # fmt: skip
    assert timeline.sample(0.15).velocity[1] == 0.0


@pytest.mark.parametrize('velocities', [True, False])
def test_overlapping_chunks_keep_the_old_points_before_the_new_ones(velocities):
    old = chunk(0.0, velocities=velocities)
    new = chunk(0.2, first=1.0, velocities=velocities)  # its first point is due at 0.3
    timeline = laid(old, new)
    assert timeline.sample(0.15).position[0] == pytest.approx(0.15, abs=1e-9)
    assert timeline.sample(0.3).position[0] == pytest.approx(1.1)
    assert timeline.sample(0.55).position[0] == pytest.approx(1.35)
    assert timeline.end == pytest.approx(0.7)
    assert timeline.stamp == 0.2 and timeline.phi_at_stamp == 0.2


def test_a_point_that_rounding_puts_just_before_a_new_one_is_no_jump():
    """0.2 + 0.1 > 0.3, so the old point there stays unless it is too near to count."""
    timeline = laid(chunk(0.0), chunk(0.2, first=0.5))
    assert 0.2 + STEP > 0.3
    assert timeline.pieces.fastest.max() < 20.0


@given(st.floats(1e-9, STEP), st.floats(-0.3, 0.3))
def test_a_jump_at_a_seam_takes_half_a_step_at_least(late, jump):
    """A new chunk begins elsewhere: the piece between is no cliff, at which the clock stands."""
    timeline = laid(chunk(0.0, slope=0.0))
    second = chunk(0.05, first=jump, slope=0.0, start=0.2 + late)
    assert timeline.accept(second, 0.05, 0.3, 0.1).ok
    due = timeline.pieces.due
    assert np.diff(due).min() >= 0.5 * STEP - 1e-12
    assert timeline.pieces.fastest[:, 0].max() <= 1.5 * abs(jump) / (0.5 * STEP) + 1e-9


def test_a_chunk_that_is_partly_past_is_entered_where_the_clock_is():
    timeline = Timeline(2)
    assert timeline.accept(chunk(1.0), 0.0, 1.3, 0.3).ok
    assert timeline.sample(0.3).position[0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ('second', 'now', 'phi', 'verdict'),
    [
        (chunk(1.0), 1.1, 0.0, Verdict.DUPLICATE),
        (chunk(0.9), 1.1, 0.0, Verdict.OUT_OF_ORDER),
        (chunk(1.2), 1.1, 0.0, Verdict.FROM_FUTURE),
        (chunk(1.05), 2.0, 1.6, Verdict.LATE),
        (chunk(np.nan), 2.0, 0.0, Verdict.NONFINITE),
        (Trajectory(1.05, [0.1, 0.1], np.zeros((2, 2))), 1.1, 0.0, Verdict.TIMES),
        (Trajectory(1.05, [-0.1, 0.1], np.zeros((2, 2))), 1.1, 0.0, Verdict.TIMES),
        (Trajectory(1.05, [0.1], np.zeros((1, 3))), 1.1, 0.0, Verdict.SHAPE),
        (Trajectory(1.05, [0.1, np.nan], np.zeros((2, 2))), 1.1, 0.0, Verdict.NONFINITE),
        (Trajectory(1.05, [0.1], [[np.inf, 0.0]]), 1.1, 0.0, Verdict.NONFINITE),
        (Trajectory(1.05, [0.1], [[0.0, 0.0]], [[np.nan, 0.0]]), 1.1, 0.0, Verdict.NONFINITE),
        (Trajectory(1.05, [0.1], [[-90.0, 0.0]]), 1.1, 0.0, Verdict.RANGE),
        (Trajectory(1.05, [0.1], [[0.0, 0.0]], [[1e6, 0.0]]), 1.1, 0.0, Verdict.RANGE),
    ],
)
def test_a_refused_chunk_changes_nothing(second, now, phi, verdict):
    timeline = laid(chunk(1.0))
    before = [timeline.sample(p).position.tolist() for p in np.linspace(0.9, 1.7, 9)]
    answer = timeline.accept(second, second.stamp, now, phi)
    assert answer.verdict is verdict and not answer.ok and answer.reason
    assert [timeline.sample(p).position.tolist() for p in np.linspace(0.9, 1.7, 9)] == before
    assert timeline.stamp == 1.0


def test_before_a_reset_and_without_history():
    timeline = laid(chunk(1.0))
    timeline.reset(2.0)
    assert timeline.sample(1.2).phase is Phase.EMPTY and timeline.stamp is None
    assert timeline.accept(chunk(1.9), 1.9, 2.1, 0.0).verdict is Verdict.BEFORE_RESET
    assert timeline.accept(chunk(2.05), None, 2.1, 0.0).verdict is Verdict.TOO_OLD
    assert timeline.accept(chunk(2.05), 0.0, 2.1, 0.0).ok


def test_a_chunk_without_points_ends_the_motion():
    timeline = laid(chunk(1.0))
    answer = timeline.accept(Trajectory(1.1, np.zeros(0), np.zeros((0, 2))), 1.1, 1.2, 1.1)
    assert answer.verdict is Verdict.STOP and answer.ok
    assert timeline.sample(1.2).phase is Phase.EMPTY
    assert timeline.accept(chunk(1.05), 1.05, 1.3, 1.1).verdict is Verdict.OUT_OF_ORDER


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=8),
    st.lists(st.floats(0.05, 0.3), min_size=8, max_size=8),
    st.floats(0.0, 1.0),
)
@settings(deadline=None)
def test_the_curve_is_scipys_hermite_spline(values, gaps, where):
    times = np.cumsum(gaps[: len(values)])
    slopes = np.cos(np.array(values))
    positions = np.stack([values, values], axis=1)
    timeline = Timeline(2)
    velocities = np.stack([slopes, slopes], axis=1)
    assert timeline.accept(Trajectory(0.0, times, positions, velocities), 0.0, 0.0, 0.0).ok
    spline = CubicHermiteSpline(times, values, slopes)
    phi = times[0] + where * (times[-1] - times[0]) * 0.999
    sample = timeline.sample(phi)
    assert sample.position[0] == pytest.approx(float(spline(phi)), abs=1e-9)
    assert sample.velocity[0] == pytest.approx(float(spline.derivative()(phi)), abs=1e-8)


def test_old_points_are_dropped():
    timeline = Timeline(2)
    for k in range(200):
        assert timeline.accept(chunk(0.1 * k, first=0.01 * k), 0.1 * k, 0.1 * k, 0.1 * k).ok
    assert len(timeline.pieces.due) < 10


def test_a_chunk_computed_during_a_slow_down_is_entered_where_the_arm_is():
    """Two seconds at half rate: plan time has moved by one, and so has the chunk."""
    plan = Plan(2)
    for k in range(201):
        plan.advance(0.01 * k, 0.5, 0.01)
    assert plan.accept(chunk(1.0, start=0.0, count=20), 2.0).ok
    assert plan.timeline.phi_at_stamp == pytest.approx(0.5)
    assert plan.sample(plan.clock.phi).position[0] == pytest.approx(0.5)
    assert plan.accepted_at == 2.0 and plan.refusal is None
    answer = plan.accept(chunk(1.0), 2.0)
    assert plan.refusal is answer and answer.verdict is Verdict.DUPLICATE
    plan.reset(2.0)
    assert plan.stamp is None and plan.accepted_at is None
    assert plan.accept(chunk(1.99), 2.0).verdict is Verdict.BEFORE_RESET
    plan.advance(2.01, 1.0, 0.01)
    assert plan.accept(chunk(2.005), 2.01).ok  # between the reset and the next tick
