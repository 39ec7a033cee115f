"""pi0.5 in the layouts of openpi and LeRobot: the state is words of the prompt."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vla_ros.models.chunks import Inputs
from vla_ros.models.pi05 import Pi05, Pi05Config, Pi05Engine
from vla_ros.models.pi_weights import (
    gemma_config,
    HEAD,
    paligemma_config,
    projections,
    standard_names,
)
from vla_ros.policies.base import pictures_of
from vla_ros.policies.flow import FlowPolicy
from vla_ros.policies.loading import checkpoint, load
from vla_ros.policies.pi_layout import (
    Family,
    find_layout,
    PiCheckpoint,
    PiFlowOptions,
    read,
    read_statistics,
)
from vla_ros.policies.prompts import cleaned, state_words
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.statistics import Statistics
from vla_ros.types import Array, Observation

LONGEST = 200  # words of a prompt
FAMILY = Family(
    'pi05',
    ('openpi', 'lerobot'),
    steps=('pi05_prepare_state_tokenizer_processor_step',),
    longest=LONGEST,
    quantiles=True,
)
# Tensors that some files have and the network has not: PaliGemma's output layer, and what was
# copied from a pi0; LeRobot leaves them out too.
UNUSED = (HEAD, 'state_proj.weight', 'state_proj.bias')


@dataclass(frozen=True)
class Pi05Options(PiFlowOptions):
    """What a policy file may say under `options:`."""

    # Whether the prompt tells the state: openpi's discrete_state_input, off in pi05_libero.
    state_in_prompt: bool = True


class Pi05Policy(FlowPolicy):
    """Flow matching; the time modulates the norms of the action expert."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model, or the policy file
                says otherwise.
            UnknownNameError: There is no such unnorm_key, slot or option.
        """
        options = self._options = spec.read_options(Pi05Options)
        folder = checkpoint(spec)
        find_layout(folder, FAMILY)
        tensors = {
            name.replace('action_time_mlp_', 'time_mlp_'): value
            for name, value in standard_names(options.read(folder)).items()
            if name not in UNUSED
        }
        vlm = paligemma_config(tensors)
        size = vlm.vision_config.image_size
        given = self._given = read(spec, FAMILY, robot, size, options)
        config = Pi05Config(
            vlm,
            gemma_config(tensors, 'expert.'),
            projections(tensors)['max_action_dim'],
            **given.periods,
        )
        dtype = getattr(torch, spec.dtype)
        model = load(lambda: Pi05(config), tensors, folder, dtype=dtype, device=spec.device)
        options.round(model, ('vlm', 'expert'), folder)
        super().__init__(
            spec,
            robot,
            Pi05Engine(model, spec.horizon),
            options,
            state=given.state,
            action=given.action,
            dimensions=config.max_action_dim,
            letterbox=self._given.letterbox,
            longest_prompt=LONGEST,
            flow_steps=given.config.get('num_inference_steps', 10),
            longest_trained=given.config.get('rtc_training_max_delay', 0),
        )

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[Statistics, Statistics]:
        """Return the checkpoint's statistics of state and action.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        return read_statistics(spec, FAMILY)

    def _prepare(self, obs: Observation) -> Inputs:
        """Turn an observation into inputs of the network."""
        pixels = self._pixels(pictures_of(obs, self._given.images))
        state = self._state(obs.joints)
        told = state if self._options.state_in_prompt else None
        words = prompt(self._given, obs.instruction, told)
        return Inputs(pixels, torch.tensor(words))


def prompt(given: PiCheckpoint, instruction: str, state: Array | None) -> list[int]:
    """Return the numbers of a prompt's words; it tells a normalised state (S,) if given one."""
    if state is None:
        return given.words(cleaned(instruction), '\n')
    told = state_words(given.told(state))
    return given.words(f'Task: {cleaned(instruction)}, State: {told};\nAction: ')
