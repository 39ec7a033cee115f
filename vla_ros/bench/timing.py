"""Timing: microseconds of every cycle, and what is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import gc
from typing import NamedTuple

import numpy as np

from vla_ros.types import Array


class Timing(NamedTuple):
    """Percentiles of the cycle times of one run."""

    p50_us: float
    p99_us: float
    p999_us: float
    max_us: float
    cycles: int
    overruns: int  # cycles longer than the period


class Peer(NamedTuple):
    """Another way to filter the same stream."""

    name: str
    what: str
    timing: Timing | None  # None: it did not run, `note` says why
    failed: int = 0  # problems without an answer
    note: str = ''
    ours_us: float = 0.0  # median of our filter on the same cycles, just before and after


def summarise(micros: Array, period: float) -> Timing:
    """Return the percentiles of cycle times (T,) [us]; `period` [s] is what each may take."""
    p50, p99, p999 = np.percentile(micros, [50.0, 99.0, 99.9])
    overruns = int((micros > 1e6 * period).sum())
    return Timing(float(p50), float(p99), float(p999), float(micros.max()), len(micros), overruns)


@contextmanager
def no_collections() -> Iterator[None]:
    """Switch the garbage collector off, as the control loop does."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
