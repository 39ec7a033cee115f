"""The Policy protocol: what every adapter, wrapper and remote client looks like from outside."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vla_ros.spec import PolicySpec
from vla_ros.types import ActionChunk, Observation


class Policy(Protocol):
    """Answers observations with chunks of actions in its own action space.

    An adapter is a class `Adapter(spec: PolicySpec, robot: RobotSpec)`; its constructor loads
    the weights and raises CheckpointError or PolicyError where it cannot.
    """

    spec: PolicySpec

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; the k-th `infer` after it draws from `chunk_seed(seed, k)`."""

    def infer(self, obs: Observation) -> ActionChunk:
        """Return (horizon, A) actions stamped with `obs.stamp`, timings 'preprocess', 'inference'.

        Raises:
            PolicyError: The observation lacks a camera or has a state of another size.
        """


def chunk_seed(seed: int, index: int) -> int:
    """Return the seed, below 2^63, of one inference: a hash of (seed, index).

    Args:
        seed: What `Policy.reset` was given, at least 0.
        index: Number of inferences since that reset.
    """
    state = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
