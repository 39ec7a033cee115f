"""The plan clock's rate, history and pauses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions import PlanClock
from vla_ros.actions.plan_clock import HISTORY


def test_full_rate_is_the_ros_clock():
    clock = PlanClock()
    for k in range(100):
        phi = clock.advance(10.0 + 0.005 * k, 1.0, 0.005)
    assert phi == pytest.approx(0.005 * 99)
    assert clock.now == pytest.approx(10.0 + 0.005 * 99)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=50), st.floats(0.0, 1.0))
def test_at_inverts_the_history(rates, where):
    """Phi is monotone, never faster than time, and interpolated between ticks."""
    clock, stamps, phis = PlanClock(), [], []
    for k, rate in enumerate(rates):
        stamps.append(3.0 + 0.01 * k)
        phis.append(clock.advance(stamps[-1], rate, 0.01))
    assert (np.diff(phis) >= 0.0).all() and (np.diff(phis) <= 0.01 + 1e-12).all()
    stamp = stamps[0] + where * (stamps[-1] - stamps[0])
    assert clock.at(stamp) == pytest.approx(np.interp(stamp, stamps, phis), abs=1e-9)


def test_rate_is_cut_to_zero_and_one():
    clock = PlanClock()
    clock.advance(0.0, 1.0, 0.01)
    assert clock.advance(0.01, 5.0, 0.01) == pytest.approx(0.01)
    assert clock.advance(0.02, -5.0, 0.01) == pytest.approx(0.01)


def test_a_paused_clock_holds():
    clock = PlanClock()
    clock.advance(1.0, 1.0, 0.01)
    held = clock.advance(1.01, 1.0, 0.01)
    assert clock.advance(1.01, 1.0, 0.0) == held
    assert clock.advance(1.02, 1.0, 0.01) == pytest.approx(held + 0.01)


def test_a_stamp_that_does_not_move_on_counts_once():
    """The arm may be a period ahead of a coarse ROS clock; the newest Phi is that stamp's."""
    clock = PlanClock()
    clock.advance(1.0, 1.0, 0.005)
    clock.advance(1.01, 1.0, 0.005)
    assert clock.advance(1.01, 1.0, 0.005) == pytest.approx(0.01)
    assert clock.at(1.01) == pytest.approx(0.01) and clock.at(1.005) == pytest.approx(0.005)
    assert clock.now == 1.01


def test_stamps_without_history_have_no_place():
    clock = PlanClock()
    assert clock.at(0.0) is None
    clock.advance(5.0, 1.0, 0.01)
    assert clock.at(4.999) is None
    assert clock.at(5.0) == clock.at(9.0) == clock.phi  # the future is not known yet
    clock.advance(5.01, 1.0, 0.01)
    clock.restart(5.5)
    assert clock.at(5.005) is None and clock.at(5.5) == pytest.approx(0.01)


def test_history_is_bounded_and_covers_ten_seconds():
    clock = PlanClock()
    for k in range(3 * HISTORY):
        clock.advance(0.005 * k, 1.0, 0.005)
    assert len(clock._stamps) <= 2 * HISTORY
    newest = 0.005 * (3 * HISTORY - 1)
    assert clock.at(newest - 9.9) == pytest.approx(newest - 9.9)
