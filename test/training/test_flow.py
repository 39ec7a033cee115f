"""FlowLoss against transformers' own forward pass, called once for each noise sample."""

from __future__ import annotations

import pytest
import torch

from vla_ros.training.demos import CAMERAS, IMAGE_SIZE
from vla_ros.training.flow import FlowLoss
from vla_ros.training.model import (
    ACTION_DIM,
    build_model,
    HORIZON,
    MAX_WORDS,
    STATE_DIM,
    vocabulary,
)
from vla_ros.training.policy import flow_loss
from vla_ros.training.vision import GRID

BATCH, SAMPLES = 3, 2
LENGTHS = (MAX_WORDS, 4, 7)  # real words of each sentence; the rest is padding


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return build_model().eval()


@pytest.fixture(scope='module')
def inputs(model) -> dict:
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(4, len(vocabulary()), (BATCH, MAX_WORDS), generator=generator)
    mask = torch.tensor([[i < n for i in range(MAX_WORDS)] for n in LENGTHS]).long()

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        'pixels': normal(BATCH, len(CAMERAS), 3, IMAGE_SIZE, IMAGE_SIZE).clamp(-1.0, 1.0),
        'words': words * mask + vocabulary()['<pad>'] * (1 - mask),
        'mask': mask,
        'state': normal(BATCH, STATE_DIM),
        'noisy': normal(BATCH, SAMPLES, HORIZON, ACTION_DIM),
        'time': torch.rand(BATCH, SAMPLES, generator=generator),
    }


def ours(model, x, samples=SAMPLES) -> torch.Tensor:
    tower = model.model.vlm.vision_tower
    features = tower(x['pixels'].flatten(0, 1)).last_hidden_state.view(BATCH, -1, 128)
    return FlowLoss(model, samples)(
        features, x['words'], x['mask'], x['state'], x['noisy'], x['time']
    )


def stock(model, x) -> torch.Tensor:
    """Return velocities (B, K, T, A) of the plain form."""
    images = torch.full((BATCH, len(CAMERAS) * GRID**2), vocabulary()['<image>'])
    ids = torch.cat((images, x['words']), dim=1)
    attention = torch.cat((torch.ones_like(images), x['mask']), dim=1)
    seen = torch.ones(BATCH, len(CAMERAS), dtype=torch.bool)
    return torch.stack(
        [
            model(
                state=x['state'], noise=x['noisy'][:, k], timestep=x['time'][:, k],
                input_ids=ids, pixel_values=x['pixels'], pixel_attention_mask=seen,
                attention_mask=attention,
            ).logits
            for k in range(x['noisy'].shape[1])
        ],
        dim=1,
    )  # fmt: skip


def test_velocities_equal_one_stock_call_for_each_sample(model, inputs):
    with torch.no_grad():
        found, expected = ours(model, inputs), stock(model, inputs)
    assert found.shape == (BATCH, SAMPLES, HORIZON, ACTION_DIM)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-5)


def test_gradients_equal_those_of_the_stock_calls(model, inputs):
    weight = torch.randn(inputs['noisy'].shape, generator=torch.Generator().manual_seed(2))
    gradients = []
    for form in (ours, stock):
        model.zero_grad(set_to_none=True)
        (form(model, inputs) * weight).sum().backward()
        gradients.append({
            name: p.grad.clone()
            for name, p in model.named_parameters()
            if p.grad is not None and p.grad.abs().max() > 0.0
        })  # fmt: skip
    found, expected = gradients
    assert set(found) == set(expected)
    assert any('vision_tower' in name for name in found)
    assert any('vlm.language_model' in name for name in found)
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():  # biases of keys have none but rounding
        error = (found[name] - gradient).norm()
        assert error < 1e-4 * gradient.norm() + 1e-6 * largest, name


def test_padding_changes_nothing(model, inputs):
    other = inputs | {'words': inputs['words'].where(inputs['mask'].bool(), torch.tensor(9))}
    with torch.no_grad():
        torch.testing.assert_close(ours(model, other), ours(model, inputs), rtol=0.0, atol=1e-6)


def test_samples_do_not_see_each_other(model, inputs):
    with torch.no_grad():
        before = ours(model, inputs)
        noisy, time = inputs['noisy'].clone(), inputs['time'].clone()
        noisy[:, 1] += 1.0
        time[:, 1] = 0.5 * time[:, 1]
        after = ours(model, inputs | {'noisy': noisy, 'time': time})
    torch.testing.assert_close(after[:, 0], before[:, 0], rtol=0.0, atol=1e-6)
    assert (after[:, 1] - before[:, 1]).abs().max() > 1e-3


def test_the_loss_is_the_stock_loss_for_the_same_noise(model, inputs):
    """Draw as flow_loss draws, then give the same noise and times to transformers."""
    actions = inputs['noisy'][:, 0]
    features = model.model.vlm.vision_tower(inputs['pixels'].flatten(0, 1)).last_hidden_state.view(
        BATCH, -1, 128
    )
    batch = {
        'features': features, 'words': inputs['words'], 'word_mask': inputs['mask'],
        'state': inputs['state'], 'actions': actions,
    }  # fmt: skip
    flow, kept = FlowLoss(model, SAMPLES), {}

    def record(**kwargs):
        kept.update(kwargs)
        return flow(**kwargs)

    torch.manual_seed(4)
    with torch.no_grad():
        found = flow_loss(record, flow, batch)['flow']
        time, noisy = kept['time'], kept['noisy']
        t = time[..., None, None]
        noise = (noisy - (1.0 - t) * actions[:, None]) / t
        velocity = stock(model, inputs | {'noisy': noisy, 'time': time})
    assert ((time > 0.0) & (time < 1.0)).all()
    expected = (velocity - (noise - actions[:, None])).square().mean()
    assert found.item() == pytest.approx(expected.item(), rel=0.02)  # bfloat16
