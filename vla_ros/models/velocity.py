"""The velocity of a flow for one encoded observation, and what its times are worth to a network.

B samples, T steps of a chunk, A dimensions of the model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import nn, Tensor

from vla_ros.models.block import Room


class Expert(nn.Module, ABC):
    """A network that moves actions; what it makes of a time is computed once."""

    dtype: torch.dtype

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[float, Tensor | tuple[Tensor, ...]] = {}  # a sampler has few times

    @abstractmethod
    def embedded(self, t: float) -> Any:
        """Return what a time does: a tensor, or a named tuple of several."""

    def times(self, time: Tensor, steps: int) -> Any:
        """Return `embedded` of times, for each row of x (B, T, A) or one for all, (1 or N, ...).

        Args:
            time: (B,), or (B, T) where steps differ; on the cpu, for nothing waits for a device.
            steps: T.
        """
        values = time.flatten().tolist()
        for t in values:
            if t not in self._known:
                with torch.no_grad():
                    self._known[t] = self.embedded(t)
        if values.count(values[0]) == len(values):
            values = values[:1]
        elif time.ndim == 1:
            values = [t for t in values for _ in range(steps)]
        found = [self._known[t] for t in values]
        if isinstance(found[0], Tensor):
            return torch.stack(found)
        return type(found[0])(*(torch.stack(parts) for parts in zip(*found)))


class Encoded:
    """The velocity v(x, t) of an expert for one observation, differentiable in x.

    It serves any number of samples, one call after the other. Call it under torch.no_grad, or
    with gradients for x.
    """

    def __init__(
        self,
        expert: Expert,
        rooms: list[Room],
        seen: tuple[Any, ...],
        first: tuple[Any, ...] | None = None,
    ) -> None:
        """Keep what is the same in each flow step.

        Args:
            expert: Called with x, times, rooms and what is in `seen`.
            rooms: Of each layer, written up to the prefix.
            seen: What else the expert takes.
            first: What it takes instead while something is not in the rooms yet that it writes
                there: in the first step, and in guided ones, which leave rooms alone.
        """
        self._expert, self._seen = expert, seen
        self._first = seen if first is None else first
        self._rooms = {1: rooms}  # number of samples -> one room for each
        self._begun: set[int] = set()  # numbers of samples whose rooms are whole

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Return v (B, T, A) for x (B, T, A) and time (B,), or (B, T) for each of its steps."""
        batch, steps, _ = x.shape
        if batch not in self._rooms:
            self._rooms[batch] = [room.repeated(batch) for room in self._rooms[1]]
        rows = x.flatten(0, 1)
        times = self._expert.times(time, steps)
        seen = self._seen if batch in self._begun else self._first
        v = self._expert(rows, times, self._rooms[batch], *seen)
        if not x.requires_grad:
            self._begun.add(batch)
        return v.view_as(x).to(x.dtype)


class Sight(Protocol):
    """Pictures as tokens, each camera by itself."""

    @property
    def patch(self) -> int:
        """Return the side of a patch [px]."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return tokens (cameras, P, D) of pixels (cameras, 3, H, H) in [-1, 1]."""


class Engine(Protocol):
    """A network ready to answer: everything that no observation changes is computed."""

    network: nn.Module  # whose weights it shares
    expert: Expert
    vision: Sight  # may be exchanged

    def encode(
        self, pixels: Tensor, words: Tensor, state: Tensor | None, length: Tensor | None = None
    ) -> Encoded:
        """Return the velocity for one observation.

        Args:
            pixels: The pictures that are there, (cameras, 3, H, H) in [-1, 1].
            words: Numbers of the prompt's words (W,).
            state: Normalised state (S,), for a network that takes it apart from its words.
            length: How many words count, () on their device; None: all. The rest fills a
                bucket: nobody sees it, and the positions that follow do not count it.
        """
