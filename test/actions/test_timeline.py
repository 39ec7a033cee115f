"""Each case of the time axis, and the curve between the points."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from vla_ros.actions import curve, Phase, Plan, Timeline, Verdict
from vla_ros.actions.join import LONGEST
from vla_ros.actions.plan import STANDS
from vla_ros.actions.timeline import GENTLE, SHORTEST
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
def test_the_old_curve_stays_up_to_its_last_point_before_the_new_ones(velocities):
    old = chunk(0.0, velocities=velocities)
    new = chunk(0.2, first=1.0, velocities=velocities)  # its first point is due at 0.3
    timeline = laid(old, new, phi=0.12)
    for phi in (0.12, 0.15, 0.2):
        assert timeline.sample(phi).position[0] == pytest.approx(phi, abs=1e-9)
    assert timeline.sample(0.3).position[0] < 1.0  # a join lasts SHORTEST
    assert timeline.sample(0.2 + SHORTEST).position[0] == pytest.approx(1.2)
    assert timeline.sample(0.55).position[0] == pytest.approx(1.35)
    assert timeline.end == pytest.approx(0.7)
    assert timeline.stamp == 0.2 and timeline.phi_at_stamp == 0.2


def test_a_point_that_rounding_puts_just_before_a_new_one_is_no_jump():
    """0.2 + 0.1 > 0.3, so the old point there stays unless it is too near to count."""
    timeline = laid(chunk(0.0), chunk(0.2, first=0.5))
    assert 0.2 + STEP > 0.3
    assert timeline.pieces.fastest.max() < 20.0


@given(
    st.floats(0.0, 0.8), st.floats(-0.3, 0.3), st.floats(0.0, 0.6), st.lists(
        st.floats(-0.2, 0.2), min_size=1, max_size=12
    ),
)  # fmt: skip
def test_a_new_chunk_is_joined_without_a_jump_of_acceleration(phi, jump, ahead, ways):
    """Wherever the clock is and wherever the new chunk begins, up to its last point."""
    timeline = laid(chunk(0.0))
    now = timeline.pieces
    times = ahead + STEP * np.arange(1, len(ways) + 1)
    positions = np.stack([jump + np.cumsum(ways), np.zeros(len(ways))], axis=1)
    answer = timeline.accept(Trajectory(0.01, times, positions), phi, 1.0, phi)
    assert answer.ok
    new = timeline.pieces
    if phi >= now.due[0]:
        before, after = (curve.state(p.due, p.points, p.cubics, phi)[:, 0] for p in (now, new))
        np.testing.assert_allclose(after, before, atol=1e-7)
    w = np.diff(new.due)
    ends = [curve.moved(c, x) for c, x in zip(new.cubics, w)]
    for end, start in zip(ends, new.cubics[1:]):
        np.testing.assert_allclose(end[:3, 0], start[:3, 0], atol=1e-5)
    if len(ends):
        assert ends[-1][0, 0] == pytest.approx(new.points[-1, 0], abs=1e-9)
    assert w.min(initial=1.0) > 1e-9
    # From LONGEST after the beginning of the join on it is the new chunk, point for point.
    for due, point in zip(phi + times, positions):
        if due > max(phi, now.due[-1]) + LONGEST:
            assert timeline.sample(due).position[0] == pytest.approx(point[0], abs=1e-9)


def test_a_join_takes_the_time_that_the_arm_needs():
    """A jump of 0.1 rad at 10 rad/s^2: gentle within LONGEST; without limits, SHORTEST."""
    peaks = {}
    for limit in (None, np.array([10.0])):
        timeline = Timeline(2, accel=limit)
        assert timeline.accept(chunk(0.0, slope=0.0, count=12), 0.0, 0.0, 0.0).ok
        second = chunk(0.3, first=0.1, slope=0.0, count=12)
        assert timeline.accept(second, 0.3, 0.35, 0.45).ok
        peaks[limit is None] = timeline.pieces.hardest[:, 0].max()
        assert timeline.sample(1.2).position[0] == pytest.approx(0.1)
    assert peaks[False] <= GENTLE * 10.0 < peaks[True]


@pytest.mark.parametrize('accel', [None, np.array([10.0])])
def test_a_broken_plan_does_not_break_the_next_one(accel):
    timeline = Timeline(2, accel=accel)
    assert timeline.accept(chunk(0.0), 0.0, 0.0, 0.0).ok
    broken = np.full_like(timeline.pieces.cubics, np.nan)
    timeline.pieces = timeline.pieces._replace(cubics=broken)
    assert timeline.accept(chunk(0.2), 0.2, 0.25, 0.25).ok
    assert timeline.sample(0.45).position[0] == pytest.approx(0.25)
    assert all(np.isfinite(part).all() for part in timeline.pieces)


def test_a_gripper_that_opens_within_a_join_does_so_on_time():
    timeline = Timeline(2, accel=np.array([0.1]))
    assert timeline.accept(chunk(0.0, slope=0.0, count=12), 0.0, 0.0, 0.0).ok
    second = chunk(0.3, first=0.1, slope=0.0, count=12)
    assert timeline.accept(second, 0.3, 0.35, 0.45).ok
    for phi in np.arange(0.452, 1.5, 0.003):
        due = [k for k in range(12) if 0.3 + STEP * (k + 1) <= phi]
        assert timeline.sample(phi).position[1] == (due[-1] if due else 3.0)


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


@given(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0), st.floats(0.11, 0.7))
def test_a_chunk_that_goes_on_as_planned_changes_nothing(slope, bend, phi):
    """Nothing is smoothed twice: what a strategy has blended already stays as it is."""

    def parabola(stamp):
        times = STEP * np.arange(1, 13)
        way = slope * (stamp + times) + bend * (stamp + times) ** 2
        return Trajectory(stamp, times, np.stack([way, np.zeros(12)], axis=1))

    timeline = Timeline(2, accel=np.array([10.0]))
    assert timeline.accept(parabola(0.0), 0.0, 0.0, 0.0).ok
    assert timeline.accept(parabola(phi - 0.05), phi - 0.05, phi, phi).ok
    for at in np.linspace(phi, phi + 1.1, 40):
        sample = timeline.sample(at)
        assert sample.position[0] == pytest.approx(slope * at + bend * at**2, abs=1e-9)
        assert sample.velocity[0] == pytest.approx(slope + 2.0 * bend * at, abs=1e-7)


@pytest.mark.parametrize('rate', [0.0, 0.1, 1.0])
def test_a_chunk_begins_where_the_arm_is_once_the_clock_stands(rate):
    """In front of a body the plan of before is stale; while the clock passes nothing may jump."""
    plan = Plan(2, accel=np.array([10.0]))
    for k in range(30):
        plan.advance(0.01 * (k + 1), 1.0, 0.01)
    assert plan.accept(chunk(0.25, count=12), 0.3).ok
    for k in range(20):
        plan.advance(0.31 + 0.01 * k, rate, 0.01)
    phi, arm = plan.clock.phi, np.array([-0.2, 0.0])
    before = plan.sample(phi).position[0]
    assert plan.accept(chunk(0.5, first=-0.2, slope=0.5, count=12), 0.51, arm).ok
    found = plan.sample(phi)
    if rate < STANDS:
        assert found.position[0] == pytest.approx(-0.2) and found.velocity[0] == 0.0
    else:
        assert found.position[0] == pytest.approx(before) and found.velocity[0] != 0.0
    assert plan.sample(phi + 0.6).position[0] == pytest.approx(-0.2 + 0.5 * 0.6, abs=0.02)
    pieces = plan.pieces
    ends = [curve.moved(c, x) for c, x in zip(pieces.cubics, np.diff(pieces.due))]
    for end, start in zip(ends, pieces.cubics[1:]):
        np.testing.assert_allclose(end[:3, 0], start[:3, 0], atol=1e-6)


def test_a_fast_chunk_may_be_joined_as_fast_as_it_is_itself():
    """What the policy asks for anyway is no effort: a join that waits would only be late."""
    reached = {}
    for bend in (0.0, 45.0):
        timeline = Timeline(2, accel=np.array([1.0]))
        assert timeline.accept(chunk(0.0, slope=0.0, count=12), 0.0, 0.0, 0.0).ok
        times = STEP * np.arange(1, 13)
        way = 0.05 + 0.5 * bend * (times - 0.5) ** 2 * (times > 0.5)
        second = Trajectory(0.3, times, np.stack([way, np.zeros(12)], axis=1))
        assert timeline.accept(second, 0.3, 0.35, 0.4).ok
        reached[bend] = timeline.sample(0.6).position[0]
    assert reached[45.0] > 0.04 and reached[0.0] < 0.03
