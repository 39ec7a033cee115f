"""How strongly each step of a new chunk is tied to the plan before it."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import UnknownNameError
from vla_ros.types import Array

SCHEDULES = ('exp', 'linear', 'ones', 'zeros')


def prefix_weights(steps: int, start: int, end: int, schedule: str) -> Array:
    """Return the weights (T,): 1 before `start`, falling to 0 at `end`, 0 from there on.

    linear: clip((start - 1 - i) / (end - start + 1) + 1, 0, 1); exp: that times
    expm1(that) / (e - 1); ones: 1 up to `end`; zeros: 1 before `start` only.
    Source: Black, Galliker, Levine 2025 (arXiv 2506.07339) and its Kinetix code.

    Args:
        steps: T, steps of the chunk.
        start: Steps that run before the chunk can arrive, d.
        end: First step that the plan before says nothing about.
        schedule: A word of SCHEDULES.

    Raises:
        UnknownNameError: The schedule has another name.
    """
    if schedule not in SCHEDULES:
        raise UnknownNameError('schedule', schedule, SCHEDULES)
    i = np.arange(steps)
    start = min(start, end)
    if schedule == 'ones':
        weights = np.ones(steps)
    elif schedule == 'zeros':
        weights = (i < start).astype(float)
    else:
        weights = np.clip((start - 1.0 - i) / (end - start + 1.0) + 1.0, 0.0, 1.0)
        if schedule == 'exp':
            weights = weights * np.expm1(weights) / (np.e - 1.0)
    weights[i >= end] = 0.0
    return np.asarray(weights, dtype=np.float64)
