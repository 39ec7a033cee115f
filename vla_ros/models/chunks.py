"""From inputs to a chunk: at once, or as a captured graph that launches nothing one by one.

A graph reads and writes fixed memory. For each way in which it is asked (pictures, bucket of the
prompt, samples, steps, guide) one is captured; what changes between two calls is copied into its
buffers. Prompts are filled up to buckets, so that another instruction finds its graph there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch
from torch import Tensor

from vla_ros.models.sampler import Guide, sample
from vla_ros.models.velocity import Engine

BUCKET = 16  # words by which prompts are filled up
WARM = 3  # runs before a capture: libraries choose their kernels, tables are computed


class Inputs(NamedTuple):
    """One observation as a network takes it."""

    pixels: Tensor  # (cameras, 3, H, H) in [-1, 1]
    words: Tensor  # (W,)
    state: Tensor | None = None  # (S,)

    def on(self, device: str, dtype: torch.dtype) -> Inputs:
        """Return them on a device, words as they are and numbers in the network's type."""
        state = None if self.state is None else self.state.to(device, dtype)
        return Inputs(self.pixels.to(device, dtype), self.words.to(device), state)


# Records what a call does; returns how to do it again on the same memory, and its result.
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]


def cuda_graph(run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Capture what a call launches on the GPU."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = run()
    return graph.replay, output


class Chunks:
    """Samples chunks, one operation after the other."""

    def __init__(self, engine: Engine) -> None:
        """Take the network."""
        self.engine = engine

    def __call__(self, inputs: Inputs, noise: Tensor, steps: int, guide: Guide | None) -> Tensor:
        """Return chunks (B, T, A) of noise (B, T, A) for one observation, all on one device."""
        return sample(self.engine.encode(*inputs), noise, steps, guide)


class CapturedChunks:
    """Samples chunks by captured graphs; the answers are those of `Chunks`."""

    def __init__(self, engine: Engine, longest: int, recorder: Recorder = cuda_graph) -> None:
        """Take the network, whose weights must stay where they are.

        Args:
            engine: The network.
            longest: Words of the longest prompt; a new way to be asked is captured for every
                bucket up to it at once.
            recorder: What captures.
        """
        self._engine, self._recorder = engine, recorder
        self._rooms = range(BUCKET, longest + BUCKET, BUCKET)
        self._graphs: dict[Hashable, _Graph] = {}

    @property
    def graphs(self) -> int:
        """Return how many were captured."""
        return len(self._graphs)

    def __call__(self, inputs: Inputs, noise: Tensor, steps: int, guide: Guide | None) -> Tensor:
        """Return chunks (B, T, A) as `Chunks` does, in memory of their own."""
        count = inputs.words.shape[0]
        room = BUCKET * -(-count // BUCKET)
        kind = None if guide is None else guide.key
        way = (inputs.pixels.shape, noise.shape, steps, kind)
        if (room, way) not in self._graphs:
            sizes = {room, *self._rooms}
            for size in sorted(s for s in sizes if (s, way) not in self._graphs):
                cut = inputs._replace(words=inputs.words[:size])
                self._graphs[size, way] = _Graph(
                    self._engine, self._recorder, cut, size, noise, steps, guide
                )
        return self._graphs[room, way].run(inputs, noise, guide)


class _Graph:
    """One captured way to a chunk, and its buffers."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        inputs: Inputs,
        room: int,
        noise: Tensor,
        steps: int,
        guide: Guide | None,
    ) -> None:
        words = inputs.words.new_zeros(room)
        self._inputs = Inputs(
            torch.empty_like(inputs.pixels),
            words,
            None if inputs.state is None else torch.empty_like(inputs.state),
        )
        self._length = words.new_zeros(())
        self._noise = torch.empty_like(noise)
        self._guide = None if guide is None else guide.moved()
        self._fill(inputs, noise, guide)
        self._replay, self._output = recorder(
            lambda: sample(
                engine.encode(*self._inputs, self._length), self._noise, steps, self._guide
            )
        )

    def run(self, inputs: Inputs, noise: Tensor, guide: Guide | None) -> Tensor:
        """Return the chunks (B, T, A)."""
        self._fill(inputs, noise, guide)
        self._replay()
        return self._output.clone()

    def _fill(self, inputs: Inputs, noise: Tensor, guide: Guide | None) -> None:
        count = inputs.words.shape[0]
        self._inputs.pixels.copy_(inputs.pixels)
        self._inputs.words[:count] = inputs.words
        self._length.fill_(count)
        if self._inputs.state is not None and inputs.state is not None:
            self._inputs.state.copy_(inputs.state)
        self._noise.copy_(noise)
        if self._guide is not None and guide is not None:
            for mine, given in zip(self._guide.tensors, guide.tensors):
                mine.copy_(given)
