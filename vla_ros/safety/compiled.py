"""Compilation of the core by numba, cached in a folder that its own source names."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
from pathlib import Path
from typing import Any

from numba import config, njit

from vla_ros import paths


def _cache_folder() -> Path:
    """Return the folder of what was compiled from exactly these sources.

    numba looks at a function's own file only, so after a change of another file that it calls
    it would go on with the old machine code.
    """
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob('*.py')):
        text = file.read_bytes()
        if b'import compiled' in text or b'import allocating' in text:
            digest.update(text)
    return paths.cache() / digest.hexdigest()[:16]


config.CACHE_DIR = str(_cache_folder())


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function of plain arrays; the next process loads what this one compiled.

    It may not allocate, nor return an array. In turn numba counts no references: counting them
    atomically, at every array that is taken out of a tuple, is seven eighths of the time that a
    clearance takes otherwise.
    """
    return njit(cache=True, _nrt=False)(function)


def allocating(function: Callable[..., Any]) -> Any:
    """Compile a function that allocates or returns arrays; else the same."""
    return njit(cache=True)(function)
