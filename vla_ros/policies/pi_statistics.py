"""Statistics of the pi0 family's checkpoints, in the layouts of openpi and transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.errors import CheckpointError, ShapeError, UnknownNameError
from vla_ros.policies.loading import read_json
from vla_ros.statistics import Bounds, MeanStd, Statistics

PROCESSOR = 'processor_config.json'  # what PI0Processor saves
PADDING = 1e-6  # statistics of dimensions that no robot fills lie within it
OPENPI_EPSILON, TRANSFORMERS_EPSILON = 1e-6, 1e-8


def transformers_statistics(folder: Path) -> tuple[Statistics, Statistics]:
    """Return those of state and action in processor_config.json.

    Raises:
        CheckpointError: They are missing or damaged.
    """
    path = folder / PROCESSOR
    table, found = read_json(path), []
    for name in ('state', 'actions'):
        mean, std = table.get(f'{name}_mean'), table.get(f'{name}_std')
        if mean is None or std is None:
            raise CheckpointError(
                f'{path} has no {name}_mean and {name}_std: write there the statistics of the '
                'data set that the checkpoint was trained on.'
            )
        found.append(_built(path, name, MeanStd, mean, std, TRANSFORMERS_EPSILON))
    return found[0], found[1]


def openpi_statistics(
    folder: Path, unnorm_key: str | None, *, quantiles: bool
) -> tuple[Statistics, Statistics]:
    """Return those of state and action in assets/, without what is padding: zeros at the end.

    Args:
        folder: The checkpoint.
        unnorm_key: Which NAME of assets/NAME/norm_stats.json, where there are several.
        quantiles: Whether q01 and q99 normalise, not mean and std.

    Raises:
        CheckpointError: They are missing or damaged.
        UnknownNameError: There is no such unnorm_key.
    """
    path = _norm_stats(folder, unnorm_key)
    table, found = read_json(path).get('norm_stats', {}), []
    names = ('q01', 'q99') if quantiles else ('mean', 'std')
    cls = Bounds if quantiles else MeanStd
    for key in ('state', 'actions'):
        try:
            pair = np.array([table[key][name] for name in names], dtype=np.float64)
            used = np.flatnonzero(np.abs(pair).max(axis=0) > PADDING)
            low, high = pair[:, : used[-1] + 1]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise CheckpointError(
                f"{path} has no {names[0]} and {names[1]} of '{key}' ({error!r}), expected "
                "{'norm_stats': {'state': {'mean', 'std', 'q01', 'q99'}, 'actions': {...}}}: "
                'copy it again, or compute them.'
            ) from error
        found.append(_built(path, key, cls, low, high, OPENPI_EPSILON))
    return found[0], found[1]


def _norm_stats(folder: Path, unnorm_key: str | None) -> Path:
    """Return the one norm_stats.json, or the one that the policy file names."""
    assets = folder / 'assets'
    found = {
        path.parent.relative_to(assets).as_posix(): path
        for path in sorted(assets.rglob('norm_stats.json'))
    }
    if not found:
        raise CheckpointError(
            f'{assets} has no NAME/norm_stats.json: copy the statistics of the data set that the '
            'checkpoint was trained on.'
        )
    if unnorm_key is None and len(found) == 1:
        return next(iter(found.values()))
    if unnorm_key not in found:
        raise UnknownNameError('unnorm_key', str(unnorm_key), found, str(assets))
    return found[unnorm_key]


def _built(
    path: Path, key: str, cls: type[Bounds | MeanStd], first: Any, second: Any, epsilon: float
) -> Statistics:
    try:
        return cls(first, second, epsilon=epsilon)
    except (ShapeError, CheckpointError) as error:
        raise CheckpointError(
            f"{path}: the statistics of '{key}' cannot be used: {error} Copy it again."
        ) from error
