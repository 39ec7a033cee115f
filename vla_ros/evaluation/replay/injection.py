"""Injected faults of time: latency, jitter, lost and overtaken messages; seeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar
from zlib import crc32

import numpy as np

from vla_ros.errors import ConfigError

T = TypeVar('T')


@dataclass(frozen=True)
class Injection:
    """What happens to messages and to the model's time."""

    latency: float = 0.06  # [s] that the model takes for a chunk
    jitter: float = 0.0  # [s] at most that it takes longer, evenly distributed
    drop: float = 0.0  # share of pictures, joint states and chunks that get lost
    reorder: float = 0.0  # share of them that the next one overtakes
    seed: int = 0
    recorded: tuple[tuple[float, float], ...] = ()  # stamps of recorded observations, what the
    # model took for each [s]; in place of `latency`

    def __post_init__(self) -> None:
        for name in 'latency', 'jitter':
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ConfigError(f'{name} is {getattr(self, name)} s, expected 0 or more.')
        for name in 'drop', 'reorder':
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f'{name} is {getattr(self, name)}, expected 0 to below 1.')
        if self.seed < 0:
            raise ConfigError(f'the seed is {self.seed}, expected 0 or more.')

    def took(self, stamp: float) -> float:
        """Return the model's time [s] for an observation, without jitter.

        Args:
            stamp: Of the observation [s]; the recorded one nearest to it counts.
        """
        if not self.recorded:
            return self.latency
        return min(self.recorded, key=lambda one: abs(one[0] - stamp))[1]

    def figures(self) -> dict[str, float]:
        """Return it by the keys of `vla replay --json`."""
        names = ('latency', 'jitter', 'drop', 'reorder', 'seed')
        return {name: getattr(self, name) for name in names}

    def rng(self, name: str) -> np.random.Generator:
        """Return the draws of one thing, which do not depend on what else is drawn."""
        return np.random.default_rng([self.seed, crc32(name.encode())])


class Way(Generic[T]):
    """The way of one source's messages."""

    def __init__(self, injection: Injection, name: str) -> None:
        """Begin with nothing under way.

        Args:
            injection: What happens.
            name: Of the source.
        """
        self._drop, self._reorder = injection.drop, injection.reorder
        self._rng = injection.rng(name)
        self._held: T | None = None
        self.lost = 0

    def send(self, item: T) -> list[T]:
        """Return what arrives when a message is sent, in order; an overtaken one comes later."""
        lost, late = self._rng.random(2)
        if lost < self._drop:
            self.lost += 1
            return []
        if self._held is not None:
            held, self._held = self._held, None
            return [item, held]
        if late < self._reorder:
            self._held = item
            return []
        return [item]
