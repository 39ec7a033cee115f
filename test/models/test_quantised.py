"""Eight-bit layers against the bound of their rounding and against the layers they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vla_ros.models.quantised import Fp8Linear, Int8Linear, quantise


@torch.no_grad()
def layer(seed: int = 0, bias: bool = True) -> nn.Linear:
    torch.manual_seed(seed)
    made = nn.Linear(40, 24, bias=bias).requires_grad_(False)
    made.weight *= torch.logspace(-3, 2, 24)[:, None]  # rows of very different size
    return made


@pytest.mark.parametrize('bias', [True, False])
def test_no_output_is_further_off_than_half_a_step_of_its_row(bias):
    plain = layer(bias=bias)
    small = Int8Linear(plain)
    x = torch.randn(5, 3, 40, generator=torch.Generator().manual_seed(1))
    step = plain.weight.abs().amax(1) / 127.0
    bound = 0.5 * step * x.abs().sum(-1, keepdim=True)
    gap = (small(x) - plain(x)).abs()
    assert (gap <= bound * 1.001 + 1e-5 * plain(x).abs()).all()
    assert (gap > 0.01 * bound).any()  # it is rounded
    assert small.q.dtype == torch.int8 and small.q.shape == plain.weight.shape
    bare = small(x)[0, 0] - (plain.bias if bias else 0.0)
    torch.testing.assert_close(small.weight @ x[0, 0], bare)


def test_what_is_a_multiple_of_the_scale_stays_exact():
    plain = nn.Linear(4, 2, bias=False)
    plain.weight.data = torch.tensor([[127.0, -64.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]) / 8.0
    x = torch.tensor([1.0, 2.0, -3.0, 4.0])
    assert torch.equal(Int8Linear(plain)(x), plain(x))


@pytest.mark.parametrize('bias', [True, False])
def test_floats_of_eight_bits_are_off_by_half_a_step_of_their_own_size(bias):
    """E4M3 has 3 bits behind the first one, down to 2^-6, below which steps stay at 2^-9."""
    plain = layer(bias=bias)
    small = Fp8Linear(plain)
    scale = plain.weight.abs().amax(1, keepdim=True) / 448.0
    unit = plain.weight / scale
    step = 2.0 ** (torch.floor(torch.log2(unit.abs().clamp(min=2**-6))) - 3)
    gap = (small.weight / scale - unit).abs()
    assert (gap <= 0.5 * step * (1.0 + 1e-4)).all() and (gap > 0.25 * step).any()
    assert small.q.dtype == torch.float8_e4m3fn and small.q.element_size() == 1
    x = torch.randn(5, 3, 40, generator=torch.Generator().manual_seed(1))
    added = plain.bias if bias else 0.0
    torch.testing.assert_close(small(x), x @ small.weight.t() + added, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('kind', [Int8Linear, Fp8Linear])
def test_the_type_of_the_activations_stays(kind):
    small = kind(layer().bfloat16())
    found = small(torch.randn(2, 40).bfloat16())
    assert found.dtype == torch.bfloat16 and small.weight.dtype == torch.bfloat16
    exact = layer().bfloat16().float()
    gap = (kind(exact).weight - small.weight.float()).abs()
    assert (gap <= 2**-8 * small.weight.float().abs()).all()  # the scale itself is not rounded


def test_gradients_pass_through_it():
    x = torch.randn(2, 40, requires_grad=True)
    small = Int8Linear(layer())
    small(x).sum().backward()
    torch.testing.assert_close(x.grad, small.weight.sum(0).expand(2, -1))


def test_only_the_named_parts_are_rounded_and_the_cost_is_told():
    network = nn.ModuleDict(
        {
            'body': nn.Sequential(
                layer(0), nn.ReLU(), nn.Sequential(nn.Linear(24, 8, bias=False))
            ),
            'head': nn.Linear(8, 2),
        }
    )
    weights = [network['body'][0].weight, network['body'][2][0].weight]
    told = quantise(network, ['body'], 'int8')
    kinds = [type(m) for m in network.modules() if isinstance(m, (nn.Linear, Int8Linear))]
    assert kinds == [Int8Linear, Int8Linear, nn.Linear]
    after = [network['body'][0].weight, network['body'][2][0].weight]
    errors = [float((b - a).detach().norm() / a.detach().norm()) for a, b in zip(weights, after)]
    assert told.error == pytest.approx(max(errors)) and 1e-4 < told.error < 0.01
    assert (told.layers, told.bytes_before) == (2, 4 * (24 * 40 + 8 * 24))
    assert told.bytes_after == 24 * 40 + 8 * 24 + 4 * (24 + 8)
    assert str(told).startswith('2 layers in int8, 0.0 MB instead of 0.0 MB, relative error')
