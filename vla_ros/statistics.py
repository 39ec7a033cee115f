"""Normalisation statistics: between physical units and the numbers that a network sees."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Protocol

import numpy as np

from vla_ros.errors import CheckpointError, ShapeError
from vla_ros.types import Array, frozen


class Statistics(Protocol):
    """Maps vectors x (..., A); where there is one row for each step, x is (..., T, A)."""

    @property
    def width(self) -> int:
        """How many dimensions the vectors have, A."""

    def normalize(self, x: Array) -> Array:
        """Return what the network sees."""

    def denormalize(self, x: Array) -> Array:
        """Return physical values, undoing `normalize`."""

    def first(self, steps: int) -> Statistics:
        """Return the statistics of a chunk's first steps; the same where all steps share them."""


@dataclass(frozen=True)
class MeanStd:
    """(x - mean) / (std + epsilon)."""

    mean: Array  # (A,), or (T, A) where each step of the horizon has statistics of its own
    std: Array  # like mean
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        _freeze(self, 'mean', 'std')
        if not (self.std >= 0.0).all() or not (self.std + self.epsilon > 0.0).all():
            raise CheckpointError('normalisation statistics must be finite with std > 0.')

    @property
    def width(self) -> int:
        """How many dimensions the vectors have, A."""
        return self.mean.shape[-1]

    def normalize(self, x: Array) -> Array:
        """Return (x - mean) / (std + epsilon)."""
        return (x - self.mean) / (self.std + self.epsilon)

    def denormalize(self, x: Array) -> Array:
        """Return x (std + epsilon) + mean."""
        return x * (self.std + self.epsilon) + self.mean

    def first(self, steps: int) -> MeanStd:
        """Return the statistics of a chunk's first steps."""
        if self.mean.ndim == 1:
            return self
        return MeanStd(self.mean[:steps], self.std[:steps], self.epsilon)


@dataclass(frozen=True)
class Bounds:
    """2 (x - low) / (high - low + epsilon) - 1 where the mask holds, x elsewhere.

    Low and high are the 1st and 99th percentile or the extremes. A dimension that never changed
    (high = low, epsilon 0) becomes 0, as in the training of OpenVLA.
    """

    low: Array  # (A,), or (T, A) where each step of the horizon has statistics of its own
    high: Array  # like low
    mask: tuple[bool, ...] | None = None  # (A,) which dimensions are mapped; None: all
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        _freeze(self, 'low', 'high')
        if not (self.high >= self.low).all() or not self.epsilon >= 0.0:
            raise CheckpointError('normalisation bounds must be finite with low <= high.')
        if self.mask is not None:
            object.__setattr__(self, 'mask', tuple(bool(m) for m in self.mask))
            if len(self.mask) != self.width:
                raise ShapeError(f'Bounds.mask has {len(self.mask)} entries, not {self.width}.')

    @property
    def width(self) -> int:
        """How many dimensions the vectors have, A."""
        return self.low.shape[-1]

    @property
    def _span(self) -> Array:
        return self.high - self.low + self.epsilon

    def normalize(self, x: Array) -> Array:
        """Return 2 (x - low) / (high - low + epsilon) - 1 where the mask holds, x elsewhere."""
        span = self._span
        mapped = 2.0 * (x - self.low) / np.where(span > 0.0, span, 1.0) - 1.0
        return self._masked(np.where(span > 0.0, mapped, 0.0), x)

    def denormalize(self, x: Array) -> Array:
        """Return (x + 1) (high - low + epsilon) / 2 + low where the mask holds, x elsewhere."""
        return self._masked(0.5 * (x + 1.0) * self._span + self.low, x)

    def first(self, steps: int) -> Bounds:
        """Return the statistics of a chunk's first steps."""
        if self.low.ndim == 1:
            return self
        return Bounds(self.low[:steps], self.high[:steps], self.mask, self.epsilon)

    def _masked(self, mapped: Array, x: Array) -> Array:
        return mapped if self.mask is None else np.where(self.mask, mapped, x)


@dataclass(frozen=True)
class Identity:
    """x: the network sees physical values."""

    size: int  # A

    @property
    def width(self) -> int:
        """How many dimensions the vectors have, A."""
        return self.size

    def normalize(self, x: Array) -> Array:
        """Return x."""
        return x

    def denormalize(self, x: Array) -> Array:
        """Return x."""
        return x

    def first(self, steps: int) -> Identity:
        """Return the statistics of a chunk's first steps: these."""
        del steps
        return self


def load_norm_stats(path: Path) -> dict[str, MeanStd]:
    """Read `norm_stats.json`: {'norm_stats': {'state': {mean, std}, 'actions': {...}}}.

    Raises:
        CheckpointError: The file is missing, damaged or lacks a key.
    """
    try:
        table = json.loads(Path(path).read_text(encoding='utf-8'))['norm_stats']
        entries = {key: table[key] for key in ('state', 'actions')}
        return {key: MeanStd(entry['mean'], entry['std']) for key, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, ShapeError, CheckpointError) as error:
        raise CheckpointError(
            f'{path} does not hold normalisation statistics ({error!r}); expected '
            "{'norm_stats': {'state': {'mean', 'std'}, 'actions': {...}}}."
        ) from error


def _freeze(stats: MeanStd | Bounds, first: str, second: str) -> None:
    """Make two fields read-only arrays of one shape, (A,) or (T, A), and finite."""
    kind, value = type(stats).__name__, getattr(stats, first)
    axes = (None,) * max(1, np.ndim(value))
    array = frozen(value, axes, f'{kind}.{first}')
    other = frozen(getattr(stats, second), array.shape, f'{kind}.{second}')
    if array.ndim > 2:
        raise ShapeError(f'{kind}.{first} has shape {array.shape}, expected (A,) or (T, A).')
    if not np.isfinite([array, other]).all():
        raise CheckpointError(f'normalisation statistics must be finite: {first} and {second}.')
    object.__setattr__(stats, first, array)
    object.__setattr__(stats, second, other)
