"""A letterbox of operations that a graph of the GPU takes in: from bytes of cameras to pixels.

Pillow and torch weigh bytes by whole numbers and round after each axis. The same whole numbers are
summed here, so that a network sees what `pictures.Letterbox`, the plain form, shows it. Pillow 13
begins with the columns of some pictures, tall ones for the most part: then by one level of 255.
Sources of the weights: Pillow's Resample.c, torch's UpSampleKernel.cpp.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from vla_ros.policies.pictures import Letterbox
from vla_ros.types import Array

REACH = {'pillow': 1.0, 'bicubic': 2.0}  # [px] of a kernel that enlarges
MOST_BITS = 22  # of a weight behind the point
SHORT = 1 << 15  # torch's weights have 16 bits with their sign


class Filter(NamedTuple):
    """Weighted sums along one axis, `new` of `old` pixels with K neighbours each."""

    places: Tensor  # (new, K)
    weights: Tensor  # (new, K) int32, of which 2^bits make 1
    bits: int

    def __call__(self, planes: Tensor) -> Tensor:
        """Return (..., new) of planes (..., old), whole numbers from 0 to 255 in int32."""
        sums = (planes[..., self.places] * self.weights).sum(dim=-1, dtype=torch.int32)
        return ((sums + (1 << (self.bits - 1))) >> self.bits).clamp(0, 255)


class DeviceLetterbox:
    """Makes pixels on the device where the pictures are."""

    def __init__(self, letterbox: Letterbox) -> None:
        """Do as another letterbox does."""
        self._box = letterbox
        # A captured graph reads them where they are, so they stay.
        self._filters: dict[tuple[int, int, torch.device], Filter] = {}

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return (n, 3, size, size) float32 of pictures (n, H, W, 3) uint8: 2 picture / 255 - 1.

        Raises:
            ConfigError: The pictures are so long that nothing of their short side would remain.
        """
        box = self._box
        (rows, columns), (top, left) = box.placed((pictures.shape[1], pictures.shape[2]))
        planes = pictures.permute(0, 3, 1, 2)
        if planes.shape[2:] == (rows, columns):
            inside = planes.float()
        elif box.kernel == 'bilinear':
            inside = interpolate(
                planes.float(), (rows, columns), mode='bilinear', align_corners=False
            )
        else:
            across = self._along(planes.int(), columns)
            inside = self._along(across.transpose(2, 3), rows).transpose(2, 3).float()
        right, below = box.size - left - columns, box.size - top - rows
        return pad(inside, (left, right, top, below), value=box.fill) / 127.5 - 1.0

    def _along(self, planes: Tensor, new: int) -> Tensor:
        """Return planes (..., new) of planes (..., old)."""
        old = planes.shape[-1]
        if old == new:
            return planes
        key = old, new, planes.device
        if key not in self._filters:
            self._filters[key] = _filter(self._box.kernel, *key)
        return self._filters[key](planes)


def _filter(kernel: str, old: int, new: int, device: torch.device) -> Filter:
    """Return the weights by which a library reduces or enlarges bytes."""
    scale = old / new
    wide = max(scale, 1.0)  # the kernel widens where it reduces
    centres = (np.arange(new) + 0.5) * scale
    reach = REACH[kernel] * wide
    first = np.maximum((centres - reach + 0.5).astype(int), 0)
    counts = np.minimum((centres + reach + 0.5).astype(int), old) - first
    steps = np.arange(counts.max())
    places = first[:, None] + steps
    shares = _kernel(kernel, np.abs(places - centres[:, None] + 0.5) * (1.0 / wide))
    shares[steps >= counts[:, None]] = 0.0
    shares /= np.cumsum(shares, axis=1)[:, -1:]  # summed one after the other, as they do
    bits = MOST_BITS if kernel == 'pillow' else _torch_bits(float(shares.max()))
    whole = np.copysign(np.floor(np.abs(shares) * (1 << bits) + 0.5), shares)
    return Filter(
        torch.from_numpy(np.minimum(places, old - 1)).to(device),
        torch.from_numpy(whole.astype(np.int32)).to(device),
        bits,
    )


def _kernel(kernel: str, x: Array) -> Array:
    """Return a kernel at distances x >= 0: a triangle, or Keys' cubic with a = -1/2."""
    if kernel == 'pillow':
        return np.maximum(1.0 - x, 0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((2.5 - 0.5 * x) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _torch_bits(largest: float) -> int:
    """Return with how many bits behind the point the largest weight is still a short number."""
    bits = 0
    while bits < MOST_BITS and int(largest * (1 << (bits + 1)) + 0.5) < SHORT:
        bits += 1
    return bits
