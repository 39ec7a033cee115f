"""The executed way against numpy's interpolation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from vla_ros.actions.way import MOST, Way

steps = st.lists(st.floats(0.001, 0.1), min_size=1, max_size=40)


@given(steps, st.lists(st.floats(-1.0, 6.0), min_size=1, max_size=10), st.integers(0, 2**32 - 1))
def test_it_is_linear_between_its_points_and_held_outside(gaps, wanted, seed):
    phis = np.cumsum(gaps)
    joints = np.random.default_rng(seed).normal(size=(len(phis), 3))
    way = Way()
    assert not way
    for phi, place in zip(phis, joints):
        way.add(float(phi), place)
    for phi in [*wanted, *phis]:
        expected = [np.interp(phi, phis, column) for column in joints.T]
        np.testing.assert_allclose(way.at(float(phi)), expected, atol=1e-12)


def test_what_is_told_twice_at_one_time_is_where_the_arm_is_now():
    way = Way()
    for place in (0.0, 1.0, 2.0):
        way.add(1.0, np.array([place]))
    assert way.at(0.5) == way.at(1.0) == way.at(2.0) == 2.0


def test_a_clock_that_goes_back_begins_a_new_way():
    way = Way()
    way.add(5.0, np.array([1.0]))
    way.add(0.0, np.array([3.0]))
    assert way.at(5.0) == 3.0


def test_the_newest_points_are_kept():
    way = Way()
    for k in range(5 * MOST):
        way.add(0.02 * k, np.array([float(k)]))
    for k in range(4 * MOST, 5 * MOST, 7):
        np.testing.assert_allclose(way.at(0.02 * k), k)
    assert way.at(0.0) > 2 * MOST  # held: the old ones are gone


def test_what_is_returned_is_the_callers_own():
    way = Way()
    way.add(0.0, np.zeros(2))
    way.at(0.0)[:] = 9.0
    np.testing.assert_array_equal(way.at(0.0), np.zeros(2))
