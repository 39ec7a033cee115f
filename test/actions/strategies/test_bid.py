"""Bidirectional decoding: which of the samples is sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.actions.schedules import prefix_weights, SCHEDULES
from vla_ros.actions.strategies import Laid
from vla_ros.actions.strategies.bid import BID
from vla_ros.errors import ShapeError

STEP = 0.1  # [s]


def laid(actions, start=0.0):
    actions = np.asarray(actions, float)
    return Laid(start + STEP * np.arange(len(actions)), actions)


@given(st.integers(0, 99), st.integers(2, 8), st.integers(0, 3))
def test_the_sample_nearest_to_the_plan_is_chosen(seed, count, delay):
    rng = np.random.default_rng(seed)
    plan = laid(rng.normal(size=(10, 3)))
    way = rng.normal(size=(10, 3))
    distances = rng.permutation(count) + 0.5
    samples = [laid(plan.actions + d * way) for d in distances]
    assert BID().choose(samples, plan, delay, 4) == np.argmin(distances)


@given(
    st.integers(0, 99), st.integers(0, 4), st.integers(1, 10), st.integers(1, 10),
    st.sampled_from(SCHEDULES),
)  # fmt: skip
def test_it_is_the_argmin_of_the_backward_loss(seed, delay, horizon, known, schedule):
    rng = np.random.default_rng(seed)
    plan = laid(rng.normal(size=(known, 2)))
    samples = [laid(rng.normal(size=(10, 2))) for _ in range(6)]
    weights = prefix_weights(10, delay, 10 - horizon, schedule)
    losses = [
        sum(
            weights[i] * np.sqrt(np.sum((s.actions[i] - plan.actions[i]) ** 2))
            for i in range(known)  # beyond it the plan says nothing
        )
        for s in samples
    ]
    chosen = BID(schedule=schedule).choose(samples, plan, delay, horizon)
    assert losses[chosen] == pytest.approx(min(losses))


def test_early_steps_count_more():
    plan = laid(np.zeros((8, 1)))
    early, late = np.zeros((8, 1)), np.zeros((8, 1))
    early[0], late[5] = 1.0, 1.0
    assert BID().choose([laid(early), laid(late)], plan, 2, 2) == 1
    after = np.zeros((8, 1))
    after[6] = 100.0  # after T - s: weight 0
    assert BID().choose([laid(late), laid(after)], plan, 2, 2) == 1


def test_without_a_plan_the_first():
    assert BID().choose([laid([[5.0]]), laid([[0.0]])], None, 0, 1) == 0


def test_the_gripper_counts_and_a_scale_weighs_it():
    plan = laid(np.tile([0.0, 1.0], (6, 1)))
    closes = laid(np.tile([0.0, 0.0], (6, 1)))
    strays = laid(np.tile([0.5, 1.0], (6, 1)))
    assert BID().choose([closes, strays], plan, 1, 1) == 1
    assert BID().choose([closes, strays], plan, 1, 1, scale=np.array([0.1, 1.0])) == 0


def test_held_channels_of_a_plan_on_another_phase_are_not_interpolated():
    plan = laid([[0.0], [1.0], [1.0]])
    early, late = laid([[0.6], [1.0]], 0.05), laid([[0.1], [1.0]], 0.05)
    held = np.array([True])
    assert BID().choose([early, late], plan, 2, 1) == 0  # the mean of both steps is 0.5
    assert BID().choose([early, late], plan, 2, 1, held) == 1


def test_no_samples():
    with pytest.raises(ShapeError, match='no samples'):
        BID().choose([], None, 0, 1)


def test_the_chosen_chunk_is_sent_after_phi():
    plan, new = laid(np.zeros((4, 1))), laid(np.ones((4, 1)))
    sent = BID().blend(new, plan, (), 0.15, np.array([False]))
    assert sent[:, 0].tolist() == [0.0, 0.0, 1.0, 1.0]
