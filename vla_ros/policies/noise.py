"""A policy without weights that wanders about a pose: load for blending and safety filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.actions.strategies.base import apart, displaced
from vla_ros.errors import ConfigError
from vla_ros.policies.base import chunk_seed
from vla_ros.policies.double import Double
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import Array, Observation


@dataclass(frozen=True)
class Options:
    """How far it goes from the first pose, in every dimension, and how fast."""

    length: float = 0.03  # [m] of tool positions
    angle: float = 0.1  # [rad] of joints, and of each component of a rotation vector
    opening: float = 0.0  # of the gripper, 0 to 1
    pace: float = 0.2  # standard deviation of a step, as a share of that

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < np.inf:
                raise ConfigError(f'{name} is {value}, expected 0 or more.')


class NoisePolicy(Double):
    """A random walk about the first pose that is thrown back at its bounds.

    x_(k+1) = fold(x_k + pace bound n_k), n_k normal, x within [-bound, bound]; each chunk begins
    where the arm is, with draws of its own.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Take any action space."""
        super().__init__(spec, robot)
        options = spec.read_options(Options)
        self._bound = self.codec.spread(options.length, options.angle, options.opening)
        self._pace = options.pace
        self._seed, self._count = 0, 0

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin about the next pose; the k-th chunk draws from `chunk_seed(seed, k)`."""
        super().reset(instruction, seed=seed)
        self._seed, self._count = seed, 0

    def chunk(self, obs: Observation, first: Observation) -> Array:
        """Return the next steps of a walk."""
        codec, steps = self.codec, self.spec.horizon
        rng = np.random.default_rng(chunk_seed(self._seed, self._count))
        self._count += 1
        home, here = codec.action(first.joints.position), codec.action(obs.joints.position)
        begun = apart(here[None], home[None], codec.turns)
        draws = self._pace * self._bound * rng.normal(size=(steps, len(home)))
        walk = _folded(begun + np.cumsum(draws, axis=0), self._bound)
        return codec.relative(
            displaced(np.tile(home, (steps, 1)), walk, codec.turns), obs.joints
        )


def _folded(x: Array, bound: Array) -> Array:
    """Return x (T, C) thrown back at -bound and bound (C,) as often as it takes."""
    whole = np.where(bound > 0.0, 4.0 * bound, 1.0)
    return np.where(bound > 0.0, np.abs((x - bound) % whole - 2.0 * bound) - bound, 0.0)
