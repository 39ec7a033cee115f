"""Linear layers of a network exchanged for ones whose weights are rounded, to 8 or 4 bits.

In 8 bits W is about s q, with s = max |W| / m of each row (absmax). Of int8 q is a whole number up
to m = 127; of fp8 a float of 4 bits of exponent and 3 of mantissa (E4M3) up to m = 448, finer for
small weights and coarser for large ones. It is turned back on the fly, so that activations keep
their precision. Memory falls to half of bfloat16.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn.functional import linear

from vla_ros.models.nf4 import Nf4Linear


@dataclass(frozen=True)
class Rounding:
    """What the rounding of a network did."""

    kind: str  # of KINDS
    layers: int
    error: float  # largest |W - rounded W| / |W| of a layer, Frobenius norms
    bytes_before: int  # of the rounded layers' weights
    bytes_after: int

    def __str__(self) -> str:
        return (
            f'{self.layers} layers in {self.kind}, {self.bytes_after / 1e6:.1f} MB instead of '
            f'{self.bytes_before / 1e6:.1f} MB, relative error of their weights at most '
            f'{100.0 * self.error:.2f} %'
        )


class RowLinear(nn.Module):
    """y = (x q^T) s + b for x (..., in), q (out, in), s and b (out,)."""

    largest: float  # m, of |q|
    kind: torch.dtype  # of q

    def __init__(self, layer: nn.Linear) -> None:
        """Round the weights of a layer."""
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(dim=1) / self.largest
        scale = torch.where(scale > 0.0, scale, 1.0)  # a row of zeros
        q = weight / scale[:, None]
        self.register_buffer('q', (q if self.kind.is_floating_point else q.round()).to(self.kind))
        self.register_buffer('scale', scale)  # float32: bfloat16 would be as coarse as q
        self.bias = layer.bias
        self._dtype = layer.weight.dtype

    @property
    def weight(self) -> Tensor:
        """Return s q (out, in) in the type of the layer."""
        return (self.q.float() * self.scale[:, None]).to(self._dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., out) in the type of x."""
        y = (linear(x, self.q.to(x.dtype)) * self.scale).to(x.dtype)
        return y if self.bias is None else y + self.bias


class Int8Linear(RowLinear):
    """Weights of 8 bits, evenly spaced."""

    largest, kind = 127.0, torch.int8


class Fp8Linear(RowLinear):
    """Weights of 8 bits, E4M3."""

    largest, kind = 448.0, torch.float8_e4m3fn


KINDS: dict[str, type[RowLinear | Nf4Linear]] = {
    'int8': Int8Linear,
    'fp8': Fp8Linear,
    'nf4': Nf4Linear,
}


def quantise(network: nn.Module, parts: Collection[str], kind: str) -> Rounding:
    """Round the linear layers of a network in place and say what that costs.

    Args:
        network: To be run, not trained.
        parts: Names of the modules within which layers are rounded; small ones outside, which
            touch states and actions, are better left alone.
        kind: Of KINDS.
    """
    layers, error, before, after = 0, 0.0, 0, 0
    for part in parts:
        for parent in list(network.get_submodule(part).modules()):
            for name, layer in list(parent.named_children()):
                if type(layer) is not nn.Linear:
                    continue
                small = KINDS[kind](layer)
                weight = layer.weight.detach().float()
                gap = (small.weight.float() - weight).norm() / weight.norm().clamp(min=1e-30)
                error = max(error, float(gap))
                before += layer.weight.nbytes
                after += small.q.nbytes + small.scale.nbytes  # the rest is shared or the layer's
                layers += 1
                setattr(parent, name, small)
    return Rounding(kind, layers, error, before, after)
