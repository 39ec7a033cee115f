"""Statistics against SciPy and by their definitions."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
import pytest
from scipy.stats import binomtest

from vla_ros.evaluation.metrics import (
    control,
    mcnemar,
    Outcome,
    paired,
    rate,
    summarize,
    wilson,
)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy(case: tuple[int, int]) -> None:
    hits, trials = case
    want = binomtest(hits, trials).proportion_ci(0.95, method='wilson')
    assert wilson(hits, trials) == pytest.approx((want.low, want.high), abs=1e-12)


def test_no_episode_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert rate([])['rate'] is None
    assert summarize([])['success_rate'] is None


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match='expected 0 to 3'):
        wilson(4, 3)


def test_summary_splits_by_task_and_counts_what_came_first(outcome: Outcome) -> None:
    outcomes = [
        outcome,
        replace(outcome, success=False, first_object='cube', min_barrier=-0.001, collision=True),
        replace(outcome, task='push', first_object=None, max_safety_level=3, error='late'),
    ]
    found = summarize(outcomes)
    assert found['success_rate'] == pytest.approx(2 / 3)
    assert found['per_task']['reach']['success_rate'] == 0.5
    assert found['per_task']['push']['success_rate'] == 1.0
    assert found['instruction_following'] == pytest.approx(1 / 3)
    assert found['per_task']['reach']['instruction_following'] == 0.5
    assert found['collision_rate'] == pytest.approx(1 / 3)
    assert found['intervention_rate'] == pytest.approx(0.1)
    assert (found['max_safety_level'], found['min_barrier_m']) == (3, -0.001)
    assert found['errors'] == ['late']


@pytest.mark.parametrize(('hits', 'at_chance'), [(1, True), (2, True), (3, False)])
def test_a_control_is_at_chance_up_to_ten_points_above_it(
    outcome: Outcome, hits: int, at_chance: bool
) -> None:
    luck = [replace(outcome, success=i < 1) for i in range(10)]
    seen = [replace(outcome, success=i < hits) for i in range(10)]
    found = control(seen, luck)
    assert found['at_chance'] is at_chance
    assert found['chance'] == 0.1


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(gained: int, lost: int) -> None:
    want = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(want, abs=1e-12)


def test_paired_differences_by_hand() -> None:
    ours = [True] * 60 + [False] * 10 + [True] * 5 + [False] * 25
    theirs = [True] * 60 + [True] * 10 + [False] * 5 + [False] * 25
    found = paired(ours, theirs)
    assert (found['gained'], found['lost']) == (5, 10)
    assert found['difference'] == pytest.approx(-0.05)
    # b = 5.5, c = 10.5, n = 102: -0.04902 +- 1.95996 * sqrt(16 - 25 / 102) / 102
    assert found['interval_95'] == pytest.approx([-0.12530, 0.02726], abs=1e-4)
    assert found['p_value'] == pytest.approx(2 * 4944 / 2**15)  # sum of C(15, 0..5)
