"""How long pi0 takes for a chunk, stock and by our engine: one process, same weights and noise."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import NamedTuple

import numpy as np
import torch

from vla_ros.bench.pi0 import Bench, Sampler, stock, wait, ways
from vla_ros.bench.timing import no_collections

WARM, SEEDS = 3, 20  # calls before times count; draws whose error is taken


class Row(NamedTuple):
    """One way to sample."""

    name: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    first_ms: float | None = None  # the first call: compilation, capture
    memory_mb: float | None = None  # most on the GPU beyond all weights; None on the cpu
    error_p50: float | None = None  # largest difference from float32 in a draw, median of draws
    error_max: float | None = None
    note: str = ''


def measure(
    bench: Bench, calls: int, *, compilers: bool, told: Callable[[str], None]
) -> list[Row]:
    """Time every way, one call of each in turn, and take its error against float32."""
    ready: dict[str, Sampler] = {}
    rows: dict[str, Row] = {}
    inputs, noise = bench.draw(0)
    for name, prepare in ways(bench, compilers=compilers):
        told(f'{name}: first call')
        begin = time.perf_counter()
        try:
            sampler = prepare()
            sampler(inputs, noise)
            wait(bench)
        except Exception as error:  # compilers and captures fail in every way
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            rows[name] = Row(name, note=f'does not run: {reason[:120]}')
            continue
        rows[name] = Row(name, first_ms=1e3 * (time.perf_counter() - begin))
        ready[name] = sampler
    told('errors against float32')
    errors = _errors(bench, ready)
    told(f'{calls} calls of each')
    times: dict[str, list[float]] = {name: [] for name in ready}
    memory = dict.fromkeys(ready, 0.0)
    with no_collections():
        for call in range(WARM + calls):
            for name, sampler in ready.items():
                before = _reset_peak(bench)
                wait(bench)
                begin = time.perf_counter()
                sampler(inputs, noise)
                wait(bench)
                if call >= WARM:
                    times[name].append(1e3 * (time.perf_counter() - begin))
                memory[name] = max(memory[name], _peak(bench) - before)
    for name in ready:
        p50, p99 = np.percentile(times[name], [50.0, 99.0])
        rows[name] = rows[name]._replace(
            p50_ms=float(p50), p99_ms=float(p99), memory_mb=memory[name] or None,
            error_p50=float(np.median(errors[name])), error_max=float(np.max(errors[name])),
        )  # fmt: skip
    return list(rows.values())


def _errors(bench: Bench, ready: dict[str, Sampler]) -> dict[str, list[float]]:
    """Return of each way the largest difference from float32 in each draw."""
    truth = stock(bench, bench.copied(torch.float32))
    found: dict[str, list[float]] = {name: [] for name in ready}
    for seed in range(SEEDS):
        inputs, noise = bench.draw(seed)
        wanted = truth(inputs, noise).float()
        for name, sampler in ready.items():
            gap = (sampler(inputs, noise).float() - wanted).abs().max()
            found[name].append(float(gap))
    return found


def _reset_peak(bench: Bench) -> float:
    """Return what is allocated on the GPU [MB], from which the peak counts anew."""
    if not bench.device.startswith('cuda'):
        return 0.0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / 1e6


def _peak(bench: Bench) -> float:
    if bench.device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 1e6
    return 0.0
