"""From inputs to a chunk: at once, or as a captured graph that launches nothing one by one.

A graph reads and writes fixed memory. For each way in which it is asked (pictures, bucket of the
prompt, samples, steps, guide) one is captured; what changes between two calls is copied into its
buffers. Prompts are filled up to buckets, so that another instruction finds its graph there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vla_ros.models.sampler import Guide, sample
from vla_ros.models.velocity import Engine

BUCKET = 16  # words by which prompts are filled up
WARM = 3  # runs before a capture: libraries choose their kernels, tables are computed


class Inputs(NamedTuple):
    """One observation as a network takes it."""

    # (cameras, 3, H, H) in [-1, 1]; or as cameras give them, (cameras, rows, columns, 3) uint8,
    # for what resizes them itself.
    pixels: Tensor
    words: Tensor  # (W,)
    state: Tensor | None = None  # (S,)

    def on(self, device: str, dtype: torch.dtype) -> Inputs:
        """Return them on a device, words as they are and numbers in the network's type."""
        state = None if self.state is None else self.state.to(device, dtype)
        pixels = self.pixels.to(device, dtype if self.pixels.is_floating_point() else None)
        return Inputs(pixels, self.words.to(device), state)


# Pictures (cameras, rows, columns, 3) uint8 -> pixels (cameras, 3, H, H) in [-1, 1].
Resize = Callable[[Tensor], Tensor]
# Records what a call does; returns how to do it again on the same memory, and its result.
Recorder = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
# Tensors that stay, and what is computed of them, the inputs and how many words of these count.
Prepared = tuple[Sequence[Tensor], Callable[[Inputs, Tensor], Tensor]]


class Answer(Protocol):
    """A network that draws nothing."""

    def __call__(self, inputs: Inputs, *others: Tensor, length: Tensor | None = None) -> Tensor:
        """Return its answer; `length`, () on the device: words that count, the rest is filling."""


class CudaGraphs:
    """Captures what calls launch on the GPU.

    All graphs of a policy work in one memory: they run one at a time, and what one leaves is
    copied before the next.
    """

    def __init__(self) -> None:
        self._pool = None if not torch.cuda.is_available() else torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Capture a call."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
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

    def __init__(
        self, engine: Engine, longest: int, recorder: Recorder, resize: Resize | None = None
    ) -> None:
        """Take the network, whose weights must stay where they are.

        Args:
            engine: The network.
            longest: See `Graphs`.
            recorder: See `Graphs`.
            resize: Makes pixels of pictures that are given in bytes.
        """
        self._engine, self.graphs = engine, Graphs(longest, recorder)
        self.resize = None
        if resize is not None:
            self.resize = CapturedResize(resize, engine.expert.dtype, recorder)

    def __call__(self, inputs: Inputs, noise: Tensor, steps: int, guide: Guide | None) -> Tensor:
        """Return chunks (B, T, A) as `Chunks` does, in memory of their own."""

        def prepare() -> Prepared:
            own, tied = torch.empty_like(noise), None if guide is None else guide.moved()
            return _with(own, tied), lambda given, length: sample(
                self._engine.encode(*given, length), own, steps, tied
            )

        if self.resize is not None and not inputs.pixels.is_floating_point():
            inputs = inputs._replace(pixels=self.resize(inputs.pixels))
        way = (noise.shape, steps, None if guide is None else guide.key)
        return self.graphs(inputs, way, _with(noise, guide), prepare)


def _with(noise: Tensor, guide: Guide | None) -> tuple[Tensor, ...]:
    return (noise,) if guide is None else (noise, *guide.tensors)


