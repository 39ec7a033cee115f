"""A stage that is stopped and taken up again ends where an unbroken one ends."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
import time

import pytest
import torch
from torch import nn

from vla_ros.training import loop
from vla_ros.training.loop import on_device, Stage

STEPS = 12
NEVER = float('inf')


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def batches(start: int):
    """Yield the batch of every step from `start`: the same one for the same step."""
    for step in count(start):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        yield x, x.sum(1, keepdim=True)


def losses(module):
    def of(batch):
        x, y = batch
        gap = module(x) - y
        return {'square': gap.square().mean(), 'size': 0.01 * module[0].weight.square().sum()}

    return of


class Pulled(Exception):
    """The plug, pulled in the middle of a run."""


def train(folder, slices, steps=STEPS):
    """Train in slices of so many steps; return the last stage."""
    for length in slices:
        module = network()
        stage = Stage('toy', module, folder, steps, 0.05)
        end = stage.step + length

        def report(stage, end=end):
            if stage.step == end:
                stage.save()
                raise Pulled

        with suppress(Pulled):
            stage.run(batches(stage.step), losses(module), NEVER, report)
    return stage


def state(stage) -> tuple:
    return stage.module.state_dict(), stage._optimizer.state_dict()['state']


@pytest.mark.parametrize('slices', [(1, 11), (5, 5, 5), (4, 4, 4, 4)])
def test_pieces_make_the_same_whole(tmp_path, slices):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').mkdir()
    whole, pieces = train(tmp_path / 'a', [99]), train(tmp_path / 'b', slices)
    assert whole.done
    assert pieces.done
    assert whole.step == pieces.step == STEPS
    assert pieces.losses == pytest.approx(whole.losses)
    (weights, moments), (again, moments_again) = state(whole), state(pieces)
    for name, weight in weights.items():
        torch.testing.assert_close(again[name], weight, rtol=0.0, atol=0.0)
    for index, entry in moments.items():
        for name, value in entry.items():
            torch.testing.assert_close(moments_again[index][name], value, rtol=0.0, atol=0.0)


def test_training_lowers_the_loss(tmp_path):
    stage = train(tmp_path, [1])
    first = stage.losses['square']
    stage = train(tmp_path, [300], steps=300)
    assert stage.losses['square'] < 0.3 * first


def test_a_finished_stage_does_nothing_more(tmp_path):
    before = {k: v.clone() for k, v in state(train(tmp_path, [99]))[0].items()}
    stage = train(tmp_path, [99])
    assert stage.step == STEPS
    for name, weight in state(stage)[0].items():
        assert torch.equal(weight, before[name])


def test_a_deadline_stops_and_saves(tmp_path):
    module = network()
    stage = Stage('toy', module, tmp_path, 10**9, 0.05)
    start = time.monotonic()
    stage.run(batches(0), losses(module), start + 0.3, lambda stage: None)
    assert 0.2 < time.monotonic() - start < 5.0
    again = Stage('toy', network(), tmp_path, 10**9, 0.05)
    assert again.step == stage.step > 0
    assert again.seconds == pytest.approx(stage.seconds)
    assert 0.2 < again.seconds < 5.0


def test_seconds_add_up_over_runs(tmp_path):
    first = train(tmp_path, [5]).seconds
    assert train(tmp_path, [5]).seconds > first > 0.0


def test_a_write_that_breaks_leaves_the_last_whole_state(tmp_path, monkeypatch):
    stage = train(tmp_path, [5])

    def half(saved, path):
        path.write_bytes(b'half a file')
        raise OSError('disk full')

    monkeypatch.setattr(loop.torch, 'save', half)
    stage.step = 6
    with pytest.raises(OSError, match='disk full'):
        stage.save()
    assert Stage('toy', network(), tmp_path, STEPS, 0.05).step == 5


def test_frozen_parameters_stay(tmp_path):
    module = network()
    module[0].requires_grad_(False)
    before = module[0].weight.clone()
    stage = Stage('toy', module, tmp_path, 3, 0.05)
    other = module[2].weight.clone()
    stage.run(
        batches(0), lambda b: {'square': (module(b[0]) - b[1]).square().mean()}, NEVER,
        lambda stage: None,
    )  # fmt: skip
    assert torch.equal(module[0].weight, before)
    assert not torch.equal(module[2].weight, other)


def test_the_rate_rises_then_falls_and_never_ends_at_zero(tmp_path):
    stage = Stage('toy', network(), tmp_path, 1000, 0.1)
    rates = []
    for stage.step in range(1000):
        rates.append(stage._rate())
    peak = max(range(1000), key=rates.__getitem__)
    assert loop.WARM_UP - 2 <= peak <= loop.WARM_UP + 1
    assert 0.09 < rates[peak] <= 0.1
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[0] == pytest.approx(0.1 / loop.WARM_UP)
    assert rates[-1] == pytest.approx(0.002)


def test_nested_values_go_to_a_device_as_they_are():
    value = (torch.ones(2), {'a': torch.zeros(1), 'b': (torch.ones(1),)})
    moved = on_device(value, 'meta')
    assert moved[0].device.type == moved[1]['a'].device.type == 'meta'
    assert moved[1]['b'][0].device.type == 'meta'
