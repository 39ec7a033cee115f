"""Curves: SciPy's spline as the oracle, joins by their conditions, extremes by dense sampling."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from vla_ros.actions import curve

STATE = st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3)


def values(cubics, due, at):
    return np.array([curve.state(due, np.zeros((len(due), 1)), cubics, t)[:, 0] for t in at])


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=9),
    st.lists(st.floats(0.02, 0.4), min_size=8, max_size=8),
)
def test_the_spline_is_scipys_with_the_same_ends(points, gaps):
    due = np.concatenate([[0.3], 0.3 + np.cumsum(gaps[: len(points) - 1])])
    places = np.array(points)[:, None]
    slopes = curve.spline_slopes(due, places)
    ends = ((1, float(slopes[0, 0])), (1, float(slopes[-1, 0])))
    spline = CubicSpline(due, points, bc_type=ends)
    at = np.linspace(due[0], due[-1], 57)
    found = values(curve.cubics_of(due, places, slopes), due, at)
    np.testing.assert_allclose(found[:, 0], spline(at), atol=1e-9)
    np.testing.assert_allclose(found[:, 1], spline(at, 1), atol=1e-7)
    np.testing.assert_allclose(found[:, 2], spline(at, 2), atol=1e-5)


@pytest.mark.parametrize('degree', [0, 1, 2])
def test_a_parabola_is_itself(degree):
    due = np.array([0.0, 0.1, 0.35, 0.4, 0.7])
    slopes = curve.spline_slopes(due, due[:, None] ** degree)
    expected = degree * due ** max(degree - 1, 0)
    np.testing.assert_allclose(slopes[:, 0], expected, atol=1e-12)


@given(STATE, STATE, st.floats(0.05, 1.0))
def test_a_join_has_both_its_ends_and_no_jump_of_acceleration(start, end, width):
    first, last = np.array(start)[:, None], np.array(end)[:, None]
    cubics = curve.join(first, last, width)
    scale = 1.0 + np.abs(cubics).max()
    due = width * np.arange(4) / 3.0
    found = values(cubics, due, due[[0, 3]])
    np.testing.assert_allclose(found[0], start, atol=1e-9 * scale)
    np.testing.assert_allclose(found[1], end, atol=1e-9 * scale)
    for k in range(2):
        seam = curve.moved(cubics[k], width / 3.0)[:3, 0]
        np.testing.assert_allclose(seam, cubics[k + 1][:3, 0], atol=1e-9 * scale)


@given(STATE, STATE, st.floats(0.05, 1.0))
def test_peaks_are_those_of_dense_samples(start, end, width):
    cubics = curve.join(np.array(start)[:, None], np.array(end)[:, None], width)
    due = width * np.arange(4) / 3.0
    fastest, hardest = curve.peaks(due, cubics)
    for k in range(3):
        dense = values(cubics, due, np.linspace(due[k] + 1e-9, due[k + 1] - 1e-9, 200))
        speed, bend = np.abs(dense[:, 1]).max(), np.abs(dense[:, 2]).max()
        assert bend <= hardest[k, 0] * (1 + 1e-6) + 1e-5
        assert speed <= fastest[k, 0] + 1e-5 and fastest[k, 0] <= speed + 1e-3 * (1.0 + bend)


def test_a_curve_rests_outside_and_still_moves_at_its_end():
    due, points = np.array([1.0, 2.0]), np.array([[0.0], [3.0]])
    cubics = curve.cubics_of(due, points, curve.spline_slopes(due, points))
    assert curve.state(due, points, cubics, 0.9)[:, 0].tolist() == [0.0, 0.0, 0.0]
    assert curve.state(due, points, cubics, 2.0)[:, 0].tolist() == [3.0, 3.0, 0.0]
    assert curve.state(due, points, cubics, 2.1)[:, 0].tolist() == [3.0, 0.0, 0.0]


def test_what_is_held_changes_when_it_is_due():
    found = curve.hold(np.array([1.0, 2.0]), np.array([0.5, 1.0, 1.9, 2.0, 9.0]))
    assert found.tolist() == [0, 0, 0, 1, 1]
