"""Guidance against the paper's formulas in its own time and sign, by other means than autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vla_ros.actions.schedules import prefix_weights
from vla_ros.errors import PolicyError, ShapeError
from vla_ros.models.guidance import guidance_weight, PrefixGuidance, TrainedPrefix
from vla_ros.models.sampler import sample

T, A, LIMIT = 6, 3, 5.0
RNG = np.random.default_rng(0)
MIX = RNG.normal(size=(T * A, T * A)) / 4.0  # every step and dimension acts on every other
SHIFT = RNG.normal(size=T * A)
TARGET = RNG.normal(size=(T, A))
NOISE = RNG.normal(size=(2, T, A))
WEIGHTS = prefix_weights(T, 2, 5, 'exp')


def nonlinear(x: np.ndarray, t: float) -> np.ndarray:
    """Return v (T, A) for x (T, A)."""
    return (np.tanh(MIX @ x.ravel() + SHIFT) * (1.0 + t)).reshape(T, A)


def linear(x: np.ndarray, t: float) -> np.ndarray:
    return (MIX @ x.ravel() + t * SHIFT).reshape(T, A)


def torch_nonlinear(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    inner = x.flatten(1) @ torch.tensor(MIX).T + torch.tensor(SHIFT)
    return (inner.tanh() * (1.0 + time[:, None])).view_as(x)


def torch_linear(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    return (x.flatten(1) @ torch.tensor(MIX).T + time[:, None] * torch.tensor(SHIFT)).view_as(x)


def paper(velocity, jacobian, noise: np.ndarray, weights: np.ndarray, steps: int) -> np.ndarray:
    """Return RTC's chunk (T, A) in the paper's time tau, 0 noise, 1 data, and its sign of v.

    `jacobian(velocity, x, t)` is d v / d x of openpi's v, (T A, T A), or None for J = I.
    """
    x = noise.copy()
    for step in range(steps):
        tau = step / steps
        v = -velocity(x, 1.0 - tau)
        f = x + (1.0 - tau) * v
        error = ((TARGET - f) * weights).ravel()
        if jacobian is None:
            g = error
        else:
            g = (np.eye(T * A) - (1.0 - tau) * jacobian(velocity, x, 1.0 - tau)).T @ error
        r2 = (1.0 - tau) ** 2 / (tau**2 + (1.0 - tau) ** 2)
        w = min(LIMIT, (1.0 - tau) / (tau * r2)) if tau else LIMIT
        x = x + (v + w * g.reshape(T, A)) / steps
    return x


def differences(velocity, x: np.ndarray, t: float) -> np.ndarray:
    columns = []
    for unit in np.eye(T * A):
        h = 1e-6 * unit.reshape(T, A)
        columns.append((velocity(x + h, t) - velocity(x - h, t)).ravel() / 2e-6)
    return np.stack(columns, axis=1)


def guided(velocity, weights, steps: int = 5, *, exact: bool = True, target=TARGET):
    guide = PrefixGuidance(torch.tensor(target), torch.tensor(weights), LIMIT, exact=exact)
    return sample(velocity, torch.tensor(NOISE), steps, guide).numpy()


PER_DIMENSION = WEIGHTS[:, None] * [1.0, 0.0, 0.3]


@pytest.mark.parametrize('steps', [1, 5, 10])
@pytest.mark.parametrize('weights', [WEIGHTS, PER_DIMENSION], ids=['steps', 'dimensions'])
def test_exact_guidance_is_the_papers_with_a_jacobian_by_differences(weights, steps):
    wide = weights if weights.ndim == 2 else weights[:, None]
    found = guided(torch_nonlinear, weights, steps)
    for noise, chunk in zip(NOISE, found):
        expected = paper(nonlinear, differences, noise, wide, steps)
        np.testing.assert_allclose(chunk, expected, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize('steps', [1, 5, 10])
def test_exact_guidance_of_a_linear_flow_is_its_closed_form(steps):
    found = guided(torch_linear, WEIGHTS, steps)
    for noise, chunk in zip(NOISE, found):
        expected = paper(linear, lambda *_: MIX, noise, WEIGHTS[:, None], steps)
        np.testing.assert_allclose(chunk, expected, rtol=0.0, atol=1e-10)


def test_identity_guidance_is_its_definition_and_another_answer():
    found = guided(torch_nonlinear, WEIGHTS, exact=False)
    for noise, chunk in zip(NOISE, found):
        expected = paper(nonlinear, None, noise, WEIGHTS[:, None], 5)
        np.testing.assert_allclose(chunk, expected, rtol=0.0, atol=1e-12)
    assert np.abs(found - guided(torch_nonlinear, WEIGHTS)).max() > 1e-2


@pytest.mark.parametrize('exact', [True, False])
def test_no_weight_is_no_guidance(exact):
    free = sample(torch_nonlinear, torch.tensor(NOISE), 5).numpy()
    np.testing.assert_array_equal(guided(torch_nonlinear, np.zeros(T), exact=exact), free)
    assert np.abs(guided(torch_nonlinear, WEIGHTS, exact=exact) - free).max() > 1e-2


@pytest.mark.parametrize('exact', [True, False])
def test_guidance_comes_nearer_to_the_prefix(exact):
    free = sample(torch_nonlinear, torch.tensor(NOISE), 5).numpy()
    near = guided(torch_nonlinear, WEIGHTS, exact=exact)
    assert np.abs(near - TARGET)[:, :2].mean() < 0.3 * np.abs(free - TARGET)[:, :2].mean()


@pytest.mark.parametrize('t, w', [(1.0, 5.0), (0.9, 5.0), (0.6, 0.6 / 0.4 * 0.52 / 0.36)])
def test_the_weight_of_guidance(t, w):
    assert guidance_weight(t, 5.0) == pytest.approx(w, rel=1e-12)


def test_the_weight_is_limited_and_falls_to_that_of_half_time():
    assert [guidance_weight(1.0 - k / 5, np.inf) for k in range(5)] == pytest.approx(
        [np.inf, 4.0 * 17.0 / 16.0, 1.5 * 13.0 / 9.0, 2.0 / 3.0 * 13.0 / 4.0, 17.0 / 4.0]
    )
    assert guidance_weight(0.5, 1.5) == 1.5


def own_step_only(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
    """No step or dimension acts on another, so a pull shows where it pulls."""
    return (x - 0.3).tanh()


@pytest.mark.parametrize('exact', [True, False])
def test_a_short_prefix_pulls_its_own_steps_only(exact):
    """A target padded with zeros would pull the steps behind it to zero."""
    free = sample(own_step_only, torch.tensor(NOISE), 5).numpy()
    known = 3
    weights = prefix_weights(T, 2, known, 'ones')
    short = guided(own_step_only, weights, target=TARGET[:known], exact=exact)
    np.testing.assert_array_equal(short[:, known:], free[:, known:])
    assert (np.abs(short - free)[:, :known] > 1e-3).all()


@pytest.mark.parametrize('exact', [True, False])
def test_a_dimension_without_weight_is_not_pulled_nor_read(exact):
    free = sample(own_step_only, torch.tensor(NOISE), 5).numpy()
    weights = np.tile([1.0, 0.0, 0.5], (T, 1))
    weights[4:] = 0.0
    unknown = np.where(weights > 0.0, TARGET, np.nan)
    found = guided(own_step_only, weights, target=unknown, exact=exact)
    np.testing.assert_array_equal(found[:, :, 1], free[:, :, 1])
    np.testing.assert_array_equal(found[:, 4:], free[:, 4:])
    assert (np.abs(found - free)[:, :4, ::2] > 1e-4).all()


def test_weights_beyond_the_prefix_are_refused():
    target, weights = torch.zeros(3, A), torch.ones(T)
    with pytest.raises(ShapeError, match='weights beyond step 3'):
        PrefixGuidance(target, weights, LIMIT, exact=True)
    weights[3:] = 0.0
    PrefixGuidance(target, weights, LIMIT, exact=True)


@pytest.mark.parametrize('weights', [(2,), (T, A - 1), (T, 1)])
def test_weights_of_another_shape_are_refused(weights):
    with pytest.raises(ShapeError, match='expected'):
        PrefixGuidance(torch.zeros(3, A), torch.zeros(weights), LIMIT, exact=True)


def test_exact_guidance_says_what_it_needs_of_torch():
    with torch.inference_mode():
        guided(torch_nonlinear, WEIGHTS, exact=False)
        with pytest.raises(PolicyError, match='inference_mode'):
            guided(torch_nonlinear, WEIGHTS)


def test_guidance_leaves_no_graph_behind():
    target, weights = torch.tensor(TARGET), torch.tensor(WEIGHTS)
    guide = PrefixGuidance(target, weights, LIMIT, exact=True)
    assert not sample(torch_nonlinear, torch.tensor(NOISE), 2, guide).requires_grad


@pytest.mark.parametrize('delay', [0, 1, 4, T])
def test_a_trained_prefix_comes_back_and_is_data_at_every_step(delay):
    prefix = torch.tensor(TARGET[:delay])
    seen = []

    def velocity(x, time):
        seen.append((x, time))
        return torch_nonlinear(x, torch.ones(len(x), dtype=x.dtype))

    found = sample(velocity, torch.tensor(NOISE), 5, TrainedPrefix(prefix))
    assert torch.equal(found[:, :delay], prefix.expand(2, -1, -1))
    for k, (x, time) in enumerate(seen):
        assert time.shape == (2, T)
        assert (time[:, :delay] == 0.0).all()
        assert (time[:, delay:] == 1.0 + k * (-1.0 / 5)).all()
        assert torch.equal(x[:, :delay], prefix.expand(2, -1, -1))
    assert torch.equal(seen[0][0][:, delay:], torch.tensor(NOISE)[:, delay:])
    assert len(seen) == 5


def test_a_trained_prefix_leaves_the_noise_it_was_given():
    noise = torch.tensor(NOISE)
    sample(torch_nonlinear, noise, 1, Untimed(torch.tensor(TARGET[:2])))
    np.testing.assert_array_equal(noise.numpy(), NOISE)


class Untimed(TrainedPrefix):
    """For a flow that knows one time a sample."""

    def velocity(self, flow, x, t):
        return super().velocity(lambda x, time: flow(x, time[:, -1]), x, t)
