"""The layouts in which checkpoints of the pi0 family are published, and what each prescribes.

transformers: config.json with `model_type`, processor_config.json with the statistics.
openpi: its torch weights, assets/NAME/norm_stats.json. LeRobot: config.json with `type`, two
pipelines and their statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vla_ros import paths
from vla_ros.errors import CheckpointError, UnknownNameError
from vla_ros.policies.flow import FlowOptions
from vla_ros.policies.lerobot import CONFIG, described, read_folder
from vla_ros.policies.loading import (
    checkpoint,
    INDEX,
    read_json,
    require_equal,
    require_kind,
    WEIGHTS,
)
from vla_ros.policies.pi_statistics import openpi_statistics, PROCESSOR, transformers_statistics
from vla_ros.policies.pictures import Letterbox
from vla_ros.policies.prompts import BOS, EOS, Words
from vla_ros.policies.slots import arranged
from vla_ros.policies.vocabulary import find_tokenizer, read_tokenizer
from vla_ros.policies.weights import WeightOptions
from vla_ros.robot import RobotSpec
from vla_ros.spec import ImageSpec, PolicySpec, width
from vla_ros.statistics import Statistics
from vla_ros.types import Array

SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')  # pictures of openpi's models
TOKENIZER = 'google/paligemma-3b-pt-224'
SIGNS = {  # how a folder of a layout is known
    'transformers': "config.json with model_type '{kind}'",
    'openpi': f'{WEIGHTS} and assets/NAME/norm_stats.json',
    'lerobot': "config.json with type '{kind}'",
}

T = TypeVar('T')


@dataclass(frozen=True)
class Family:
    """One model and how it is published."""

    kind: str  # name in config.json
    layouts: tuple[str, ...]  # words of SIGNS
    steps: tuple[str, ...]  # of LeRobot's preprocessor, done by the adapter
    longest: int | None = None  # words of a prompt in openpi
    quantiles: bool = False  # whether openpi normalises by q01 and q99, not by mean and std


@dataclass(frozen=True)
class PiOptions(WeightOptions):
    """What a policy file may say under `options:`."""

    tokenizer: str | None = None  # folder of tokenizer.json, as `checkpoint:`; None: within that
    border: float | None = None  # value of the bars around pictures, -1 black; None: by layout
    # pi0.5, pi0-FAST: whether the prompt tells the state's padding too; None: by version
    padded_state: bool | None = None


@dataclass(frozen=True)
class PiFlowOptions(PiOptions, FlowOptions):
    """Of pi0 and pi0.5, which are flows."""


@dataclass(frozen=True)
class PiCheckpoint:
    """What a folder says, the weights aside."""

    layout: str  # a word of SIGNS
    config: Mapping[str, Any]  # config.json, empty where there is none
    state: Statistics
    action: Statistics
    images: tuple[ImageSpec, ...]  # of the policy file, in the order of the network
    letterbox: Letterbox
    words: Words
    padded_state: bool  # whether a state in a prompt is told with its padding

    @property
    def periods(self) -> dict[str, float]:
        """Periods of the waves that tell the flow's time, where the folder names them."""
        return {k: self.config[k] for k in ('min_period', 'max_period') if k in self.config}

    def told(self, state: Array) -> Array:
        """Return what a prompt tells of a normalised state (S,)."""
        size = self.config.get('max_state_dim', 32) if self.padded_state else len(state)
        return np.pad(state, (0, max(size - len(state), 0)))


