"""OpenVLA-OFT: pictures, a sentence and the state to a chunk of actions in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import time

import numpy as np
import torch
from torch import nn

from vla_ros.actions.decode import Codec
from vla_ros.errors import CheckpointError, UnknownNameError
from vla_ros.models.chunks import CapturedAnswers, Inputs, Recorder
from vla_ros.models.oft_heads import RegressionHead, StateProjector
from vla_ros.models.prismatic_engine import ParallelEngine
from vla_ros.policies.base import pictures_of
from vla_ros.policies.loading import checkpoint, load, require_equal
from vla_ros.policies.oft_files import find_component, read_component, read_vision
from vla_ros.policies.prismatic import LONGEST, PrismaticFolder
from vla_ros.policies.rlds_pictures import prepared
from vla_ros.policies.weights import WeightOptions
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.statistics import Bounds, Identity
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Observation

NORMALIZATIONS = {  # of actions and state -> the statistics that become -1 and 1
    'bounds_q99': ('q01', 'q99'),
    'bounds': ('min', 'max'),
}
EPSILON = 1e-8  # added to their difference


@dataclass(frozen=True)
class OpenVlaOftOptions(WeightOptions):
    """What a policy file may set under `options`; no file of a checkpoint tells it."""

    normalization: str = 'bounds_q99'  # a word of NORMALIZATIONS
    centre_crop: bool = True  # for models that were trained with random crops

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalization not in NORMALIZATIONS:
            raise UnknownNameError('normalization', self.normalization, NORMALIZATIONS)


class OpenVlaOft:
    """Answers with (horizon, A) actions, in the units that the policy file declares.

    The head regresses actions (L1); folders with a diffusion head are refused. Words modulate
    the vision transformers (FiLM) where the folder has a vision_backbone file.
    """

    offers: frozenset[str] = frozenset()
    hot: None = None  # no part runs often: a whole chunk is captured, see `compiling`

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model, or it does not fit
                the policy file.
            UnknownNameError: An option or the unnorm_key is not known.
        """
        self.spec = spec
        self._options = spec.read_options(OpenVlaOftOptions)
        self._folder = folder = PrismaticFolder(checkpoint(spec))
        self._codec = Codec(robot, robot.urdf_path, spec)
        self._action_stats = _bounds(folder, spec, 'action')
        require_equal(spec, folder.path, (
            ('image sizes', {i.size for i in spec.images}, {folder.size}),
            ('action dimensions', width(spec.action, robot), self._action_stats.width),
        ))  # fmt: skip
        if find_component(folder.path, 'noisy_action_projector'):
            raise CheckpointError(
                f'{folder.path} has a noisy_action_projector: its head is a diffusion model, '
                'which this adapter cannot run; choose a checkpoint trained by L1 regression.'
            )
        vision = find_component(folder.path, 'vision_backbone')
        self._model = folder.model(spec, self._options, read_vision(vision) if vision else None)
        self._head = self._component('action_head', RegressionHead, self._action_stats.width)
        self._projector = None
        if find_component(folder.path, 'proprio_projector') or spec.state:
            self._state_stats = _bounds(folder, spec, 'proprio')
            size = width(spec.state, robot)
            require_equal(
                spec, folder.path, [('state dimensions', size, self._state_stats.width)]
            )
            self._projector = self._component('proprio_projector', StateProjector, size)
        self._has_film = vision is not None
        self._told: tuple[str, torch.Tensor, list[torch.Tensor]] | None = None  # newest words
        count = spec.horizon * self._action_stats.width
        self._engine = ParallelEngine(self._model, self._head, self._projector, count)
        self.chunks: Callable[..., torch.Tensor] = self._engine  # or captured, see `compiling`

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[Bounds | Identity, Bounds]:
        """Return the checkpoint's statistics of state and action.

        Raises:
            CheckpointError: A file is missing or damaged.
            UnknownNameError: An option or the unnorm_key is not known.
        """
        folder = PrismaticFolder(checkpoint(spec))
        sees_state = spec.state or find_component(folder.path, 'proprio_projector')
        state = _bounds(folder, spec, 'proprio') if sees_state else Identity(0)
        return state, _bounds(folder, spec, 'action')

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; its words come with each observation, and nothing is drawn."""
        del instruction, seed

    def captured(self, recorder: Recorder) -> CapturedAnswers:
        """Return `chunks` as graphs of prompts up to LONGEST words."""
        return CapturedAnswers(self._engine, LONGEST, recorder)

    @torch.inference_mode()
    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return a chunk (horizon, A); a prefix changes nothing.

        Raises:
            PolicyError: The observation lacks a camera or has another robot's joints.
        """
        del prefix
        start = time.perf_counter()
        state = self._codec.state(obs.joints)
        crop = self._options.centre_crop
        images = [
            prepared(image, self._folder.size, resize=True, crop=crop)
            for image in pictures_of(obs, self.spec.images)
        ]
        pixels = torch.from_numpy(np.stack([self._folder.pixels(image) for image in images]))
        prompt, films = self._words(obs.instruction)
        own = torch.from_numpy(self._normalized(state)) if self._projector is not None else None
        ready = time.perf_counter()
        actions = self.chunks(Inputs(pixels, prompt, own).on(*self._model.place), *films)
        physical = self._action_stats.denormalize(actions.double().cpu().numpy())
        done = time.perf_counter()
        timings = {'preprocess': ready - start, 'inference': done - ready}
        return ActionChunk(obs.stamp, physical, self.spec.step, timings)

    def _words(self, instruction: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the prompt (W,) and its modulation of pictures, which last for many chunks."""
        if self._told is None or self._told[0] != instruction:
            prompt = self._folder.prompt(instruction)
            films = self._model.films(prompt) if self._has_film else []
            self._told = instruction, torch.tensor(prompt), films
        return self._told[1:]

    def _normalized(self, state: Array) -> Array:
        """Return the state (S,) as the network sees it, cut to [-1, 1]."""
        return np.clip(self._state_stats.normalize(state), -1.0, 1.0)

    def _component(self, name: str, kind: Callable[[int, int], nn.Module], size: int) -> nn.Module:
        """Load a network of its own file.

        Raises:
            CheckpointError: The folder does not have it, or it does not fit.
        """
        file = find_component(self._folder.path, name)
        if file is None:
            raise CheckpointError(
                f'{self._folder.path} has no {name}--STEP_checkpoint.pt, expected one; download '
                'the whole checkpoint.'
            )
        device, dtype = self._model.place
        build = partial(kind, self._model.words, size)
        return load(build, read_component(file), file, dtype=dtype, device=str(device))


def _bounds(folder: PrismaticFolder, spec: PolicySpec, part: str) -> Bounds:
    """Return the statistics of 'action' or 'proprio' as the policy file's options say."""
    ends = NORMALIZATIONS[spec.read_options(OpenVlaOftOptions).normalization]
    return folder.bounds(spec.unnorm_key, part, ends, EPSILON)
