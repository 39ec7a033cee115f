"""Statistics of a data set's columns: of an episode, and of several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vla_ros.types import Array, Image

Stats = Mapping[str, Array]  # min, max, mean, std, count, q01 ... q99 -> one value a dimension

QUANTILES = {'q01': 0.01, 'q10': 0.10, 'q50': 0.50, 'q90': 0.90, 'q99': 0.99}
LEAST, MOST, POWER = 100, 10_000, 0.75  # of pictures of an episode that are looked at
LARGE, SMALL = 300, 150  # [px] pictures with a side of this or more are thinned to about that


def column_stats(values: NDArray) -> dict[str, Array]:
    """Return the statistics of rows (K,) or (K, n), each (n,)."""
    rows = np.asarray(values, dtype=np.float64).reshape(len(values), -1)
    return {
        'min': rows.min(0),
        'max': rows.max(0),
        'mean': rows.mean(0),
        'std': rows.std(0),
        'count': np.array([len(rows)]),
        **{name: np.quantile(rows, q, axis=0) for name, q in QUANTILES.items()},
    }


def sampled(count: int) -> NDArray[np.intp]:
    """Return which pictures of an episode are looked at, as LeRobot chooses them."""
    number = max(min(LEAST, count), min(int(count**POWER), MOST))
    return np.round(np.linspace(0, count - 1, number)).astype(np.intp)


class PictureStats:
    """Statistics of an episode's pictures, a channel each, in [0, 1].

    A picture is bytes, so 256 counts a channel hold all that mean, deviation and quantiles need.
    """

    def __init__(self, count: int) -> None:
        """Begin an episode of `count` pictures."""
        indices, times = np.unique(sampled(count), return_counts=True)
        self._wanted = dict(zip(indices.tolist(), times.tolist()))
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self._pictures = 0

    def add(self, index: int, image: Image) -> None:
        """Look at picture `index` (H, W, 3), if it is one of those that count."""
        for _ in range(self._wanted.get(index, 0)):
            small = thinned(image)
            for channel in range(3):
                self._counts[channel] += np.bincount(small[..., channel].ravel(), minlength=256)
            self._pictures += 1

    def result(self) -> dict[str, Array]:
        """Return the statistics, each (3, 1, 1)."""
        levels = np.arange(256) / 255.0
        total = self._counts.sum(1)
        mean = self._counts @ levels / total
        spread = (levels[None] - mean[:, None]) ** 2
        ends = [np.flatnonzero(row)[[0, -1]] / 255.0 for row in self._counts]
        found = {
            'min': np.array([low for low, _ in ends]),
            'max': np.array([high for _, high in ends]),
            'mean': mean,
            'std': np.sqrt((self._counts * spread).sum(1) / total),
            **{
                name: np.array([_quantile(row, q) / 255.0 for row in self._counts])
                for name, q in QUANTILES.items()
            },
        }
        shaped = {name: value.reshape(3, 1, 1) for name, value in found.items()}
        return {**shaped, 'count': np.array([self._pictures])}


def thinned(image: Image) -> Image:
    """Return a large picture with every so many-th row and column only, as LeRobot does."""
    height, width = image.shape[:2]
    if max(height, width) < LARGE:
        return image
    step = (width if width > height else height) // SMALL
    return image[::step, ::step]


def _quantile(counts: NDArray[np.int64], q: float) -> float:
    """Return what np.quantile gives for values counted by their level."""
    ends = np.cumsum(counts)
    place = q * (ends[-1] - 1)
    below = int(np.floor(place))
    low, high = np.searchsorted(ends, [below, min(below + 1, ends[-1] - 1)], side='right')
    return float(low + (high - low) * (place - below))


def pooled(parts: Sequence[Stats]) -> dict[str, Array]:
    """Return the statistics of several episodes together.

    Mean and deviation are those of all rows. Quantiles cannot be had from quantiles: as in
    LeRobot, the lowest of the low ones and the highest of the high ones, so that they enclose.
    """
    counts = np.array([part['count'][0] for part in parts], dtype=np.float64)
    share = counts / counts.sum()
    mean = _weighted(share, [part['mean'] for part in parts])
    spread = [part['std'] ** 2 + (part['mean'] - mean) ** 2 for part in parts]
    found = {
        'min': np.min([part['min'] for part in parts], axis=0),
        'max': np.max([part['max'] for part in parts], axis=0),
        'mean': mean,
        'std': np.sqrt(_weighted(share, spread)),
        'count': np.array([int(counts.sum())]),
    }
    for name, q in QUANTILES.items():
        if not all(name in part for part in parts):
            continue  # data sets of 2025 have none
        choose = np.min if q <= 0.5 else np.max
        found[name] = choose([part[name] for part in parts], axis=0)
    return found


def _weighted(share: Array, values: Sequence[Array]) -> Array:
    return np.tensordot(share, np.stack(values), axes=1)
