"""A policy without weights that holds the first pose it sees: smoke test and test double."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.policies.base import pictures_of
from vla_ros.robot import RobotSpec
from vla_ros.spec import NoOptions, PolicySpec
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Observation


class HoldPolicy:
    """Answers each observation with the joint positions of the first one after `reset`.

    Holding the newest measurement instead would let the arm creep by its tracking error.
    """

    offers: frozenset[str] = frozenset()

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Check that the action is made of absolute joint positions and gripper fractions."""
        for part in spec.action:
            if part.kind == 'tool_position' or part.relative_to != 'absolute':
                raise PolicyError(
                    f"policy {spec.name}: adapter 'hold' cannot give {part.kind} relative to "
                    f'{part.relative_to}; declare absolute joint_position and gripper.'
                )
        spec.read_options(NoOptions)
        self.spec = spec
        self._robot = robot
        self._held: Array | None = None  # (A,)

    def reset(self, instruction: str, *, seed: int) -> None:
        """Forget the pose; instruction and seed change nothing."""
        del instruction, seed
        self._held = None

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return the held pose, `horizon` times; a prefix changes nothing."""
        del prefix
        pictures_of(obs, self.spec.images)  # it needs none, but a test of a robot wants them
        if len(obs.joints.position) != len(self._robot.joint_names):
            raise PolicyError(
                f'the observation has {len(obs.joints.position)} joints, expected '
                f'{len(self._robot.joint_names)}: {", ".join(self._robot.joint_names)}.'
            )
        if self._held is None:
            self._held = self._pose(obs.joints.position)
        actions = np.tile(self._held, (self.spec.horizon, 1))
        return ActionChunk(obs.stamp, actions, self.spec.step)

    def _pose(self, position: Array) -> Array:
        gripper = self._robot.gripper
        fraction = (position[-1] - gripper.closed) / (gripper.open - gripper.closed)
        values = {'joint_position': position[:-1], 'gripper': np.atleast_1d(fraction)}
        return np.concatenate([values[part.kind] for part in self.spec.action])
