"""SmolVLA against a second writing of it, finite differences, and the published weights' sizes."""

from __future__ import annotations

import math

import pytest
import smolvla_layout as layout
import smolvla_reference as reference
import torch
from transformers import SmolVLMConfig

from vla_ros.models.block import Block
from vla_ros.models.sampler import sample
from vla_ros.models.smolvla import renamed, SmolVLA, SmolVLAConfig, UNUSED, VLMS
from vla_ros.models.smolvla_engine import SmolVLAEngine
from vla_ros.models.tower import Tower
from vla_ros.models.velocity import Encoded

pytestmark = pytest.mark.usefixtures('one_thread')

T, SIZES = 7, layout.TINY
WORDS = [5, 17, 3, 60, 9]


def build(sizes: dict, **changes) -> SmolVLA:
    vlm = SmolVLMConfig(**layout.vlm_config(sizes))
    widths = {'state_dim': sizes['state'], 'action_dim': sizes['action']}
    return SmolVLA(SmolVLAConfig(vlm, sizes['layers'], horizon=T, **widths, **changes))


def load(weights: dict) -> SmolVLA:
    model = build(SIZES)
    model.load_state_dict(renamed(weights))
    return model.eval().requires_grad_(False)


def inputs(seed: int = 0, cameras: int = 2) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {
        'pixels': 2.0 * torch.rand(cameras, 3, 32, 32, generator=rng) - 1.0,
        'words': torch.tensor(WORDS),
        'state': torch.randn(SIZES['state'], generator=rng),
    }


def noise(count: int = 1, seed: int = 1) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, T, SIZES['action'], generator=rng)


@pytest.fixture(scope='module')
def model() -> SmolVLA:
    return load(layout.weights(SIZES))


@pytest.fixture(scope='module')
def flow(model) -> Encoded:
    return SmolVLAEngine(model).encode(**inputs())


@pytest.mark.parametrize('seed, cameras, steps', [(0, 2, 10), (1, 1, 3), (2, 3, 1)])
def test_chunks_are_those_of_the_reference(seed, cameras, steps):
    weights = layout.weights(SIZES, seed)
    given = inputs(seed, cameras)
    expected = reference.chunk(
        weights, SIZES, given['pixels'], WORDS, given['state'], noise(seed=seed)[0], steps
    )
    found = sample(SmolVLAEngine(load(weights)).encode(**given), noise(seed=seed), steps)
    assert (noise(seed=seed)[0] - expected).abs().max() > 0.5  # the flow moves what it is given
    torch.testing.assert_close(found[0].double(), expected, rtol=0.0, atol=5e-6)


@pytest.mark.parametrize('changes', [{'cross': False}, {'self_every': 0}, {'self_every': 3}])
def test_layers_take_turns_as_the_checkpoint_says(changes):
    config = build(SIZES, **changes).config
    crossing = [config.crosses(k) for k in range(7)]
    expected = {'cross': [0] * 7, 'self_every': [1] * 7}
    if changes.get('self_every') == 3:
        expected['self_every'] = [0, 1, 1, 0, 1, 1, 0]
    assert crossing == [bool(c) for c in expected[next(iter(changes))]]
    model = build(SIZES, **changes)
    kv, width = SIZES['kv_heads'] * SIZES['head_dim'], SIZES['expert']
    for k, layer in enumerate(model.lm_expert['layers']):
        assert layer.self_attn.k_proj.in_features == (kv if crossing[k] else width)


def test_the_default_vlm_gives_the_published_names_sizes_and_parameters():
    published = layout.shapes(layout.FULL)
    assert (len(published), sum(map(math.prod, published.values()))) == (500, 450_046_176)
    with torch.device('meta'):
        (vlm,) = VLMS.values()
        model = SmolVLA(SmolVLAConfig(SmolVLMConfig(**vlm)))
        named = renamed({name: torch.empty(shape) for name, shape in published.items()})
    found = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert found == {name: tuple(value.shape) for name, value in named.items()}
    assert len(UNUSED) == 500 - len(found)
    vision, tiny = model.vision_model.config, SmolVLMConfig(**layout.vlm_config(layout.FULL))
    assert vision.num_attention_heads == 12
    assert vision.layer_norm_eps == tiny.vision_config.layer_norm_eps
    assert vision.hidden_act == tiny.vision_config.hidden_act


def test_names_of_a_compiled_run_and_foreign_names():
    weights = layout.weights(SIZES)
    compiled = {name.replace('model.', 'model._orig_mod.', 1): v for name, v in weights.items()}
    assert renamed(compiled).keys() == renamed(weights).keys()
    assert 'nothing.weight' in renamed({'nothing.weight': torch.zeros(1)})


