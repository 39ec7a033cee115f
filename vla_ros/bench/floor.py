"""The least time that a chunk of pi0 needs on a device, by what the device is measured to do."""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any, NamedTuple

import numpy as np
import torch

from vla_ros.bench.pi0 import Bench, wait

COPIES = {'cpu': 2**26, 'cuda': 2**30}  # bytes of the copy that measures a device
SIDES = {'cpu': 1024, 'cuda': 8192}  # of the matrices that do


class Floor(NamedTuple):
    """The least time that a device needs, by its measured copies and products."""

    bandwidth_gb_s: float
    rate_tflop_s: float
    vision_ms: float
    prefix_ms: float
    expert_ms: float  # all flow steps

    @property
    def total_ms(self) -> float:
        """Return the sum: the parts run one after the other."""
        return self.vision_ms + self.prefix_ms + self.expert_ms


def floor(bench: Bench) -> Floor:
    """Return max(operations / rate, bytes / bandwidth) of each part; a step is a part of its own.

    Operations of T tokens: 2 T P of a product with P weights, 4 T S h d of attention over S tokens
    with h heads of d. Bytes: the weights once and the keys and values that are read. Of the last
    layer of the prefix only keys and values count.
    """
    config = bench.network.config
    text, vision, expert = (
        config.vlm_config.text_config, config.vlm_config.vision_config, config.dit_config
    )  # fmt: skip
    patches = bench.cameras * (vision.image_size // vision.patch_size) ** 2
    known = patches + bench.words
    steps = config.chunk_size + 1
    size = bench.dtype.itemsize
    bandwidth, rate = _bandwidth(bench), _rate(bench)

    def seconds(tokens: int, weights: int, mixing: int, caches: int) -> float:
        work = 2.0 * tokens * weights + mixing
        return max(work / rate, size * (weights + caches) / bandwidth)

    seen = 4 * patches * (patches // bench.cameras) * vision.hidden_size * vision.num_hidden_layers
    width, inner = vision.hidden_size, vision.intermediate_size
    tower = vision.num_hidden_layers * (4 * width**2 + 2 * width * inner)
    tower += 3 * vision.patch_size**2 * width + width * text.hidden_size
    q, kv, rest = _layer(text)
    whole, mixing = text.num_hidden_layers - 1, 4 * known * known * q // text.hidden_size
    prefix = whole * (2 * q + kv + rest) + kv
    q_, kv_, rest_ = _layer(expert)
    layers, every = expert.num_hidden_layers, known + steps
    acting = layers * (2 * q_ + kv_ + rest_)
    cached = layers * every * kv_ // expert.hidden_size
    step = seconds(steps, acting, 4 * steps * every * layers * q_ // expert.hidden_size, cached)
    return Floor(
        bandwidth / 1e9,
        rate / 1e12,
        1e3 * seconds(patches, tower, seen, 0),
        1e3 * seconds(known, prefix, whole * mixing, 0),
        1e3 * bench.steps * step,
    )


def _layer(config: Any) -> tuple[int, int, int]:
    """Return the weights of a Gemma layer: queries, keys with values, MLP."""
    width, head = config.hidden_size, config.head_dim
    q, kv = config.num_attention_heads * head, 2 * config.num_key_value_heads * head
    return q * width, kv * width, 3 * width * config.intermediate_size


def _bandwidth(bench: Bench) -> float:
    """Return bytes per second that a copy reads and writes."""
    source = torch.empty(COPIES[torch.device(bench.device).type], dtype=torch.uint8)
    source = source.to(bench.device)
    target = torch.empty_like(source)
    return 2.0 * source.nbytes / _quickest(bench, lambda: target.copy_(source))


def _rate(bench: Bench) -> float:
    """Return operations per second of a product of square matrices."""
    side = SIDES[torch.device(bench.device).type]
    a = torch.ones(side, side, dtype=bench.dtype, device=bench.device)
    return 2.0 * side**3 / _quickest(bench, lambda: a @ a)


def _quickest(bench: Bench, run: Callable[[], object], tries: int = 10) -> float:
    best = np.inf
    for _ in range(tries):
        wait(bench)
        begin = time.perf_counter()
        run()
        wait(bench)
        best = min(best, time.perf_counter() - begin)
    return float(best)
