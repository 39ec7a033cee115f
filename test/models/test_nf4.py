"""Four-bit layers: packing and its inverse, levels by SciPy, runs by numpy, memory by torch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.stats import norm
import torch
from torch import nn

from vla_ros.models.nf4 import GROUP, LEVELS, Nf4Linear, pack, unpack
from vla_ros.models.quantised import Int8Linear, quantise

SHAPES = [(24, 64), (24, 40), (7, 9), (128, 192)]  # runs end with rows, across rows, in a rest


def oracle_levels() -> np.ndarray:
    """Return the levels as their paper describes them: means of neighbouring quantiles' places."""
    end = (1.0 - 1.0 / 32.0 + 1.0 - 1.0 / 30.0) / 2.0
    places = [end - (end - 0.5) * k / 8 for k in range(8)]
    others = [end - (end - 0.5) * k / 7 for k in range(7)]
    values = np.array([*norm.ppf(places), 0.0, *(-norm.ppf(others))])
    return np.sort(values) / values.max()


def oracle(weight: np.ndarray) -> np.ndarray:
    """Return rounded weights: each number alone looks for its nearest level."""
    flat, levels = weight.astype(np.float64).ravel(), oracle_levels()
    found = np.empty_like(flat)
    for start in range(0, len(flat), GROUP):
        run = flat[start : start + GROUP]
        scale = np.abs(run).max()
        values = scale * levels
        found[start : start + GROUP] = values[np.abs(run[:, None] - values).argmin(axis=1)]
    return found.reshape(weight.shape)


def layer(shape: tuple[int, int], seed: int = 0, bias: bool = True) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    made = nn.Linear(shape[1], shape[0], bias=bias).requires_grad_(False)
    made.weight.copy_(torch.randn(shape, generator=generator))
    made.weight *= torch.logspace(-3, 2, shape[0])[:, None]  # rows of very different size
    return made


@given(st.lists(st.integers(0, 15), min_size=2, max_size=64).filter(lambda x: len(x) % 2 == 0))
def test_packing_and_unpacking_are_inverse(numbers):
    codes = torch.tensor(numbers, dtype=torch.uint8)
    packed = pack(codes)
    assert packed.dtype == torch.uint8 and packed.shape == (len(numbers) // 2,)
    assert unpack(packed).tolist() == numbers


@given(st.binary(min_size=1, max_size=32))
def test_every_byte_is_two_numbers(data):
    packed = torch.tensor(list(data), dtype=torch.uint8)
    assert torch.equal(pack(unpack(packed)), packed)
    text = ''.join(f'{code:x}' for code in unpack(packed).tolist())
    assert text == data.hex()


def test_the_levels_are_quantiles_of_the_normal_distribution():
    np.testing.assert_allclose(LEVELS.numpy(), oracle_levels(), atol=2e-7)
    assert LEVELS[0] == -1.0 and LEVELS[7] == 0.0 and LEVELS[15] == 1.0


@pytest.mark.parametrize('shape', SHAPES)
def test_each_number_is_at_the_nearest_level_of_its_run(shape):
    plain = layer(shape)
    found = Nf4Linear(plain).weight.numpy()
    wanted = plain.weight.double().numpy()
    np.testing.assert_allclose(found, oracle(wanted), rtol=2e-6, atol=0.0)
    half = np.diff(oracle_levels()).max() / 2.0
    flat, gaps = wanted.ravel(), np.abs(found - wanted).ravel()
    for start in range(0, len(flat), GROUP):
        bound = half * np.abs(flat[start : start + GROUP]).max()
        assert gaps[start : start + GROUP].max() <= bound * (1.0 + 1e-6)


@given(st.lists(st.floats(-1024, 1024, width=32, allow_subnormal=False), min_size=1, max_size=150))
def test_whatever_the_numbers_the_largest_of_each_run_keeps_its_size(numbers):
    plain = nn.Linear(len(numbers), 1, bias=False).requires_grad_(False)
    plain.weight.copy_(torch.tensor([numbers]))
    found = Nf4Linear(plain).weight[0]
    for was, now in zip(plain.weight[0].split(GROUP), found.split(GROUP)):
        top = was.abs().max()
        assert (now - was).abs().max() <= 0.16 * top
        assert now.abs().max() == top  # -1 and 1 are levels


@pytest.mark.parametrize('bias', [True, False])
def test_the_output_is_that_of_the_rounded_weights(bias):
    plain = layer((24, 40), bias=bias)
    small = Nf4Linear(plain)
    x = torch.randn(5, 3, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = x.numpy() @ oracle(plain.weight.numpy()).T
    exact = exact + (plain.bias.numpy() if bias else 0.0)
    found = small(x.float())
    np.testing.assert_allclose(found.numpy(), exact, rtol=1e-4, atol=1e-4)


def test_the_type_of_the_activations_stays():
    exact = layer((24, 40)).bfloat16()
    small = Nf4Linear(exact)
    found = small(torch.randn(2, 40).bfloat16())
    assert found.dtype == torch.bfloat16 and small.weight.dtype == torch.bfloat16
    gap = (Nf4Linear(exact.float()).weight - small.weight.float()).abs()
    assert (gap <= 2**-8 * small.weight.float().abs()).all()  # the scale itself is not rounded


def test_gradients_pass_through_it():
    x = torch.randn(2, 40, requires_grad=True)
    small = Nf4Linear(layer((24, 40)))
    small(x).sum().backward()
    torch.testing.assert_close(x.grad, small.weight.sum(0).expand(2, -1))


def test_a_number_takes_four_and_a_half_bits_and_normal_ones_err_by_a_tenth():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Sequential(*(nn.Linear(512, 512).bfloat16() for _ in range(4))))
    count = 4 * 512 * 512
    told = quantise(network, ['0'], 'nf4')
    assert (told.kind, told.layers, told.bytes_before) == ('nf4', 4, 2 * count)
    assert told.bytes_after == 0.5625 * count
    memory = {b.data_ptr(): b.untyped_storage().nbytes() for b in network.buffers()}
    assert told.bytes_after < sum(memory.values()) < 1.01 * told.bytes_after
    assert sum(p.numel() for p in network.parameters()) == 4 * 512  # the biases
    normal = Nf4Linear(layer((256, 512)))
    plain = layer((256, 512)).weight
    error = float((normal.weight - plain).norm() / plain.norm())
    eight = float((Int8Linear(layer((256, 512))).weight - plain).norm() / plain.norm())
    assert 0.08 < error < 0.11 and eight < 0.01
