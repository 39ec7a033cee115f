"""pi0's velocity against transformers' own sampling and against finite differences."""

from __future__ import annotations

import pytest
import torch
from transformers import PI0ForConditionalGeneration
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

from vla_ros import paths
from vla_ros.actions.schedules import prefix_weights
from vla_ros.models.guidance import PrefixGuidance, TrainedPrefix
from vla_ros.models.pi0_sampler import Pi0Velocity
from vla_ros.models.sampler import sample
from vla_ros.training.model import build_model

T, A, STEPS = 12, 4, 5


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load() -> PI0ForConditionalGeneration:
    folder = paths.share() / 'checkpoints' / 'tiny_pi0'
    return PI0ForConditionalGeneration.from_pretrained(folder).eval().requires_grad_(False)


@pytest.fixture(scope='module')
def model() -> PI0ForConditionalGeneration:
    return load()


@pytest.fixture(scope='module')
def inputs() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    ids = torch.tensor([[3] * 72 + [1, 8, 9, 10, 0, 0]])
    attention = torch.ones_like(ids)
    attention[:, -2:] = 0  # padded words
    return {
        'state': torch.randn(1, 4, generator=rng),
        'input_ids': ids,
        'attention_mask': attention,
        'pixel_values': 2.0 * torch.rand(1, 2, 3, 96, 96, generator=rng) - 1.0,
        'pixel_attention_mask': torch.ones(1, 2, dtype=torch.bool),
    }


@pytest.fixture(scope='module')
def velocity(model, inputs) -> Pi0Velocity:
    return Pi0Velocity(model, **inputs)


def noise(count: int = 1, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, T, A, generator=torch.Generator().manual_seed(seed))


def target() -> torch.Tensor:
    return 0.5 * torch.randn(T, A, generator=torch.Generator().manual_seed(2))


def guide(exact: bool = True, known: int = 6, dtype=torch.float32, schedule: str = 'exp'):
    weights = torch.tensor(prefix_weights(T, 3, known, schedule), dtype=dtype)
    return PrefixGuidance(target()[:known].to(dtype), weights, 5.0, exact=exact)


@pytest.mark.parametrize('steps', [1, 5, 7])
@pytest.mark.parametrize('seed', [1, 2])
def test_unguided_is_what_transformers_samples(model, inputs, velocity, steps, seed):
    expected = model.sample_actions(noise=noise(seed=seed), num_steps=steps, **inputs)
    assert torch.equal(sample(velocity, noise(seed=seed), steps), expected)


def test_an_absent_picture_is_as_in_transformers(model, inputs):
    one = dict(inputs)
    one['input_ids'] = inputs['input_ids'][:, 36:]
    one['attention_mask'] = inputs['attention_mask'][:, 36:]
    one['pixel_attention_mask'] = torch.tensor([[True, False]])
    expected = model.sample_actions(noise=noise(), num_steps=STEPS, **one)
    assert torch.equal(sample(Pi0Velocity(model, **one), noise(), STEPS), expected)


def test_time_of_each_step_is_that_of_the_sample_where_they_agree(velocity):
    x = noise(2)
    one, each = torch.tensor([0.4, 0.9]), torch.tensor([[0.4], [0.9]]).repeat(1, T)
    assert torch.equal(velocity(x, one), velocity(x, each))
    each[:, 0] = 0.0
    changed = (velocity(x, one) - velocity(x, each)).abs().amax(-1)
    assert (changed[:, 0] > 1e-2).all()


