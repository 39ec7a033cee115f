"""Whether memory grows: over many chunks, and over checkpoints that take turns."""

from __future__ import annotations

from collections.abc import Callable
import gc
from pathlib import Path

import torch

from vla_ros.bench.pi0 import Bench, ours
from vla_ros.models.chunks import Chunks
from vla_ros.models.pi0 import Pi0Engine

SETTLE = 0.1  # share of a soak after which memory may not grow any more
EXCHANGES = 8


def soak(bench: Bench, calls: int, told: Callable[[int], None]) -> dict[str, float]:
    """Return how memory grows over calls of our engine, and over exchanged checkpoints [MB]."""
    engine = Pi0Engine(bench.copied(bench.dtype))
    sampler = ours(bench, Chunks(engine))
    draws = [bench.draw(seed) for seed in range(4)]
    settled = 0.0
    for call in range(calls):
        sampler(*draws[call % len(draws)])
        if call == int(SETTLE * calls):
            settled = memory(bench)
        told(call + 1)
    result = {'calls': calls, 'settled_mb': settled, 'growth_mb': memory(bench) - settled}
    exchanged = []
    for _ in range(EXCHANGES):
        del engine, sampler
        gc.collect()
        engine = Pi0Engine(bench.copied(bench.dtype))
        sampler = ours(bench, Chunks(engine))
        sampler(*draws[0])
        exchanged.append(memory(bench))
    return {**result, 'exchange_growth_mb': exchanged[-1] - exchanged[1]}


def memory(bench: Bench) -> float:
    """Return what the process holds, on the GPU where it runs there [MB]."""
    if bench.device.startswith('cuda'):
        return torch.cuda.memory_reserved() / 1e6
    lines = Path('/proc/self/status').read_text(encoding='utf-8').splitlines()
    sizes = {line.split(':')[0]: float(line.split()[1]) for line in lines if line.endswith('kB')}
    return sizes['RssAnon'] / 1e3
