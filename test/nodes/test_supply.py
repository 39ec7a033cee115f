"""How the plan is supplied: one case for each word, and where one goes over into the next."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import pytest

from vla_ros.nodes.supply import END, FULL_RATE, NEAR, SUPPLIES, supply

BEGUN, END_OF_PLAN, INTERVAL, STEP = 40.0, 42.0, 0.5, 0.1  # [s] of plan time
OVERDUE = BEGUN + INTERVAL + STEP
THERE = END_OF_PLAN - END * STEP


def at(phi: float, rate: float = 1.0) -> str:
    return supply(phi, rate, BEGUN, END_OF_PLAN, INTERVAL, STEP)


@pytest.mark.parametrize(
    ('phi', 'rate', 'word'),
    [
        (BEGUN, 1.0, 'on time'),
        (OVERDUE - 1e-6, 1.0, 'on time'),
        (OVERDUE - 1e-6, 0.1, 'on time'),  # slowed down, but nothing is missing
        (OVERDUE + 1e-6, 1.0, 'tail'),
        (OVERDUE + 1e-6, 0.1, 'tail'),  # something else than the end slows it down
        (END_OF_PLAN - NEAR + 1e-6, 1.0, 'tail'),
        (END_OF_PLAN - NEAR - 1e-6, 0.5, 'tail'),
        (END_OF_PLAN - NEAR + 1e-6, FULL_RATE, 'tail'),
        (END_OF_PLAN - NEAR + 1e-6, FULL_RATE - 1e-6, 'stretched'),
        (THERE - 1e-6, 0.01, 'stretched'),
        (THERE + 1e-6, 0.01, 'held'),
        (END_OF_PLAN + 1.0, 0.0, 'held'),
    ],
)
def test_the_word_for_a_place_and_a_rate(phi, rate, word):
    assert at(phi, rate) == word


def test_a_chunk_walked_whole_is_on_time_up_to_its_end():
    """Strategies that wait ask for the next chunk only there."""
    whole = {'begun': 0.0, 'end': 1.0, 'interval': 1.0 - END * STEP, 'step': STEP}
    assert supply(0.99, 0.3, **whole) == 'on time'
    assert supply(1.0, 0.0, **whole) == 'held'


@given(st.floats(39.0, 44.0), st.floats(0.0, 1.0))
def test_there_is_a_sentence_for_every_word(phi, rate):
    word = at(phi, rate)
    assert word in SUPPLIES and word != 'none'
    assert bool(SUPPLIES[word]) == (word != 'on time')
