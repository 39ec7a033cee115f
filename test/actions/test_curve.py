"""Curves: SciPy's splines as the oracle, extremes by dense sampling."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline, CubicSpline, PPoly

from vla_ros.actions import curve


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=3, max_size=9),
    st.lists(st.floats(0.02, 0.4), min_size=8, max_size=8),
)
@settings(deadline=None)
def test_the_spline_is_scipys_with_the_same_ends(points, gaps):
    due = np.concatenate([[0.3], 0.3 + np.cumsum(gaps[: len(points) - 1])])
    places = np.array(points)[:, None]
    slopes = curve.spline_slopes(due, places)
    ends = ((1, float(slopes[0, 0])), (1, float(slopes[-1, 0])))
    spline = CubicSpline(due, points, bc_type=ends)
    at = np.linspace(due[0], due[-1], 57)
    found = PPoly(curve.cubics_of(due, places, slopes)[:, ::-1, 0].T, due)
    np.testing.assert_allclose(found(at), spline(at), atol=1e-9)
    np.testing.assert_allclose(found(at, 1), spline(at, 1), atol=1e-7)
    np.testing.assert_allclose(found(at, 2), spline(at, 2), atol=1e-5)


@pytest.mark.parametrize('degree', [0, 1, 2])
def test_a_parabola_is_itself(degree):
    due = np.array([0.0, 0.1, 0.35, 0.4, 0.7])
    slopes = curve.spline_slopes(due, due[:, None] ** degree)
    expected = degree * due ** max(degree - 1, 0)
    np.testing.assert_allclose(slopes[:, 0], expected, atol=1e-12)


@given(
    st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=6),
    st.lists(st.floats(-4.0, 4.0), min_size=6, max_size=6),
    st.floats(0.02, 0.5),
)
@settings(deadline=None)
def test_peaks_are_those_of_dense_samples(points, slopes, width):
    due = width * np.arange(len(points))
    places, speeds = np.array(points)[:, None], np.array(slopes[: len(points)])[:, None]
    fastest, hardest = curve.peaks(due, curve.cubics_of(due, places, speeds))
    spline = CubicHermiteSpline(due, places[:, 0], speeds[:, 0])
    for k in range(len(points) - 1):
        at = np.linspace(due[k] + 1e-9, due[k + 1] - 1e-9, 400)
        speed, bend = np.abs(spline(at, 1)).max(), np.abs(spline(at, 2)).max()
        assert bend <= hardest[k, 0] * (1 + 1e-6) + 1e-5
        assert speed <= fastest[k, 0] * (1 + 1e-9) + 1e-5
        assert fastest[k, 0] <= speed + 1e-4 * (1.0 + hardest[k, 0])
