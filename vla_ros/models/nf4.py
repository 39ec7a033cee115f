"""Weights of 4 bits: each run of 64 is rounded to 16 levels of a normal distribution, NF4.

Source: Dettmers et al. 2023 (arXiv 2305.14314). Trained weights are about normal, so levels that
are its quantiles are used about equally often. W is about s c with c of LEVELS and s = max |W| of
each run (absmax): 4.5 bits a number. It is turned back on the fly, so that activations keep their
precision.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import nn, Tensor
from torch.nn.functional import embedding, linear, pad

GROUP = 64  # numbers that share a scale


def normal_levels() -> Tensor:
    """Return the 16 levels (16,) in [-1, 1], ascending: quantiles, 0 and the ends among them."""
    end = 0.5 * (31 / 32 + 29 / 30)  # the outermost quantile: half a step before 1
    above = torch.special.ndtri(torch.linspace(0.5, end, 9, dtype=torch.float64))  # with 0
    below = -torch.special.ndtri(torch.linspace(0.5, end, 8, dtype=torch.float64))[1:]
    return (torch.cat((below.flip(0), above)) / above[-1]).float()


LEVELS = normal_levels()


def pack(codes: Tensor) -> Tensor:
    """Return two numbers of 0..15 in each byte, (..., n) to (..., n / 2), the first one high."""
    return codes[..., ::2] << 4 | codes[..., 1::2]


def unpack(packed: Tensor) -> Tensor:
    """Return the numbers of 0..15 that `pack` took, (..., n / 2) to (..., n)."""
    return torch.stack((packed >> 4, packed & 15), dim=-1).flatten(-2)


@lru_cache
def pairs(device: torch.device) -> Tensor:
    """Return both levels of every byte (256, 2), so that one look-up serves two numbers."""
    return LEVELS[unpack(torch.arange(256)[:, None])].to(device)


class Nf4Linear(nn.Module):
    """y = x W^T + b for x (..., in), W = s c (out, in) in G runs along its rows, b (out,)."""

    def __init__(self, layer: nn.Linear) -> None:
        """Round the weights of a layer."""
        super().__init__()
        flat = layer.weight.detach().float().flatten()
        runs = pad(flat, (0, -len(flat) % GROUP)).view(-1, GROUP)
        scale = runs.abs().amax(dim=1)
        unit = runs / torch.where(scale > 0.0, scale, 1.0)[:, None]  # a run of zeros
        levels = LEVELS.to(flat.device)
        codes = torch.bucketize(unit, 0.5 * (levels[1:] + levels[:-1]))  # the nearest level
        self.register_buffer('q', pack(codes.to(torch.uint8)))  # (G, 32)
        self.register_buffer('scale', scale)  # (G,)
        self.register_buffer('levels', pairs(flat.device), persistent=False)
        self.bias = layer.bias
        self._dtype, self._shape = layer.weight.dtype, layer.weight.shape

    @property
    def weight(self) -> Tensor:
        """Return s c (out, in) in the type of the layer."""
        runs = embedding(self.q.int(), self.levels).flatten(1) * self.scale[:, None]
        return runs.flatten()[: self._shape.numel()].view(self._shape).to(self._dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., out) in the type of x."""
        y = linear(x, self.weight.to(x.dtype))
        return y if self.bias is None else y + self.bias
