"""What adapters of flow-matching networks share: noise, samples, prefixes, units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import time

import numpy as np
import torch
from torch import nn, Tensor

from vla_ros.actions.decode import Codec
from vla_ros.actions.schedules import prefix_weights
from vla_ros.errors import ConfigError, PolicyError, UnknownNameError
from vla_ros.models.chunks import CapturedChunks, Chunks, Inputs, Recorder
from vla_ros.models.guidance import JACOBIANS, PrefixGuidance, TrainedPrefix
from vla_ros.models.kept import KeptVision
from vla_ros.models.sampler import Guide
from vla_ros.models.velocity import Engine
from vla_ros.policies.base import chunk_seed, silent
from vla_ros.policies.device_letterbox import DeviceLetterbox
from vla_ros.policies.pictures import Letterbox
from vla_ros.policies.weights import WeightOptions
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.statistics import Statistics
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Image, JointState, Observation

# (inputs, noise (B, T, A), flow steps, guide) -> chunks (B, T, A)
Sampler = Callable[[Inputs, Tensor, int, Guide | None], Tensor]


@dataclass(frozen=True)
class FlowOptions(WeightOptions):
    """Options of every adapter of a flow; all of them change its answers."""

    # Change of a picture's most changed patch, of pixels in [-1, 1], up to which a camera keeps
    # the tokens that it has; None: all pictures are encoded.
    keep_change: float | None = None
    keep_chunks: int = 4  # chunks in a row for which it may

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_change is not None and not 0.0 <= self.keep_change < np.inf:
            raise ConfigError(f'keep_change is {self.keep_change}, expected 0 or more.')
        if self.keep_chunks < 1:
            raise ConfigError(f'keep_chunks is {self.keep_chunks}, expected at least 1.')


class FlowPolicy(ABC):
    """A SamplingPolicy around a network that turns noise into a chunk.

    The network may have more dimensions than the robot; as in training, those are 0 in states
    and prefixes, and what it gives for them is dropped.
    """

    def __init__(
        self,
        spec: PolicySpec,
        robot: RobotSpec,
        engine: Engine,
        options: FlowOptions,
        *,
        state: Statistics,
        action: Statistics,
        dimensions: int,
        flow_steps: int,
        longest_prompt: int,
        longest_trained: int = 0,
        letterbox: Letterbox | None = None,
    ) -> None:
        """Keep what the checkpoint was trained with.

        Args:
            spec: The policy file.
            robot: The robot file.
            engine: The network.
            options: Of the policy file.
            state: Statistics of the state vector.
            action: Statistics of an action, as relative as the policy file declares.
            dimensions: Of an action in the network, at least those of the statistics.
            flow_steps: Denoising steps, where the policy file names none.
            longest_prompt: Most words of a prompt.
            longest_trained: Longest prefix [steps] that the network saw in training.
            letterbox: By which `_pixels` makes its pictures; None: the adapter does it itself.
        """
        self.spec = spec
        self.chunks: Sampler = Chunks(engine)  # or as captured graphs, see `compiling`
        self.engine, self.longest_prompt = engine, longest_prompt
        self._letterbox = letterbox
        self._kept: KeptVision | None = None
        if options.keep_change is not None:
            kept = KeptVision(engine.vision, options.keep_change, options.keep_chunks)
            engine.vision = self._kept = kept
        self._codec = Codec(robot, robot.urdf_path, spec)
        self._state_stats, self._action_stats = state, action
        self._dimensions = dimensions
        self._flow_steps = spec.flow_steps or flow_steps
        self._longest_trained = longest_trained
        self._seed, self._count = 0, 0
        self.announce: Callable[[], None] = silent

    @property
    def hot(self) -> nn.Module:
        """Return the module that runs in each flow step, which `compile:` compiles."""
        return self.engine.expert

    def captured(self, recorder: Recorder) -> Sampler:
        """Return `chunks` as graphs.

        Raises:
            PolicyError: What is computed depends on what the pictures show.
        """
        if self._kept is not None:
            raise PolicyError("which pictures are encoded depends on them: 'keep_change' is set")
        resize = None if self._letterbox is None else DeviceLetterbox(self._letterbox)
        return CapturedChunks(self.engine, self.longest_prompt, recorder, resize)

    @abstractmethod
    def _prepare(self, obs: Observation) -> Inputs:
        """Turn an observation into inputs of the network, in the computer's memory."""

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; its words come with each observation."""
        del instruction
        self._seed, self._count = seed, 0
        if self._kept is not None:
            self._kept.forget()

    @property
    def offers(self) -> frozenset[str]:
        """Return what it can do with a prefix, that it draws samples and tells of its inputs."""
        trained = {'trained prefix'} if self._longest_trained > 0 else set()
        return frozenset({'guidance', 'samples', 'announcement'} | trained)

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return (horizon, A) actions for one observation, tied to a prefix that has guidance.

        Raises:
            PolicyError: The observation lacks a camera or has a state of another size; the
                prefix is longer than a chunk, or the checkpoint was not trained for it.
        """
        return self._draw(obs, prefix, 1)[0]

    def samples(self, obs: Observation, count: int) -> list[ActionChunk]:
        """Return `count` chunks of one encoded observation, the first as `infer` gives it.

        Raises:
            PolicyError: As `infer`, or `count` is less than 1.
        """
        if count < 1:
            raise PolicyError(f'{count} samples asked for, expected at least 1.')
        return self._draw(obs, None, count)

    def _draw(self, obs: Observation, prefix: ChunkPrefix | None, count: int) -> list[ActionChunk]:
        start = time.perf_counter()
        inputs = self._prepare(obs)
        generator = torch.Generator().manual_seed(chunk_seed(self._seed, self._count))
        self._count += 1
        shape = (1, self.spec.horizon, self._dimensions)
        # One after the other: torch.randn's numbers depend on how many are asked for.
        noise = torch.cat([torch.randn(shape, generator=generator) for _ in range(count)])
        guide = self._guide(prefix, obs.joints)
        ready = time.perf_counter()
        self.announce()
        device = self.spec.device
        given = inputs.on(device, self.engine.expert.dtype)
        actions = self.chunks(given, noise.to(device), self._flow_steps, guide)
        numbers = actions.double().cpu().numpy()
        done = time.perf_counter()
        physical = self._action_stats.denormalize(numbers[..., : self._action_stats.width])
        timings = {'preprocess': ready - start, 'inference': done - ready}
        return [ActionChunk(obs.stamp, a, self.spec.step, timings) for a in physical]

    def _pixels(self, pictures: Sequence[Image]) -> Tensor:
        """Return pictures as `Inputs` has them: as they are where a graph resizes them."""
        assert self._letterbox is not None
        alike = len({picture.shape for picture in pictures}) == 1
        if isinstance(self.chunks, CapturedChunks) and alike:
            return torch.from_numpy(np.stack(pictures))
        return torch.from_numpy(self._letterbox(pictures))

    def _state(self, joints: JointState) -> Array:
        """Return the normalised state (S,)."""
        return self._state_stats.normalize(self._codec.state(joints))

    def _guide(self, prefix: ChunkPrefix | None, joints: JointState) -> Guide | None:
        """Turn a prefix into what the sampler takes; None where there is nothing to keep to."""
        if prefix is None or prefix.guidance is None:
            return None
        known, steps, guidance = len(prefix.actions), self.spec.horizon, prefix.guidance
        if guidance.jacobian not in JACOBIANS:
            raise UnknownNameError('jacobian', guidance.jacobian, JACOBIANS)
        if known > steps:
            raise PolicyError(f'the prefix has {known} steps, expected at most {steps}: cut it.')
        target = self._model_space(prefix.actions, joints)
        if guidance.jacobian == 'trained':
            if not self._longest_trained:
                raise PolicyError(
                    f'policy {self.spec.name} was not trained to take a prefix: its checkpoint '
                    "has no rtc_training_max_delay; choose jacobian 'exact' or 'identity'."
                )
            # A longer one is unknown to the network.
            return TrainedPrefix(target[: min(prefix.delay, self._longest_trained)])
        end = min(steps - prefix.horizon, known)
        weights = prefix_weights(steps, prefix.delay, end, guidance.schedule)
        if not weights.any():
            return None  # no backward pass for nothing
        exact = guidance.jacobian == 'exact'
        rows = torch.from_numpy(weights).float().to(self.spec.device)
        return PrefixGuidance(target, rows, guidance.limit, exact=exact)

    def _model_space(self, actions: Array, joints: JointState) -> Tensor:
        """Return absolute actions (K, A) relative to the joints, normalised and padded."""
        stats = self._action_stats.first(len(actions))
        target = stats.normalize(self._codec.relative(actions, joints))
        return torch.from_numpy(padded(target, self._dimensions)).float().to(self.spec.device)


def padded(vectors: Array, dimensions: int) -> Array:
    """Return vectors (..., A) with zeros behind, (..., dimensions)."""
    missing = dimensions - vectors.shape[-1]
    return np.pad(vectors, [(0, 0)] * (vectors.ndim - 1) + [(0, missing)])