def test_what_is_called_unused_is_unused(flow):
    weights = layout.weights(SIZES)
    changed = {name: v + 1.0 if name in UNUSED else v for name, v in weights.items()}
    assert torch.equal(
        SmolVLAEngine(load(changed)).encode(**inputs())(noise(), torch.tensor([0.5])),
        flow(noise(), torch.tensor([0.5])),
    )


def test_what_is_constant_is_computed_once(model, monkeypatch):
    rows: list[int] = []
    plain = Block.__call__
    monkeypatch.setattr(
        Block, '__call__', lambda b, x, *rest: (rows.append(len(x)), plain(b, x, *rest))[1]
    )
    calls: list[str] = []
    layers = model.lm_expert['layers']
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, part in layers.named_modules()
        if name.endswith(('k_proj', 'v_proj'))
    ]
    flow = SmolVLAEngine(model).encode(**inputs())
    crossing = [f'{k}.self_attn.{p}_proj' for k in (1, 3) for p in 'kv']
    assert calls == crossing and rows == [2 * 4 + len(WORDS) + 1] * 3  # the last layer is cut
    sample(flow, noise(), 3)
    for hook in hooks:
        hook.remove()
    assert calls == crossing and rows[3:] == [T] * 4 * 3


@pytest.mark.parametrize('padding', [1, 9])
def test_padded_words_are_seen_by_nobody(model, flow, padding):
    given = inputs() | {'words': torch.tensor(WORDS + [44] * padding)}
    engine = SmolVLAEngine(model)
    bucket = engine.encode(**given, length=torch.tensor(len(WORDS)))
    found, want = (sample(f, noise(2), 5) for f in (bucket, flow))
    torch.testing.assert_close(found, want, rtol=0.0, atol=1e-5)
    assert (sample(engine.encode(**given), noise(2), 5) - want).abs().max() > 1e-4


@pytest.mark.parametrize('side', [16, 32, 48])
def test_patches_of_other_sizes_are_as_in_transformers(side):
    network = build(SIZES).eval().requires_grad_(False).vision_model
    rng = torch.Generator().manual_seed(6)
    pixels = 2.0 * torch.rand(2, 3, side, side, generator=rng) - 1.0
    want = network(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(Tower(network)(pixels), want, rtol=0.0, atol=2e-6)


def test_actions_see_only_the_steps_before_them(flow):
    x, t = noise(), torch.tensor([0.7])
    changed = x.clone()
    changed[:, 4] += 1.0
    gap = (flow(x, t) - flow(changed, t)).abs().amax((0, 2))
    assert (gap[:4] == 0.0).all() and (gap[4:] > 1e-4).all()


def test_samples_of_a_batch_are_single_draws(flow):
    x = noise(4)
    alone = torch.cat([sample(flow, x[k : k + 1], 5) for k in range(4)])
    torch.testing.assert_close(sample(flow, x, 5), alone, rtol=0.0, atol=2e-5)
    assert (alone[0] - alone[1]).abs().max() > 1e-2


def test_time_of_each_step_is_that_of_the_sample_where_they_agree(flow):
    x = noise(2)
    one, each = torch.tensor([0.4, 0.9]), torch.tensor([[0.4], [0.9]]).repeat(1, T)
    torch.testing.assert_close(flow(x, one), flow(x, each), rtol=0.0, atol=2e-6)
    each[:, 2] = 0.0
    changed = (flow(x, one) - flow(x, each)).abs().amax(-1)
    assert (changed[:, :2] < 5e-6).all() and (changed[:, 2:] > 1e-4).all()


def test_the_gradient_is_that_of_finite_differences():
    wide = {k: v.double() if v.is_floating_point() else v for k, v in inputs().items()}
    flow = SmolVLAEngine(load(layout.weights(SIZES)).double()).encode(**wide)
    time = torch.tensor([0.6], dtype=torch.float64)
    x, along = noise().double().requires_grad_(), noise(seed=3).double()
    (gradient,) = torch.autograd.grad(flow(x, time), x, along)
    rng = torch.Generator().manual_seed(4)
    for _ in range(3):
        step = torch.randn(x.shape, generator=rng, dtype=torch.float64)
        with torch.no_grad():
            rise = (flow(x + 1e-5 * step, time) - flow(x - 1e-5 * step, time)) / 2e-5
        found, expected = (gradient * step).sum(), (rise * along).sum()
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)


def test_bfloat16_answers_in_the_type_of_the_noise_and_close(model, flow):
    small = SmolVLAEngine(load(layout.weights(SIZES)).bfloat16()).encode(**inputs())
    found = sample(small, noise(), 5)
    assert found.dtype == torch.float32
    error = (found - sample(flow, noise(), 5)).abs().max()
    assert 0.0 < error < 0.1
