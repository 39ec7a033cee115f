"""pi0's engine against transformers' own sampling and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PI0ForConditionalGeneration

from vla_ros import paths
from vla_ros.actions.schedules import prefix_weights
from vla_ros.models.block import Block
from vla_ros.models.guidance import PrefixGuidance, TrainedPrefix
from vla_ros.models.pi0 import Pi0Engine
from vla_ros.models.sampler import sample
from vla_ros.models.velocity import Encoded
from vla_ros.training.model import build_model

pytestmark = pytest.mark.usefixtures('one_thread')

T, A, STEPS = 12, 4, 5


def load(dtype: torch.dtype = torch.float32) -> PI0ForConditionalGeneration:
    folder = paths.share() / 'checkpoints' / 'tiny_pi0'
    model = PI0ForConditionalGeneration.from_pretrained(folder, dtype=dtype)
    return model.eval().requires_grad_(False)


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


def encoded(engine: Pi0Engine, inputs: dict[str, torch.Tensor], *, bucket: bool) -> Encoded:
    """Encode what transformers takes: padded words, or those alone that count."""
    present = inputs['pixel_attention_mask'][0]
    ids, attention = inputs['input_ids'][0], inputs['attention_mask'][0]
    words = ids != 3
    count = attention[words].sum()
    given = (ids[words], count) if bucket else (ids[words][:count], None)
    return engine.encode(
        inputs['pixel_values'][0, present], given[0], inputs['state'][0], length=given[1]
    )


@pytest.fixture(scope='module')
def engine() -> Pi0Engine:
    return Pi0Engine(load())  # not the one that transformers runs: weights are laid out anew


@pytest.fixture(scope='module', params=[False, True], ids=['words', 'bucket'])
def velocity(engine, inputs, request) -> Encoded:
    return encoded(engine, inputs, bucket=request.param)


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
    found = sample(velocity, noise(seed=seed), steps)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5)


def test_the_network_answers_as_before_when_its_weights_are_shared(inputs):
    """In float64: weights laid out anew round differently in float32."""
    network, model = load(torch.float64), load(torch.float64)
    Pi0Engine(network)
    given = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    found, expected = (
        m.sample_actions(noise=noise().double(), **given) for m in (network, model)
    )
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-12)
    before, after = ({p.untyped_storage().data_ptr(): p.untyped_storage().nbytes()
                      for p in m.model.parameters()} for m in (model, network))  # fmt: skip
    assert sum(after.values()) <= sum(before.values())  # nothing is there twice


def test_an_absent_picture_is_as_in_transformers(model, engine, inputs):
    one = dict(inputs)
    one['input_ids'] = inputs['input_ids'][:, 36:]
    one['attention_mask'] = inputs['attention_mask'][:, 36:]
    one['pixel_attention_mask'] = torch.tensor([[True, False]])
    expected = model.sample_actions(noise=noise(), num_steps=STEPS, **one)
    found = sample(encoded(engine, one, bucket=False), noise(), STEPS)
    torch.testing.assert_close(found, expected, rtol=0.0, atol=2e-6)


def test_time_of_each_step_is_that_of_the_sample_where_they_agree(velocity):
    x = noise(2)
    one, each = torch.tensor([0.4, 0.9]), torch.tensor([[0.4], [0.9]]).repeat(1, T)
    torch.testing.assert_close(velocity(x, one), velocity(x, each), rtol=0.0, atol=2e-6)
    each[:, 0] = 0.0
    changed = (velocity(x, one) - velocity(x, each)).abs().amax(-1)
    assert (changed[:, 0] > 1e-2).all()


def test_samples_of_a_batch_are_single_draws(velocity):
    x = noise(4)
    together = sample(velocity, x, STEPS)
    alone = torch.cat([sample(velocity, x[k : k + 1], STEPS) for k in range(4)])
    torch.testing.assert_close(together, alone, rtol=0.0, atol=2e-5)
    assert (together[0] - together[1]).abs().max() > 1e-3


@pytest.mark.parametrize('bucket', [False, True])
def test_the_gradient_is_that_of_finite_differences(inputs, bucket):
    engine = Pi0Engine(load().double())
    wide = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    flow = encoded(engine, wide, bucket=bucket)
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
    random = Pi0Engine(build_model().eval().requires_grad_(False))
    flow = velocity if trained else encoded(random, inputs, bucket=False)
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
def test_pictures_and_words_are_encoded_once_and_the_last_layer_ends_with_its_keys(
    inputs, kind, monkeypatch
):
    blocks, rows = [], []
    plain = Block.__call__

    def counted(block, x, *rest, **named):
        blocks.append(block)
        rows.append(len(x))
        return plain(block, x, *rest, **named)

    monkeypatch.setattr(Block, '__call__', counted)
    engine = Pi0Engine(load())
    flow = encoded(engine, inputs, bucket=False)
    assert rows == [2 * 36 + 4] * 3 and len(set(blocks)) == 3  # of 4 layers
    rows.clear()
    guides = {None: None, 'trained': TrainedPrefix(target()[:3])}
    chosen = guides[kind] if kind in guides else guide(kind == 'exact')
    sample(flow, noise(4), STEPS, chosen)
    with_state, alone = [4 * (T + 1)] * 4, [4 * T] * 4
    later = with_state if kind == 'exact' else alone  # what is differentiated leaves rooms alone
    assert rows == with_state + later * (STEPS - 1)


def test_guided_steps_leave_the_encoded_prefix_as_it_was(engine, inputs):
    flow = encoded(engine, inputs, bucket=False)
    guided = sample(flow, noise(3), STEPS, guide())
    rooms = [part for rooms in flow._rooms.values() for room in rooms for part in room]
    assert len(rooms) == 2 * 2 * 4 and not any(part.requires_grad for part in rooms)
    free = sample(encoded(engine, inputs, bucket=False), noise(), STEPS)
    assert torch.equal(sample(flow, noise(), STEPS), free)
    assert torch.equal(sample(flow, noise(3), STEPS, guide()), guided)


def test_bfloat16_is_as_near_to_float32_as_transformers_is(model, inputs):
    small, engine = load(torch.bfloat16), Pi0Engine(load(torch.bfloat16))
    ratios = []
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        given = dict(inputs)
        given['pixel_values'] = 2.0 * torch.rand(1, 2, 3, 96, 96, generator=rng) - 1.0
        given['state'] = torch.randn(1, 4, generator=rng)
        truth = model.sample_actions(noise=noise(seed=seed), **given)
        half = {k: v.bfloat16() if v.is_floating_point() else v for k, v in given.items()}
        stock = small.sample_actions(noise=noise(seed=seed).bfloat16(), **half).float()
        ours = sample(encoded(engine, half, bucket=False), noise(seed=seed), STEPS)
        assert not torch.equal(ours, truth)
        ratios.append(float((ours - truth).abs().mean() / (stock - truth).abs().mean()))
    assert np.median(ratios) < 1.25  # of 100 seeds it is 0.9; single draws differ tenfold