class CapturedResize:
    """Pixels of the cameras' bytes, by a small graph for each size of the pictures.

    Its replay goes right before that of a chunk. Apart from it, for a camera that has another
    size than the robot file says then costs this graph, and none of all buckets.
    """

    def __init__(self, resize: Resize, dtype: torch.dtype, recorder: Recorder) -> None:
        """Begin without any; the pixels are of the network's type."""
        self._resize, self._dtype, self._recorder = resize, dtype, recorder
        self._graphs: dict[torch.Size, tuple[Tensor, Callable[[], object], Tensor]] = {}

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return pixels (cameras, 3, H, H), which the next graph that runs may overwrite."""
        if pictures.shape not in self._graphs:
            self._graphs[pictures.shape] = self._captured(pictures)
        own, replay, pixels = self._graphs[pictures.shape]
        own.copy_(pictures)
        replay()
        return pixels

    def _captured(self, pictures: Tensor) -> tuple[Tensor, Callable[[], object], Tensor]:
        """Return bytes that stay, what makes pixels of them again, and these."""
        own = pictures.clone()
        return own, *self._recorder(lambda: self._resize(own).to(self._dtype))


class CapturedAnswers:
    """Answers by captured graphs of a network that draws nothing."""

    def __init__(self, answer: Answer, longest: int, recorder: Recorder) -> None:
        """Take what answers, whose weights must stay where they are; see `Graphs`."""
        self._answer, self.graphs = answer, Graphs(longest, recorder)

    def __call__(self, inputs: Inputs, *others: Tensor) -> Tensor:
        """Return what the network answers, in memory of its own."""

        def prepare() -> Prepared:
            own = tuple(torch.empty_like(other) for other in others)
            return own, lambda given, length: self._answer(given, *own, length=length)

        return self.graphs(inputs, (), others, prepare)


class Graphs:
    """Captured graphs, one for each way to be asked and bucket of the prompt."""

    def __init__(self, longest: int, recorder: Recorder) -> None:
        """Begin without any.

        Args:
            longest: Words of the longest prompt; a new way to be asked is captured for every
                bucket up to it at once.
            recorder: What captures.
        """
        self._recorder, self._rooms = recorder, range(BUCKET, longest + BUCKET, BUCKET)
        self._graphs: dict[Hashable, _Graph] = {}

    def __len__(self) -> int:
        """Return how many were captured."""
        return len(self._graphs)

    def __call__(
        self,
        inputs: Inputs,
        way: Hashable,
        others: Sequence[Tensor],
        prepare: Callable[[], Prepared],
    ) -> Tensor:
        """Return what the graph of this way to be asked answers, in memory of its own.

        Args:
            inputs: The observation.
            way: What makes it run other operations, but sizes of the inputs.
            others: What else changes between two calls of one way.
            prepare: Returns tensors for them that stay, and what is captured on these.
        """
        room = BUCKET * -(-inputs.words.shape[0] // BUCKET)
        way = (inputs.pixels.shape, inputs.pixels.dtype, way)
        if (room, way) not in self._graphs:
            sizes = {room, *self._rooms}
            for size in sorted(s for s in sizes if (s, way) not in self._graphs):
                cut = inputs._replace(words=inputs.words[:size])
                graph = _Graph(self._recorder, cut, size, others, prepare)
                self._graphs[size, way] = graph
        return self._graphs[room, way].run(inputs, others)


class _Graph:
    """One captured way to an answer, and its buffers."""

    def __init__(
        self,
        recorder: Recorder,
        inputs: Inputs,
        room: int,
        others: Sequence[Tensor],
        prepare: Callable[[], Prepared],
    ) -> None:
        words = inputs.words.new_zeros(room)
        self._inputs = Inputs(
            torch.empty_like(inputs.pixels),
            words,
            None if inputs.state is None else torch.empty_like(inputs.state),
        )
        self._length = words.new_zeros(())
        self._others, run = prepare()
        self._fill(inputs, others)
        self._replay, self._output = recorder(lambda: run(self._inputs, self._length))

    def run(self, inputs: Inputs, others: Sequence[Tensor]) -> Tensor:
        """Return the answer."""
        self._fill(inputs, others)
        self._replay()
        return self._output.clone()

    def _fill(self, inputs: Inputs, others: Sequence[Tensor]) -> None:
        count = inputs.words.shape[0]
        self._inputs.pixels.copy_(inputs.pixels)
        self._inputs.words[:count] = inputs.words
        self._length.fill_(count)
        if self._inputs.state is not None and inputs.state is not None:
            self._inputs.state.copy_(inputs.state)
        for own, given in zip(self._others, others):
            own.copy_(given)
