"""Linear layers of a network exchanged for ones whose weights are rounded, to 8 or 4 bits.

In 8 bits W is about s q with q in -127..127 and s = max |W| / 127 of each row (absmax); it is
turned back on the fly, so that activations keep their precision. Memory falls to half of bfloat16.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn.functional import linear

from vla_ros.models.nf4 import Nf4Linear

LEVELS = 127


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


class Int8Linear(nn.Module):
    """y = (x q^T) s + b for x (..., in), q (out, in), s and b (out,)."""

    def __init__(self, layer: nn.Linear) -> None:
        """Round the weights of a layer."""
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(dim=1) / LEVELS
        scale = torch.where(scale > 0.0, scale, 1.0)  # a row of zeros
        self.register_buffer('q', (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer('scale', scale)  # float32: bfloat16 would be as coarse as q
        self.bias = layer.bias
        self._dtype = layer.weight.dtype

    @property
    def weight(self) -> Tensor:
        """Return s q (out, in) in the type of the layer."""
        return (self.q * self.scale[:, None]).to(self._dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., out) in the type of x."""
        y = (linear(x, self.q.to(x.dtype)) * self.scale).to(x.dtype)
        return y if self.bias is None else y + self.bias


KINDS: dict[str, type[Int8Linear | Nf4Linear]] = {'int8': Int8Linear, 'nf4': Nf4Linear}


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
