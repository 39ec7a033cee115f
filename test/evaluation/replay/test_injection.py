"""Lost and overtaken messages: what arrives is what was sent, less what is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.errors import ConfigError
from vla_ros.evaluation.replay.injection import Injection, Way

SHARES = st.floats(0.0, 0.9)


def arrive(injection: Injection, count: int) -> tuple[list[int], int]:
    way: Way[int] = Way(injection, 'camera')
    return [k for sent in range(count) for k in way.send(sent)], way.lost


@given(drop=SHARES, reorder=SHARES, seed=st.integers(0, 1000), count=st.integers(0, 200))
def test_nothing_arrives_twice_and_only_neighbours_change_places(drop, reorder, seed, count):
    arrived, lost = arrive(Injection(drop=drop, reorder=reorder, seed=seed), count)
    assert len(set(arrived)) == len(arrived)
    assert count - lost - len(arrived) in (0, 1)  # one may be held when it ends
    newest = -1
    behind = 0
    for k in arrived:
        behind = behind + 1 if k < newest else 0
        assert behind <= 1, 'a message is overtaken once'
        newest = max(newest, k)


@given(seed=st.integers(0, 1000), count=st.integers(0, 50))
def test_without_faults_all_arrives_in_order(seed, count):
    assert arrive(Injection(seed=seed), count) == (list(range(count)), 0)


def test_shares_are_as_asked_and_draws_are_seeded():
    injection = Injection(drop=0.05, seed=3)
    arrived, lost = arrive(injection, 20_000)
    assert lost / 20_000 == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))
    assert arrive(injection, 20_000)[0] == arrived
    assert arrive(Injection(drop=0.05, seed=4), 20_000)[0] != arrived


@pytest.mark.parametrize('wrong', [
    {'latency': -0.1}, {'jitter': float('nan')}, {'drop': 1.0}, {'reorder': -0.1}, {'seed': -1},
])  # fmt: skip
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ConfigError):
        Injection(**wrong)


def test_as_recorded_an_inference_takes_what_the_nearest_recorded_one_took():
    injection = Injection(0.06, recorded=((1.0, 0.2), (2.0, 0.1)))
    assert [injection.took(stamp) for stamp in (0.0, 1.4, 1.6, 9.0)] == [0.2, 0.2, 0.1, 0.1]
    assert Injection(0.06).took(1.0) == 0.06
    assert 'recorded' not in injection.figures()
