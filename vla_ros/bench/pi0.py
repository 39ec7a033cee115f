"""A pi0 to be timed: its weights, what it is shown, and the ways to sample from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PI0Config, PI0ForConditionalGeneration

from vla_ros import paths
from vla_ros.errors import ConfigError
from vla_ros.models.chunks import CapturedChunks, Chunks, CudaGraphs, Inputs
from vla_ros.models.pi0 import Pi0Engine
from vla_ros.policies.loading import load

MID = {'width': 512, 'layers': 8, 'mlp': 2048, 'expert': 256, 'expert_mlp': 1024, 'vision': 384}

Sampler = Callable[[Inputs, Tensor], Tensor]  # noise (1, T, A) -> chunk (1, T, A)


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


def machine(
    device: str | None, dtype: str | None, threads: int | None
) -> tuple[str, torch.dtype, int]:
    """Return device, type and threads, with what is usual where they are None.

    Raises:
        ConfigError: There is no such device.
    """
    place = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    gpu = place.startswith('cuda')
    if gpu and not torch.cuda.is_available():
        raise ConfigError(f"there is no device '{place}' here: choose --device cpu.")
    if threads is not None:
        torch.set_num_threads(threads)
    kind = getattr(torch, dtype or ('bfloat16' if gpu else 'float32'))
    return place, kind, torch.get_num_threads()


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
        assert inputs.state is not None
        ids = torch.cat((pictures, inputs.words))[None]
        return sample(
            state=inputs.state[None].to(dtype), input_ids=ids, attention_mask=torch.ones_like(ids),
            pixel_values=inputs.pixels[None].to(dtype), pixel_attention_mask=present,
            noise=noise.to(dtype), num_steps=bench.steps,
        )  # fmt: skip

    return run


def _stock_compiled(bench: Bench, network: PI0ForConditionalGeneration, mode: str) -> Sampler:
    return stock(bench, network, torch.compile(network.sample_actions, mode=mode))


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
            yield f'torch.compile {mode}', partial(_stock_compiled, bench, network, mode)
    yield 'ours', lambda: ours(bench, Chunks(engine))
    if compilers:
        yield 'ours, expert compiled', lambda: ours(bench, Chunks(_compiled(engine)))
    if bench.device.startswith('cuda'):
        graphs = CapturedChunks(engine, bench.words, CudaGraphs())
        yield 'ours, captured', lambda: ours(bench, graphs)


def _compiled(engine: Pi0Engine) -> Pi0Engine:
    """Return an engine of the same weights whose expert is compiled."""
    other, expert = copy.copy(engine), copy.copy(engine.expert)
    expert.forward = torch.compile(expert.forward)  # type: ignore[method-assign]
    other.expert = expert
    return other


def wait(bench: Bench) -> None:
    """Wait until the device has done what it was told."""
    if bench.device.startswith('cuda'):
        torch.cuda.synchronize()
