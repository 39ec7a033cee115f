"""The weights of a prefix, against the published numbers and formulas."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions.schedules import prefix_weights, SCHEDULES
from vla_ros.errors import UnknownNameError

PUBLISHED = [1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, 0.0, 0.0]  # start 2, end 6, H 10


def test_linear_is_the_published_example():
    assert prefix_weights(10, 2, 6, 'linear') == pytest.approx(PUBLISHED)


def test_exp_bends_the_linear_one():
    bent = [w * (math.exp(w) - 1.0) / (math.exp(1.0) - 1.0) for w in PUBLISHED]
    assert prefix_weights(10, 2, 6, 'exp') == pytest.approx(bent)


def test_ones_and_zeros():
    assert prefix_weights(8, 2, 6, 'ones').tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert prefix_weights(8, 2, 6, 'zeros').tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


@given(
    st.integers(1, 60), st.integers(0, 60), st.integers(-5, 60), st.sampled_from(SCHEDULES)
)  # fmt: skip
def test_weights_fall_from_one_to_zero(steps, start, end, schedule):
    weights = prefix_weights(steps, start, end, schedule)
    assert weights.shape == (steps,) and (weights >= 0.0).all()
    assert (np.diff(weights) <= 0.0).all()
    assert weights[: max(0, min(start, end))] == pytest.approx(1.0)
    assert (weights[max(0, end) :] == 0.0).all()


def test_an_unknown_schedule_names_the_closest():
    with pytest.raises(UnknownNameError, match="unknown schedule 'lineal'. Did you mean 'linear'"):
        prefix_weights(4, 1, 2, 'lineal')
