"""The measured delay and the execution horizon that it leaves room for."""

from __future__ import annotations

from itertools import product
import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.actions.horizon import Delay, execution_horizon, WINDOW
from vla_ros.errors import HorizonError, PolicyError, ShapeError


def measured(*steps):
    delay = Delay()
    for s in (99.0, *steps):  # the first is the warm-up
        delay.add(s)
    return delay


def test_no_delay_is_known_before_the_warm_up_is_over():
    delay = Delay()
    assert delay.steps == 0
    delay.add(40.0)
    assert delay.steps == 0
    delay.add(1.5)
    assert delay.steps == 2


def test_what_is_expected_counts_until_a_delay_is_measured():
    delay = Delay()
    delay.expected = 1.2
    assert (delay.steps, delay.usual) == (2, 2)
    delay.add(9.0)  # the warm-up
    assert (delay.steps, delay.usual) == (2, 2)
    delay.add(0.5)
    assert (delay.steps, delay.usual) == (1, 1)
    delay.reset()
    assert delay.steps == 2


def test_reset_forgets_and_warms_up_again():
    delay = measured(3.0)
    delay.reset()
    assert delay.steps == 0
    delay.add(40.0)
    assert delay.steps == 0
    delay.add(1.0)
    assert delay.steps == 1


@pytest.mark.parametrize(
    'steps, expected',
    [(0.0, 0), (1e-9, 0), (0.4, 1), (1.9999999, 2), (2.0, 2), (2.0000001, 2), (2.01, 3)],
)
def test_a_delay_is_rounded_up_but_not_for_rounding_errors(steps, expected):
    assert measured(steps).steps == expected


@given(st.lists(st.floats(0.0, 50.0), min_size=1, max_size=30))
def test_the_largest_of_the_newest_counts(steps):
    largest = max(steps[-WINDOW:])
    assert measured(*steps).steps in {math.ceil(largest), math.ceil(largest - 1e-4)}


def test_an_old_delay_is_forgotten():
    assert measured(7.0, *[2.0] * (WINDOW - 1)).steps == 7
    assert measured(7.0, *[2.0] * WINDOW).steps == 2


@pytest.mark.parametrize('steps', [-0.5, math.nan, math.inf])
def test_a_delay_that_is_none_is_refused(steps):
    with pytest.raises(ShapeError, match='expected 0 or more'):
        Delay().add(steps)


def test_the_horizon_leaves_room_for_the_delay_or_raises():
    for wanted, d, H in product(range(14), range(14), range(14)):
        allowed = [s for s in range(1, H + 1) if d <= s <= H - d]
        if allowed:
            s = execution_horizon(wanted, d, H)
            assert s == min(allowed, key=lambda a: abs(a - wanted)), (wanted, d, H)
        else:
            with pytest.raises(HorizonError, match=f'delay is {d} steps .* chunk has {H}: .*make'):
                execution_horizon(wanted, d, H)


def test_too_slow_a_policy_is_a_policy_error():
    assert issubclass(HorizonError, PolicyError)
