"""pi0 in the layouts of transformers, openpi and LeRobot, run by transformers' own network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PaliGemmaConfig, PI0Config, PI0ForConditionalGeneration

from vla_ros.errors import CheckpointError
from vla_ros.models.chunks import Inputs
from vla_ros.models.pi0 import Pi0Engine
from vla_ros.models.pi_weights import (
    gemma_config,
    HEAD,
    paligemma_config,
    projections,
    standard_names,
)
from vla_ros.policies.base import pictures_of
from vla_ros.policies.flow import FlowPolicy, padded
from vla_ros.policies.loading import checkpoint, load, load_pretrained, placed
from vla_ros.policies.pi_layout import (
    Family,
    find_layout,
    PiCheckpoint,
    PiFlowOptions,
    read,
    read_statistics,
)
from vla_ros.policies.prompts import cleaned
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.statistics import Statistics
from vla_ros.types import Observation

LONGEST = 48  # words of a prompt
FAMILY = Family(
    'pi0',
    ('transformers', 'openpi', 'lerobot'),
    steps=('pi0_new_line_processor',),
    longest=LONGEST,
)
NAMES = {  # standard name -> name in transformers
    'vlm.': 'model.vlm.',
    'expert.': 'model.dit.',
    'state_proj.': 'embed_action_time.state_proj.',
    'action_in_proj.': 'embed_action_time.action_in_proj.',
    'action_time_mlp_': 'embed_action_time.action_time_mlp_',
    'time_mlp_': 'embed_action_time.action_time_mlp_',  # of older files
}


class Pi0(FlowPolicy):
    """Flow matching; the state is a token of the action expert, time is mixed into its input."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model, or the policy file
                says otherwise.
            UnknownNameError: There is no such unnorm_key, slot or option.
        """
        options = spec.read_options(PiFlowOptions)
        folder = checkpoint(spec)
        dtype = getattr(torch, spec.dtype)
        if find_layout(folder, FAMILY) == 'transformers':
            if options.lora is not None:
                raise CheckpointError(
                    f'{folder} is in the layout of transformers, in which adapters are not read: '
                    "merge it with peft, or leave 'lora' out of the policy file."
                )
            model = load_pretrained(PI0ForConditionalGeneration, folder, dtype=dtype)
            size = model.config.vlm_config.vision_config.image_size
            self._given = read(spec, FAMILY, robot, size, options)
            model = placed(model, spec.device)
        else:
            tensors = standard_names(options.read(folder))
            vlm = paligemma_config(tensors)
            size = vlm.vision_config.image_size
            self._given = read(spec, FAMILY, robot, size, options)
            config = build_config(tensors, vlm, spec.horizon, self._given.periods)
            model = load(
                lambda: build(config),
                transformers_names(tensors),
                folder,
                dtype=dtype,
                device=spec.device,
            )
        options.round(model, ('model',), folder)
        self._state_dim = model.config.max_state_dim
        super().__init__(
            spec,
            robot,
            Pi0Engine(model),
            options,
            state=self._given.state,
            action=self._given.action,
            dimensions=model.config.max_action_dim,
            letterbox=self._given.letterbox,
            longest_prompt=LONGEST,
            flow_steps=self._given.config.get('num_inference_steps', 10),
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
        state = padded(self._state(obs.joints), self._state_dim)
        words = prompt(self._given, obs.instruction)
        return Inputs(pixels, torch.tensor(words), torch.from_numpy(state))


def prompt(given: PiCheckpoint, instruction: str) -> list[int]:
    """Return the numbers of a prompt's words: what each layout ends with a line end."""
    if given.layout == 'openpi':
        return given.words(cleaned(instruction), '\n')
    if given.layout == 'lerobot' and instruction.endswith('\n'):
        return given.words(instruction)
    return given.words(instruction + '\n')


def build_config(
    tensors: Mapping[str, Tensor], vlm: PaliGemmaConfig, horizon: int, periods: Mapping[str, float]
) -> PI0Config:
    """Return the configuration of the network that has these tensors, by standard names.

    Raises:
        CheckpointError: A tensor that tells a size is missing.
    """
    return PI0Config(
        vlm_config=vlm,
        dit_config=gemma_config(tensors, 'expert.'),
        chunk_size=horizon,
        **projections(tensors),
        **periods,
    )


def build(config: PI0Config) -> PI0ForConditionalGeneration:
    """Return the network; its expert has no words, which the files do not give either."""
    model = PI0ForConditionalGeneration(config)
    model.model.dit.embed_tokens = None
    return model


def transformers_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by transformers' names; PaliGemma's output layer has no use."""
    found = {}
    for name, value in tensors.items():
        if name == HEAD:
            continue
        start = next((s for s in NAMES if name.startswith(s)), '')
        found[NAMES.get(start, '') + name.removeprefix(start)] = value
    return found
