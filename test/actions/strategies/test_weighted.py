"""The weighted mixture against LeRobot's asynchronous aggregation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions.strategies import Laid
from vla_ros.actions.strategies.weighted import Weighted

STEP = 0.1  # [s]
ARM = np.array([False, False])
FUNCTIONS = {  # of LeRobot, by share
    0.7: lambda old, new: 0.3 * old + 0.7 * new,  # weighted_average
    1.0: lambda old, new: new,  # latest_only
    0.5: lambda old, new: 0.5 * old + 0.5 * new,  # average
    0.3: lambda old, new: 0.7 * old + 0.3 * new,  # conservative
}


@given(
    st.sampled_from(sorted(FUNCTIONS)), st.integers(0, 12), st.integers(0, 14),
    st.integers(1, 12), st.integers(0, 99),
)  # fmt: skip
def test_it_is_lerobots_aggregation(share, first, latest, count, seed):
    """As its client merges queues of timed actions: each timestep on its own."""
    rng = np.random.default_rng(seed)
    queue = dict(enumerate(rng.normal(size=(12, 2))))
    incoming = {first + k: rng.normal(size=2) for k in range(count)}
    merged = {}
    for timestep, new in incoming.items():
        if timestep <= latest:
            continue  # executed already
        merged[timestep] = FUNCTIONS[share](queue[timestep], new) if timestep in queue else new
    plan = Laid(STEP * np.arange(12), np.stack(list(queue.values())))
    new = Laid(STEP * (first + np.arange(count)), np.stack(list(incoming.values())))
    sent = Weighted(share).blend(new, plan, (), STEP * latest, ARM)
    for k, timestep in enumerate(incoming):
        if timestep in merged:
            assert sent[k] == pytest.approx(merged[timestep])
        elif timestep in queue:
            assert sent[k] == pytest.approx(queue[timestep])


def test_the_default_is_lerobots():
    assert Weighted().share == 0.7