def test_samples_of_a_batch_are_single_draws(velocity):
    x = noise(4)
    together = sample(velocity, x, STEPS)
    alone = torch.cat([sample(velocity, x[k : k + 1], STEPS) for k in range(4)])
    torch.testing.assert_close(together, alone, rtol=0.0, atol=2e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_the_gradient_is_that_of_finite_differences(inputs, monkeypatch):
    # Gemma's norm computes in float32 whatever it is given: too coarse for differences.
    monkeypatch.setattr(GemmaRMSNorm, 'forward', lambda n, x: n._norm(x) * (1.0 + n.weight))
    model = load().double()
    wide = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    flow = Pi0Velocity(model, **wide)
    x, t = noise().double(), 0.6
    time = torch.tensor([t], dtype=torch.float64)
    free = flow(x, time)
    found = guide(dtype=torch.float64).velocity(flow, x, t)

    def f(y):
        return (y - t * flow(y, time)).ravel()

    weights = torch.tensor(prefix_weights(T, 3, 6, 'exp'))[:, None]
    error = ((target().double() - f(x).view(T, A)) * weights).ravel()
    pull = torch.empty(T * A, dtype=torch.float64)
    for k in range(T * A):
        h = torch.zeros(T * A, dtype=torch.float64)
        h[k] = 1e-6
        column = (f(x + h.view_as(x)) - f(x - h.view_as(x))) / 2e-6
        pull[k] = column @ error
    w = 0.6 / 0.4 * (0.4**2 + 0.6**2) / 0.6**2
    torch.testing.assert_close(found, free - w * pull.view_as(x), rtol=0.0, atol=1e-7)
    assert (pull - error).abs().max() > 1e-2  # the Jacobian is not the identity


@pytest.mark.parametrize('exact', [True, False])
@pytest.mark.parametrize('trained', [True, False])
def test_guided_samples_are_nearer_to_the_prefix(velocity, inputs, exact, trained):
    """Except by an exact Jacobian where the trained network hardly heeds its noise: J is small."""
    torch.manual_seed(0)
    flow = velocity if trained else Pi0Velocity(build_model().eval(), **inputs)
    x = noise(4)
    free, near = sample(flow, x, STEPS), sample(flow, x, STEPS, guide(exact))
    before, after = ((chunk - target())[:, :3].abs().mean() for chunk in (free, near))
    assert (after < 0.2 * before) == (not (exact and trained))


@pytest.mark.parametrize('exact', [True, False])
def test_guided_samples_of_a_batch_are_single_draws(velocity, exact):
    x = noise(3)
    together = sample(velocity, x, STEPS, guide(exact))
    alone = torch.cat([sample(velocity, x[k : k + 1], STEPS, guide(exact)) for k in range(3)])
    torch.testing.assert_close(together, alone, rtol=0.0, atol=1e-4)


def test_no_weight_is_no_guidance(velocity):
    free = sample(velocity, noise(), STEPS)
    assert torch.equal(sample(velocity, noise(), STEPS, guide(known=0)), free)


def test_a_trained_prefix_comes_back_and_acts_on_the_rest(velocity):
    prefix = target()[:3]
    found = sample(velocity, noise(2), STEPS, TrainedPrefix(prefix))
    assert torch.equal(found[:, :3], prefix.expand(2, -1, -1))
    other = sample(velocity, noise(2), STEPS, TrainedPrefix(-prefix))
    assert (found - other)[:, 3:].abs().max() > 1e-2


@pytest.mark.parametrize('kind', [None, 'identity', 'exact', 'trained'])
def test_pictures_and_words_are_encoded_once(model, inputs, kind):
    counts = {'vision': 0, 'language': 0, 'expert': 0}

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    vlm = model.model.vlm
    parts = {'vision': vlm.vision_tower, 'language': vlm.language_model, 'expert': model.model.dit}
    hooks = [part.register_forward_hook(count(name)) for name, part in parts.items()]
    guides = {None: None, 'trained': TrainedPrefix(target()[:3])}
    chosen = guides[kind] if kind in guides else guide(kind == 'exact')
    sample(Pi0Velocity(model, **inputs), noise(4), STEPS, chosen)
    for hook in hooks:
        hook.remove()
    assert counts == {'vision': 1, 'language': 1, 'expert': STEPS}


def test_guided_steps_leave_the_encoded_prefix_as_it_was(model, inputs):
    flow = Pi0Velocity(model, **inputs)
    free = sample(flow, noise(), STEPS)
    sample(flow, noise(3), STEPS, guide())
    assert torch.equal(sample(flow, noise(), STEPS), free)
    layers = flow._prefix.layers
    assert not any(layer.keys.requires_grad or layer.values.requires_grad for layer in layers)