def find_layout(folder: Path, family: Family) -> str:
    """Return the layout of a folder, a word of SIGNS.

    Raises:
        CheckpointError: It is in none of the family's, or another model.
    """
    expected = ' or '.join(f'{n} ({SIGNS[n].format(kind=family.kind)})' for n in family.layouts)
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    weights = (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
    layout = 'openpi' if weights and (folder / 'assets').is_dir() else None
    for key, known in (('model_type', 'transformers'), ('type', 'lerobot')):
        if key in config:
            require_kind(folder / CONFIG, config, family.kind, key=key)
            layout = known
    if layout not in family.layouts:
        which = 'no' if layout is None else f'the {layout}'
        raise CheckpointError(
            f'{folder} is in {which} layout of {family.kind}, expected {expected}: copy what is '
            'missing, or point the policy file to another folder.'
        )
    return layout


def read_statistics(spec: PolicySpec, family: Family) -> tuple[Statistics, Statistics]:
    """Return the statistics of state and action that a checkpoint has, in any layout.

    Raises:
        CheckpointError: A file is missing or damaged.
        UnknownNameError: There is no such unnorm_key.
    """
    folder = checkpoint(spec)
    layout = find_layout(folder, family)
    if layout == 'openpi':
        return openpi_statistics(folder, spec.unnorm_key, quantiles=family.quantiles)
    if layout == 'transformers':
        return transformers_statistics(folder)
    found = read_folder(
        described(spec), family.kind, steps=family.steps, unnorm_key=spec.unnorm_key
    )
    return found.state, found.action


def read(
    spec: PolicySpec, family: Family, robot: RobotSpec, size: int, options: PiOptions
) -> PiCheckpoint:
    """Read what a folder prescribes, and compare it with the policy file.

    Args:
        spec: The policy file.
        family: Its adapter's model.
        robot: Whose joints and grippers count.
        size: Side of the network's pictures [px].
        options: Of the policy file.

    Raises:
        CheckpointError: A file is missing or damaged, or the policy file says otherwise.
        UnknownNameError: There is no such unnorm_key or slot.
    """
    folder = checkpoint(spec)
    layout = find_layout(folder, family)
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    if layout == 'lerobot':
        return _read_lerobot(spec, folder, family, robot, size, options)
    state, action = read_statistics(spec, family)
    if layout == 'openpi':
        horizon, longest = config.get('action_horizon', spec.horizon), family.longest
        images = arranged(spec, folder, SLOTS, optional=SLOTS[1:], size=size)
        letterbox = Letterbox(size, 'pillow', border=_or(options.border, -1.0))
    else:
        if spec.unnorm_key is not None:
            raise UnknownNameError('unnorm_key', spec.unnorm_key, (), str(folder / PROCESSOR))
        _require_processor(folder / PROCESSOR, size)
        horizon, longest = config.get('chunk_size', 50), None
        images = arranged(spec, folder, None, size=size)
        letterbox = Letterbox(size, 'bicubic', 'right-bottom', _or(options.border, 0.0))
    require_equal(
        spec,
        folder,
        (
            ('horizon', spec.horizon, horizon),
            ('state dimensions', width(spec.state, robot), state.width),
            ('action dimensions', width(spec.action, robot), action.width),
        ),
    )
    words = _words(folder, options, longest)
    padded = _or(options.padded_state, False)
    return PiCheckpoint(layout, config, state, action, images, letterbox, words, padded)


def _read_lerobot(
    spec: PolicySpec, folder: Path, family: Family, robot: RobotSpec, size: int, options: PiOptions
) -> PiCheckpoint:
    """Read a folder of LeRobot.

    Up to 0.4 it padded pictures in [0, 1] with -1, which made bars of -3, and told the state with
    its padding in the prompt. `use_relative_actions` in config.json tells later versions, but for
    0.5.0, which lacks it: for its checkpoints a policy file says `border: -1` and
    `padded_state: false`.
    """
    found = read_folder(
        described(spec), family.kind, steps=family.steps, unnorm_key=spec.unnorm_key
    )
    found.require(spec, robot)
    config, path = found.config, found.path / CONFIG
    for name in ('use_visual_memory', 'use_proprioceptive_memory'):
        if config.get(name):
            raise CheckpointError(
                f'{path} has {name}: networks with a memory of observations are not supported; '
                'choose a checkpoint without.'
            )
    resolution = tuple(config.get('image_resolution', (224, 224)))
    if resolution != (size, size):
        raise CheckpointError(
            f'{path} has image_resolution {resolution}, but the weights are of {size} px: copy '
            'the checkpoint again.'
        )
    require_equal(spec, folder, [('horizon', spec.horizon, config.get('chunk_size', 50))])
    old = 'use_relative_actions' not in config
    return PiCheckpoint(
        'lerobot',
        config,
        found.state,
        found.action,
        arranged(spec, folder, found.cameras, size=size),
        Letterbox(size, 'bilinear', border=_or(options.border, -3.0 if old else -1.0)),
        _words(folder, options, config.get('tokenizer_max_length')),
        _or(options.padded_state, old),
    )


def _require_processor(path: Path, size: int) -> None:
    """Check that pictures are treated as PI0ImageProcessor does, grey bars right and below."""
    pictures = read_json(path).get('image_processor', {})
    for what, expected in (
        ('resample', 3), ('image_mean', [0.5] * 3), ('image_std', [0.5] * 3), ('do_pad', True),
        ('size', {'max_height': size, 'max_width': size}),
        ('pad_size', {'height': size, 'width': size}),
    ):  # fmt: skip
        if pictures.get(what) != expected:
            raise CheckpointError(
                f'{path}: image_processor has {what} {pictures.get(what)}, expected {expected} '
                'as in PI0ImageProcessor; no other one is supported.'
            )


def _words(folder: Path, options: PiOptions, longest: int | None) -> Words:
    given = paths.share() / options.tokenizer if options.tokenizer is not None else None
    file = find_tokenizer(folder, given, TOKENIZER)
    return Words(read_tokenizer(file, (BOS, EOS)), longest)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
