"""Actions as words: inverse pairs, the edges of bins, and what is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
import numpy as np
import pytest

from vla_ros.actions.bins import ActionBins
from vla_ros.errors import PolicyError
from vla_ros.statistics import Bounds

BINS = ActionBins()
HALF = 1.0 / 255.0  # half a bin
ACTION_IDS = st.integers(31744, 31999)
SMALL_FLOATS = st.floats(-1.0, 1.0)


@given(st.lists(ACTION_IDS, min_size=1, max_size=20))
def test_every_id_but_the_one_beyond_the_last_bin_survives_a_round_trip(ids):
    ids = np.array(ids)
    again = BINS.encode(BINS.decode(ids))
    np.testing.assert_array_equal(again, np.where(ids == 31744, 31745, ids))


@given(arrays.arrays(np.float64, (3, 7), elements=st.floats(-5.0, 5.0)))
def test_an_action_comes_back_within_half_a_bin_of_its_clipped_value(actions):
    found = BINS.decode(BINS.encode(actions))
    assert np.abs(found - np.clip(actions, -1.0, 1.0)).max() <= HALF + 1e-12


@given(arrays.arrays(np.float64, 50, elements=st.floats(-1.5, 1.5)))
def test_the_larger_action_never_has_the_larger_id(actions):
    ids = BINS.encode(np.sort(actions))
    assert (np.diff(ids) <= 0).all()


def test_the_edges_are_those_of_the_field():
    edges = -1.0 + 2.0 * np.arange(256) / 255
    # An edge belongs to the bin above it; the last has an id of its own.
    np.testing.assert_array_equal(BINS.encode(BINS.edges), 31999 - np.arange(256))
    np.testing.assert_allclose(BINS.edges, edges, atol=1e-15)
    assert BINS.encode(np.array([-1.0, -3.0, 1.0, 7.0, np.inf])).tolist() == [
        31999, 31999, 31744, 31744, 31744,
    ]  # fmt: skip
    # 256 ids, 255 middles: the id below the last bin reads as the last bin.
    np.testing.assert_allclose(
        BINS.decode(np.array([31744, 31745, 31999])), [1 - HALF, 1 - HALF, HALF - 1], atol=1e-15
    )


def test_just_below_an_edge_is_the_bin_below():
    below = np.nextafter(BINS.edges[1:], -2.0)
    np.testing.assert_array_equal(BINS.encode(below), 31999 - np.arange(255))


@pytest.mark.parametrize('token', [0, 2, 29871, 31743, 32000, 32063])
def test_words_that_are_no_actions_are_refused(token):
    with pytest.raises(PolicyError, match='expected actions: 31744 to 31999. Nothing is sent'):
        BINS.decode(np.array([31800, token]))


def test_what_is_not_a_number_has_no_bin():
    with pytest.raises(PolicyError, match='not a number'):
        BINS.encode(np.array([0.0, np.nan]))


@given(st.lists(st.tuples(SMALL_FLOATS, st.floats(1e-3, 5.0)), min_size=7, max_size=7), st.data())
def test_bins_and_statistics_undo_each_other(rows, data):
    low = np.array([row[0] for row in rows])
    high = low + np.array([row[1] for row in rows])
    bounds = Bounds(low, high, (True,) * 6 + (False,))
    ids = np.array([data.draw(st.integers(31745, 31999)) for _ in range(7)])
    physical = bounds.denormalize(BINS.decode(ids))
    np.testing.assert_array_equal(BINS.encode(bounds.normalize(physical)), ids)
    # The published formula, written out.
    centre = -1.0 + (2.0 * (31999 - ids) + 1.0) / 255.0
    expected = 0.5 * (centre + 1.0) * (high - low) + low
    np.testing.assert_allclose(physical[:6], expected[:6], atol=1e-12)
    assert physical[6] == pytest.approx(centre[6])
