"""Temporal ensembling against ACT's definition and its update form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions.strategies import Laid
from vla_ros.actions.strategies.ensemble import TemporalEnsemble

STEP = 0.1  # [s]
HELD = np.array([False, False])


def rollout(rng, chunk, rounds):
    """One answer at every step, as ACT asks for them: answer t begins at step t."""
    return [
        Laid(STEP * (t + np.arange(chunk)), rng.normal(size=(chunk, 2))) for t in range(rounds)
    ]


@given(
    st.integers(0, 99), st.integers(1, 8), st.integers(2, 12), st.sampled_from([0.01, 0.0, 0.5])
)
def test_it_is_acts_definition(seed, chunk, rounds, decay):
    """As in ACT's evaluation: a table of all predictions, the populated ones of a column."""
    answers = rollout(np.random.default_rng(seed), chunk, rounds)
    table = np.zeros((rounds, rounds + chunk, 2))
    for t, answer in enumerate(answers):
        table[t, t : t + chunk] = answer.actions
    now = rounds - 1
    populated = table[:, now][np.any(table[:, now] != 0.0, axis=1)]
    weights = np.exp(-decay * np.arange(len(populated)))
    weights = weights / weights.sum()
    expected = (populated * weights[:, None]).sum(axis=0)
    sent = TemporalEnsemble(decay).blend(
        answers[-1], answers[-2], answers[:-1], STEP * (now - 1), HELD
    )
    assert sent[0] == pytest.approx(expected)


@given(st.integers(0, 99), st.sampled_from([0.01, 0.0, 0.5, -0.3]))
def test_it_is_the_online_update(seed, decay):
    """(avg cum[k-1] + new w[k]) / cum[k], k predictions of a step so far, as LeRobot has it."""
    chunk, rounds = 5, 9
    answers = rollout(np.random.default_rng(seed), chunk, rounds)
    w = np.exp(-decay * np.arange(chunk))
    cum = np.cumsum(w)
    mean = answers[0].actions.copy()
    count = np.ones(chunk, int)
    for t in range(1, rounds):
        new = answers[t].actions
        mean, count = mean[1:], count[1:]  # the first was executed
        k = count[:, None]
        mean = (mean * cum[k - 1] + new[:-1] * w[k]) / cum[k]
        mean, count = np.concatenate([mean, new[-1:]]), np.append(count + 1, 1)
        sent = TemporalEnsemble(decay).blend(
            answers[t], answers[t - 1], answers[:t], STEP * (t - 1), HELD
        )
        assert sent == pytest.approx(mean)


def test_answers_on_another_phase_are_interpolated():
    old = Laid(np.array([0.05, 0.15, 0.25]), np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]))
    new = Laid(np.array([0.1, 0.2, 0.3]), np.array([[1.0, 1.0], [3.0, 1.0], [5.0, 0.0]]))
    sent = TemporalEnsemble(0.0).blend(new, old, [old], 0.0, np.array([False, True]))
    assert sent[:, 0] == pytest.approx([0.75, 2.25, 5.0])
    assert sent[:, 1].tolist() == [1.0, 1.0, 0.0]


def test_only_the_newest_answers_count():
    due = STEP * np.arange(4)
    answers = [Laid(due, np.full((4, 2), value)) for value in (100.0, 1.0, 2.0)]
    sent = TemporalEnsemble(0.0, limit=2).blend(answers[2], answers[1], answers[:2], -1.0, HELD)
    assert sent == pytest.approx(np.full((4, 2), 1.5))


@pytest.mark.parametrize('decay, expected', [(1e4, 0.0), (-1e4, 49.0)])
def test_an_extreme_decay_takes_one_answer(decay, expected):
    due = STEP * np.arange(4)
    answers = [Laid(due, np.full((4, 2), float(value))) for value in range(50)]
    sent = TemporalEnsemble(decay).blend(answers[-1], answers[-2], answers[:-1], -1.0, HELD)
    assert sent == pytest.approx(np.full((4, 2), expected))


def test_an_answer_that_does_not_reach_a_step_takes_no_rank():
    due = STEP * np.arange(4)
    values = ((4, 0.0), (2, 50.0), (4, 1.0))  # steps, value
    answers = [Laid(due[:count], np.full((count, 2), value)) for count, value in values]
    sent = TemporalEnsemble(1.0).blend(answers[2], answers[0], answers[:2], -1.0, HELD)
    assert sent[3] == pytest.approx(np.exp(-1.0) / (1.0 + np.exp(-1.0)))
