"""pi0.5's velocity against the second writing of it, finite differences and counts of calls."""

from __future__ import annotations

from pathlib import Path

from pi_layout import SIZES, weights
from pi_reference import double, prefix
from pi_reference import velocity as second
import pytest
import torch
from torch import Tensor

from vla_ros.actions.schedules import prefix_weights
from vla_ros.models.block import Block
from vla_ros.models.guidance import PrefixGuidance, TrainedPrefix
from vla_ros.models.pi05 import Pi05, Pi05Config, Pi05Engine, Pi05Expert
from vla_ros.models.pi_weights import gemma_config, paligemma_config, standard_names
from vla_ros.models.sampler import sample
from vla_ros.models.velocity import Encoded
from vla_ros.policies.loading import load

pytestmark = pytest.mark.usefixtures('one_thread')

T, A = SIZES.horizon, SIZES.dimensions
WORDS = [2, 40, 41, 42, 50, 99]


def build(dtype: torch.dtype = torch.float32) -> Pi05:
    tensors = standard_names(weights('pi05'))
    del tensors['lm_head.weight']
    config = Pi05Config(paligemma_config(tensors), gemma_config(tensors, 'expert.'))
    return load(lambda: Pi05(config), tensors, Path('case'), dtype=dtype)


def pictures() -> Tensor:
    rng = torch.Generator().manual_seed(5)
    return 2.0 * torch.rand(2, 3, SIZES.image, SIZES.image, generator=rng) - 1.0


def noise(count: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(count, T, A, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def model() -> Pi05:
    return build()


@pytest.fixture(scope='module')
def flow(model) -> Encoded:
    return Pi05Engine(model, T).encode(pictures(), torch.tensor(WORDS))


@pytest.fixture(scope='module')
def before():
    return prefix(double(weights('pi05')), pictures(), WORDS)


@pytest.mark.parametrize('time', [1.0, 0.7, 0.1, 0.0])
def test_the_velocity_is_that_of_the_second_writing(flow, before, time):
    x = noise(2)
    found = flow(x, torch.full((2,), time))
    for k in range(2):
        times = torch.full((T,), time, dtype=torch.float32).double()
        want = second('pi05', double(weights('pi05')), before, None, x[k].double(), times)
        torch.testing.assert_close(found[k].double(), want, rtol=0.0, atol=1e-5)


def test_each_step_may_have_its_own_time(flow, before):
    x = noise()
    times = torch.linspace(0.0, 1.0, T)[None]
    want = second('pi05', double(weights('pi05')), before, None, x[0].double(), times[0].double())
    torch.testing.assert_close(flow(x, times)[0].double(), want, rtol=0.0, atol=1e-5)
    one, each = torch.tensor([0.4]), torch.full((1, T), 0.4)
    assert torch.equal(flow(x, one), flow(x, each))


@pytest.mark.parametrize('padding', [1, 9])
def test_padded_words_are_seen_by_nobody(model, flow, padding):
    words = torch.tensor(WORDS + [77] * padding)
    bucket = Pi05Engine(model, T).encode(pictures(), words, length=torch.tensor(len(WORDS)))
    found, want = (sample(f, noise(2), 5) for f in (bucket, flow))
    torch.testing.assert_close(found, want, rtol=0.0, atol=1e-5)
    told = Pi05Engine(model, T).encode(pictures(), words)
    assert (sample(told, noise(2), 5) - want).abs().max() > 1e-4  # they would matter


def test_samples_of_a_batch_may_have_their_own_times(flow):
    x, times = noise(2), torch.tensor([0.3, 0.9])
    together = flow(x, times)
    alone = torch.cat([flow(x[k : k + 1], times[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(together, alone, rtol=0.0, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    engine = Pi05Engine(build(torch.float64), T)
    flow = engine.encode(pictures().double(), torch.tensor(WORDS))
    x, t = noise().double(), 0.6
    time = torch.tensor([t], dtype=torch.float64)
    rows = torch.tensor(prefix_weights(T, 2, 4, 'exp'))
    target = 0.5 * noise(seed=2)[0, :4].double()
    found = PrefixGuidance(target, rows, 5.0, exact=True).velocity(flow, x, t)

    def f(y):
        return y - t * flow(y, time)

    error = torch.zeros(T, A, dtype=torch.float64)
    error[:4] = (target - f(x)[0, :4]) * rows[:4, None]
    w = 0.6 / 0.4 * (0.4**2 + 0.6**2) / 0.6**2
    pull = (flow(x, time) - found)[0] / w
    rng = torch.Generator().manual_seed(3)
    for _ in range(12):  # directions h: e . (J h) = (J^T e) . h
        h = torch.randn(T, A, generator=rng, dtype=torch.float64)
        slope = (f(x + 1e-6 * h) - f(x - 1e-6 * h))[0] / 2e-6
        torch.testing.assert_close((error * slope).sum(), (pull * h).sum(), rtol=0.0, atol=1e-5)
    assert (pull - error).abs().max() > 1e-2  # the Jacobian is not the identity


@pytest.mark.parametrize('guide', ['free', 'identity', 'exact', 'trained'])
def test_the_prefix_is_encoded_once_and_a_time_once(guide, monkeypatch):
    blocks, times = [], []
    plain, embedded = Block.__call__, Pi05Expert.embedded
    monkeypatch.setattr(
        Block, '__call__', lambda b, x, *rest: (blocks.append(len(x)), plain(b, x, *rest))[1]
    )
    monkeypatch.setattr(Pi05Expert, 'embedded', lambda e, t: (times.append(t), embedded(e, t))[1])
    engine = Pi05Engine(build(), T)
    known = 0.5 * noise(seed=2)[0, :2]
    rows = torch.tensor(prefix_weights(T, 1, 2, 'exp'), dtype=torch.float32)
    guides = {
        'free': None,
        'identity': PrefixGuidance(known, rows, 5.0, exact=False),
        'exact': PrefixGuidance(known, rows, 5.0, exact=True),
        'trained': TrainedPrefix(known),
    }
    for _ in range(2):
        flow = engine.encode(pictures(), torch.tensor(WORDS))
        found = sample(flow, noise(2), 5, guides[guide])
    assert torch.isfinite(found).all()
    prefix = [2 * 4 + len(WORDS)] * (SIZES.layers - 1)
    assert blocks == 2 * (prefix + [2 * T] * SIZES.layers * 5)
    assert len(times) == 5 + (guide == 'trained')  # t = 0 of the prefix
    rooms = [part for rooms in flow._rooms.values() for room in rooms for part in room]
    assert not any(part.requires_grad for part in rooms)


def test_a_trained_prefix_comes_back_and_acts_on_the_rest(flow):
    known = 0.5 * noise(seed=2)[0, :2]
    found = sample(flow, noise(2), 5, TrainedPrefix(known))
    assert torch.equal(found[:, :2], known.expand(2, -1, -1))
    other = sample(flow, noise(2), 5, TrainedPrefix(-known))
    assert (found - other)[:, 2:].abs().max() > 1e-2
