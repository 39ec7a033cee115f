"""SmolVLA as LeRobot publishes it: a folder with config.json and model.safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
import torch
from transformers import SmolVLMConfig

from vla_ros import paths
from vla_ros.errors import CheckpointError
from vla_ros.models.chunks import Inputs
from vla_ros.models.smolvla import renamed, SmolVLA, SmolVLAConfig, STACKS, VLMS
from vla_ros.models.smolvla_engine import SmolVLAEngine
from vla_ros.policies.base import pictures_of
from vla_ros.policies.flow import FlowOptions, FlowPolicy, padded
from vla_ros.policies.lerobot import (
    CONFIG,
    described,
    LeRobotFolder,
    OLD_PREFIXES,
    read_folder,
)
from vla_ros.policies.loading import checkpoint, load, read_json, require_equal, require_kind
from vla_ros.policies.pictures import Letterbox
from vla_ros.policies.slots import arranged
from vla_ros.policies.vocabulary import find_tokenizer, read_tokenizer
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.statistics import Statistics
from vla_ros.types import Observation

NEWLINE = 'smolvla_new_line_processor'  # LeRobot's step that ends the words
# What a checkpoint may ask for that is not implemented, and the value that asks for nothing.
# prefix_length, pad_language_to and empty_cameras add padding that nobody sees: left out.
REFUSED: Mapping[str, Any] = {
    'adapt_to_pi_aloha': False,
    'use_delta_joint_actions_aloha': False,
    'add_image_special_tokens': False,
    'n_obs_steps': 1,
}


@dataclass(frozen=True)
class SmolVLAOptions(FlowOptions):
    """What a policy file may say under `options:`; folders as `checkpoint:`."""

    tokenizer: str | None = None  # folder of tokenizer.json; None: in the checkpoint
    vlm: str | None = None  # folder of the VLM's config.json; None: the VLM is known by its name


class SmolVLAPolicy(FlowPolicy):
    """Flow matching by an expert that reads a small VLM; prefixes and samples as FlowPolicy."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Load the checkpoint folder that the policy file names.

        Raises:
            CheckpointError: A file is missing, damaged or of another model, or the checkpoint
                asks for something that is not implemented.
            UnknownNameError: An option, a slot or the unnorm_key does not exist.
        """
        options = spec.read_options(SmolVLAOptions)
        path = checkpoint(spec)
        folder = _folder(spec)
        table = folder.config
        config = _network(folder.path / CONFIG, table, options)
        try:
            side, other = table['resize_imgs_with_padding'] or (0, 0)
            longest = int(table['tokenizer_max_length'])
            flow_steps = int(table['num_steps'])
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(folder.path / CONFIG, error) from error
        stride = config.vlm.vision_config.patch_size * config.vlm.scale_factor
        if side != other or side < stride or side % stride:
            raise CheckpointError(
                f'{folder.path / CONFIG} has resize_imgs_with_padding '
                f'{table["resize_imgs_with_padding"]}, expected a square of a multiple of '
                f'{stride} px.'
            )
        folder.require(spec, robot)
        require_equal(spec, path, [('horizon', spec.horizon, config.horizon)])
        self._images = arranged(spec, path, folder.cameras, size=side)
        self._tokenizer = _tokenizer(path, table, options, config.vlm.text_config.vocab_size)
        self._tokenizer.enable_truncation(longest)
        tensors = options.read(path)
        weights = {n: v for n, v in tensors.items() if not n.startswith(OLD_PREFIXES)}
        model = load(
            lambda: SmolVLA(config),
            renamed(weights),
            path,
            dtype=getattr(torch, spec.dtype),
            device=spec.device,
        )
        options.round(model, STACKS, path)
        self._state_dim = config.state_dim
        super().__init__(
            spec,
            robot,
            SmolVLAEngine(model),
            options,
            state=folder.state,
            action=folder.action,
            dimensions=config.action_dim,
            letterbox=Letterbox(side, 'bilinear', sides='left-top'),
            longest_prompt=longest,
            flow_steps=flow_steps,
        )

    @staticmethod
    def statistics(spec: PolicySpec) -> tuple[Statistics, Statistics]:
        """Return the checkpoint's statistics of state and action.

        Raises:
            CheckpointError: A file is missing or damaged.
            UnknownNameError: The unnorm_key does not exist.
        """
        folder = _folder(spec)
        return folder.state, folder.action

    def _prepare(self, obs: Observation) -> Inputs:
        """Turn an observation into inputs of the network."""
        pixels = self._pixels(pictures_of(obs, self._images))
        text = obs.instruction if obs.instruction.endswith('\n') else f'{obs.instruction}\n'
        words = self._tokenizer.encode(text).ids
        state = padded(self._state(obs.joints), self._state_dim)
        return Inputs(pixels, torch.tensor(words), torch.from_numpy(state))


def _folder(spec: PolicySpec) -> LeRobotFolder:
    return read_folder(described(spec), 'smolvla', steps=(NEWLINE,), unnorm_key=spec.unnorm_key)


def _network(path: Path, table: Mapping[str, Any], options: SmolVLAOptions) -> SmolVLAConfig:
    """Return the sizes that a config.json gives, and refuse what is not implemented."""
    for key, neutral in REFUSED.items():
        if table.get(key, neutral) != neutral:
            raise CheckpointError(
                f'{path} has {key} {table[key]}, which is not implemented; expected {neutral}. '
                'Choose another checkpoint.'
            )
    name = str(table.get('vlm_model_name'))
    if options.vlm is not None:
        place = paths.share() / options.vlm / CONFIG
        vlm = read_json(place)
        require_kind(place, vlm, 'smolvlm')
    elif name in VLMS:
        vlm = dict(VLMS[name])
    else:
        raise CheckpointError(
            f"{path} is built on '{name}', whose sizes are not known here (known: "
            f"{', '.join(VLMS)}): name a folder with its config.json by "
            "'options: {vlm: FOLDER}' in the policy file."
        )
    try:
        sizes = SmolVLMConfig(**vlm)
        layers = int(table['num_vlm_layers'])
        if layers <= 0:
            layers = sizes.text_config.num_hidden_layers
        if int(table['num_expert_layers']) not in (-1, 0, layers):
            raise CheckpointError(
                f'{path} has an expert of {table["num_expert_layers"]} layers, expected as many '
                f'as the VLM, {layers}. Choose another checkpoint.'
            )
        return SmolVLAConfig(
            sizes,
            layers=layers,
            self_every=int(table['self_attn_every_n_layers']),
            cross='cross' in table['attention_mode'],
            expert_width=float(table['expert_width_multiplier']),
            horizon=int(table['chunk_size']),
            state_dim=int(table['max_state_dim']),
            action_dim=int(table['max_action_dim']),
            min_period=float(table['min_period']),
            max_period=float(table['max_period']),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f'{path} cannot be used: {error!r}. Copy the checkpoint again.')


def _tokenizer(
    folder: Path, table: Mapping[str, Any], options: SmolVLAOptions, vocabulary: int
) -> Tokenizer:
    """Read the VLM's tokenizer; its words must have a place in the network's table."""
    given = None if options.tokenizer is None else paths.share() / options.tokenizer
    file = find_tokenizer(folder, given, str(table.get('vlm_model_name')))
    tokenizer = read_tokenizer(file)
    if tokenizer.get_vocab_size() > vocabulary:
        raise CheckpointError(
            f'{file} has {tokenizer.get_vocab_size()} words, the network {vocabulary}: it is of '
            f'another model. Copy that of {table.get("vlm_model_name")}.'
        )
    return tokenizer
