"""What the policies without weights share: pictures and joints are checked, time begins anew."""

from __future__ import annotations

from abc import ABC, abstractmethod

from vla_ros.actions.decode import Codec
from vla_ros.policies.base import pictures_of
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Observation


class Double(ABC):
    """A policy for tests and bring-up; it needs no torch, and looks at no picture."""

    offers: frozenset[str] = frozenset()

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Prepare the translation into the policy's action space."""
        self.spec = spec
        self.codec = Codec(robot, robot.urdf_path, spec)
        self._first: Observation | None = None  # after `reset`

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin anew with the next observation; instruction and seed change nothing."""
        del instruction, seed
        self._first = None

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return (horizon, A) actions; a prefix changes nothing.

        Raises:
            PolicyError: The observation lacks a camera, or its joints are not the robot's.
        """
        del prefix
        pictures_of(obs, self.spec.images)  # which misses none
        self.codec.action(obs.joints.position)  # which checks it
        if self._first is None:
            self._first = obs
        return ActionChunk(obs.stamp, self.chunk(obs, self._first), self.spec.step)

    @abstractmethod
    def chunk(self, obs: Observation, first: Observation) -> Array:
        """Return the actions (horizon, A).

        Args:
            obs: The newest observation.
            first: The first one after `reset`.
        """
