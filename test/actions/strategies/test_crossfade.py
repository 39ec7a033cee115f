"""The crossfade: where it begins and ends, and how smoothly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions.strategies import Laid
from vla_ros.actions.strategies.crossfade import Crossfade

STEP = 0.1  # [s]
ARM = np.array([False])


def line(start, value, slope=0.0, count=20, step=STEP):
    due = start + step * np.arange(count)
    return Laid(due, (value + slope * due)[:, None])


def passage(steps, times):
    """What is sent at times after phi, from a plan at 0 to a chunk at 1."""
    plan = line(-1.0, 0.0, count=40)
    values = []
    for time in times:  # phi moves, so one step of the chunk is due at each of these
        new = line(0.0, 1.0)
        values.append(Crossfade(steps).blend(new, plan, (), new.due[5] - time, ARM)[5, 0])
    return np.array(values)


@given(st.integers(1, 8), st.floats(0.02, 0.3), st.floats(0.0, 0.5))
def test_the_plan_up_to_phi_and_the_chunk_after_the_passage(steps, step, phi):
    plan, new = line(-1.0, 0.0, count=900, step=0.01), line(0.0, 1.0, step=step)
    sent = Crossfade(steps).blend(new, plan, (), phi, ARM)[:, 0]
    assert (sent[new.due <= phi] == 0.0).all()
    assert (sent[new.due >= phi + steps * step + 1e-9] == 1.0).all()
    assert (np.diff(sent) >= -1e-12).all()


@pytest.mark.parametrize('steps', [1, 3, 6])
def test_speed_and_acceleration_are_continuous_at_both_ends(steps):
    width = steps * STEP
    h = 1e-3 * width
    times = np.arange(-20, 1021) * h
    w = passage(steps, times)
    speed = np.diff(w) / h * width  # [1/width]
    acceleration = np.diff(speed) / h * width
    # A jump of the slope would be as large as the slope; these are what a C2 curve has on a grid.
    assert np.abs(np.diff(speed)).max() < 0.01 * speed.max()
    assert np.abs(np.diff(acceleration)).max() < 0.015 * acceleration.max()
    assert speed[:19] == pytest.approx(0.0) and speed[-19:] == pytest.approx(0.0, abs=1e-9)
    assert w[520] == pytest.approx(0.5)


@given(st.floats(-0.3, 2.0), st.floats(-1.0, 1.0), st.floats(-1.0, 1.0), st.floats(0.0, 0.099))
def test_the_same_motion_on_another_phase_stays_the_same(phi, value, slope, offset):
    plan, new = line(-0.5, value, slope, 40), line(offset, value, slope)
    assert Crossfade().blend(new, plan, (), phi, ARM) == pytest.approx(new.actions, abs=1e-12)


def test_the_passage_is_over_where_the_plan_is():
    plan, new = line(0.0, 0.0, count=5), line(0.0, 1.0)
    sent = Crossfade(8).blend(new, plan, (), 0.0, ARM)[:, 0]
    end = int(np.searchsorted(new.due, plan.due[-1]))
    assert (np.diff(sent[: end + 1]) > 0.0).all() and (sent[end:] == 1.0).all()
    assert np.diff(sent).max() < 0.6  # no jump, though the passage was to be longer


def test_a_chunk_of_one_step_counts_in_full():
    plan, new = line(0.0, 0.0), line(0.35, 1.0, count=1)
    assert Crossfade().blend(new, plan, (), 0.3, ARM).tolist() == [[1.0]]
    assert Crossfade().blend(new, plan, (), 0.4, ARM).tolist() == [[0.0]]
