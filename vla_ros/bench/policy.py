"""How long pi0 takes for a chunk, stock and by our engine: one process, weights and noise alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
from dataclasses import dataclass
import gc
from pathlib import Path
import time
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PI0Config, PI0ForConditionalGeneration

from vla_ros import paths
from vla_ros.bench.timing import no_collections
from vla_ros.models.chunks import CapturedChunks, Chunks, Inputs
from vla_ros.models.pi0 import Pi0Engine
from vla_ros.policies.loading import load

WARM, SEEDS = 3, 20  # calls before times count; draws whose error is taken
COPIES = {'cpu': 2**26, 'cuda': 2**30}  # bytes of the copy that measures a device
SIDES = {'cpu': 1024, 'cuda': 8192}  # of the matrices that do
SETTLE = 0.1  # share of a soak after which memory may not grow any more
MID = {'width': 512, 'layers': 8, 'mlp': 2048, 'expert': 256, 'expert_mlp': 1024, 'vision': 384}


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


@dataclass(frozen=True)
class Bench:
    """What is measured."""

    network: PI0ForConditionalGeneration  # in float32, on the cpu
    device: str
    dtype: torch.dtype
    cameras: int
    words: int

    @property
    def steps(self) -> int:
        """Return the flow steps of a chunk."""
        return int(self.network.config.num_inference_steps)

    def copied(self, dtype: torch.dtype) -> PI0ForConditionalGeneration:
        """Return a network of its own, for our engine lays weights out anew."""
        return load(
            lambda: PI0ForConditionalGeneration(self.network.config),
            self.network.state_dict(),
            Path('bench'),
            dtype=dtype,
            device=self.device,
        )

    def draw(self, seed: int) -> tuple[Inputs, Tensor]:
        """Return random inputs and noise in float32, on the device."""
        config, rng = self.network.config, torch.Generator().manual_seed(seed)
        text, side = config.vlm_config.text_config, config.vlm_config.vision_config.image_size
        pixels = 2.0 * torch.rand(self.cameras, 3, side, side, generator=rng) - 1.0
        words = torch.randint(4, text.vocab_size, (self.words,), generator=rng)
        state = torch.randn(config.max_state_dim, generator=rng)
        noise = torch.randn(1, config.chunk_size, config.max_action_dim, generator=rng)
        return Inputs(pixels, words, state).on(self.device, torch.float32), noise.to(self.device)


def make(model: str, device: str, dtype: torch.dtype, cameras: int, words: int) -> Bench:
    """Return the bench of `tiny_pi0`, `mid_pi0` or `pi0`; the last two have random weights."""
    if model == 'tiny_pi0':
        folder = paths.share() / 'checkpoints' / 'tiny_pi0'
        network = PI0ForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    else:
        torch_state = torch.random.get_rng_state()
        torch.manual_seed(0)
        network = PI0ForConditionalGeneration(_mid() if model == 'mid_pi0' else PI0Config())
        torch.random.set_rng_state(torch_state)
    return Bench(network.eval().requires_grad_(False), device, dtype, cameras, words)


def _mid() -> PI0Config:
    gemma = {
        'model_type': 'gemma', 'hidden_size': MID['width'], 'num_hidden_layers': MID['layers'],
        'intermediate_size': MID['mlp'], 'num_attention_heads': 8, 'num_key_value_heads': 1,
        'head_dim': 64, 'vocab_size': 1024,
    }  # fmt: skip
    vision = {
        'model_type': 'siglip_vision_model', 'hidden_size': MID['vision'],
        'intermediate_size': 4 * MID['vision'], 'num_hidden_layers': MID['layers'],
        'num_attention_heads': 6, 'patch_size': 14, 'image_size': 224, 'vision_use_head': False,
    }  # fmt: skip
    expert = {'hidden_size': MID['expert'], 'intermediate_size': MID['expert_mlp']}
    return PI0Config(
        vlm_config={
            'model_type': 'paligemma', 'text_config': gemma, 'vision_config': vision,
            'projection_dim': MID['width'], 'image_token_id': 3,
        },
        dit_config={**gemma, **expert},
    )  # fmt: skip


Sampler = Callable[[Inputs, Tensor], Tensor]


def stock(bench: Bench, network: PI0ForConditionalGeneration, sample: Any = None) -> Sampler:
    """Return transformers' own sampling, or a compiled form of it."""
    config = network.config.vlm_config
    vision = config.vision_config
    tokens = bench.cameras * (vision.image_size // vision.patch_size) ** 2
    pictures = torch.full((tokens,), config.image_token_id, device=bench.device)
    present = torch.ones(1, bench.cameras, dtype=torch.bool, device=bench.device)
    sample = sample or network.sample_actions
    dtype = network.dtype

    def run(inputs: Inputs, noise: Tensor) -> Tensor:
        ids = torch.cat((pictures, inputs.words))[None]
        return sample(
            state=inputs.state[None].to(dtype), input_ids=ids, attention_mask=torch.ones_like(ids),
            pixel_values=inputs.pixels[None].to(dtype), pixel_attention_mask=present,
            noise=noise.to(dtype), num_steps=bench.steps,
        )  # fmt: skip

    return run


def ours(bench: Bench, chunks: Chunks | CapturedChunks) -> Sampler:
    """Return our engine's sampling."""

    def run(inputs: Inputs, noise: Tensor) -> Tensor:
        return chunks(inputs.on(bench.device, bench.dtype), noise, bench.steps, None)

    return run


def ways(bench: Bench, *, compilers: bool) -> Iterator[tuple[str, Callable[[], Sampler]]]:
    """Yield the name of each way to sample, and how to get it ready."""
    network = bench.copied(bench.dtype)
    engine = Pi0Engine(bench.copied(bench.dtype))
    yield 'stock eager', lambda: stock(bench, network)
    if compilers:
        for mode in ('default', 'max-autotune'):
            yield (
                f'torch.compile {mode}',
                lambda m=mode: stock(bench, network, torch.compile(network.sample_actions, mode=m)),
            )
    yield 'ours', lambda: ours(bench, Chunks(engine))
    if compilers:
        yield 'ours, expert compiled', lambda: ours(bench, Chunks(_compiled(engine)))
    if bench.device.startswith('cuda'):
        yield 'ours, captured', lambda: ours(bench, CapturedChunks(engine, bench.words))


def _compiled(engine: Pi0Engine) -> Pi0Engine:
    """Return an engine of the same weights whose expert is compiled."""
    other, expert = copy.copy(engine), copy.copy(engine.expert)
    expert.forward = torch.compile(expert.forward)  # type: ignore[method-assign]
    other.expert = expert
    return other


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
            _wait(bench)
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
                _wait(bench)
                begin = time.perf_counter()
                sampler(inputs, noise)
                _wait(bench)
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
    step = seconds(
        steps, acting, 4 * steps * every * layers * q_ // expert.hidden_size, cached
    )
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
        _wait(bench)
        begin = time.perf_counter()
        run()
        _wait(bench)
        best = min(best, time.perf_counter() - begin)
    return float(best)


def soak(bench: Bench, calls: int, told: Callable[[int], None]) -> dict[str, float]:
    """Return how the memory grows over calls of our engine, and over exchanged checkpoints [MB]."""
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
    for _ in range(8):
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


def _wait(bench: Bench) -> None:
    if bench.device.startswith('cuda'):
        torch.cuda.synchronize()


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
