"""Folders that LeRobot writes: config.json, model.safetensors and the normalisation statistics.

From LeRobot 0.4 on the statistics lie beside policy_preprocessor.json and
policy_postprocessor.json; before, they were tensors of model.safetensors.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

import numpy as np
from torch import Tensor

from vla_ros import paths
from vla_ros.errors import CheckpointError, ShapeError, UnknownNameError
from vla_ros.policies.loading import (
    checkpoint,
    read_json,
    read_safetensors,
    require_equal,
    require_kind,
    WEIGHTS,
)
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.statistics import Bounds, Identity, MeanStd, Statistics

CONFIG = 'config.json'
PREPROCESSOR, POSTPROCESSOR = 'policy_preprocessor.json', 'policy_postprocessor.json'
STATE, ACTION, IMAGES = 'observation.state', 'action', 'observation.images.'  # features
EMPTY = 'empty_camera_'  # a picture that never is there: LeRobot masks it
# Steps of a pipeline that every adapter has, or that mean nothing to a single observation.
STEPS = (
    'rename_observations_processor', 'to_batch_processor', 'device_processor',
    'normalizer_processor', 'unnormalizer_processor', 'tokenizer_processor',
    'relative_actions_processor', 'absolute_actions_processor',
)  # fmt: skip
# mode -> the two statistics that it uses
MODES = {
    'MEAN_STD': ('mean', 'std'),
    'MIN_MAX': ('min', 'max'),
    'QUANTILES': ('q01', 'q99'),
    'QUANTILE10': ('q10', 'q90'),
}
EPSILON = 1e-8  # LeRobot's, where a pipeline does not say another
# normalize_inputs.buffer_observation_state.mean; a file with the statistics of several data
# sets has so100_buffer_... and so100-red_buffer_..., whose first word is the unnorm_key.
OLD_KEY = re.compile(r'(?:normalize_inputs|unnormalize_outputs)\.(?:(.+)_)?buffer_(.+)\.(\w+)')
OLD_PREFIXES = ('normalize_inputs.', 'normalize_targets.', 'unnormalize_outputs.')


@dataclass(frozen=True)
class LeRobotFolder:
    """What the files of a LeRobot folder say, the weights aside."""

    path: Path
    config: Mapping[str, Any]  # config.json
    state_width: int
    action_width: int
    cameras: tuple[str, ...]  # pictures in the order of the checkpoint
    state: Statistics
    action: Statistics
    relative: bool  # whether actions are trained relative to the state

    def require(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Compare the folder with a policy file.

        Raises:
            CheckpointError: Widths, or what actions are relative to, differ.
        """
        relative = any(part.relative_to == 'observation' for part in spec.action)
        require_equal(
            spec,
            self.path,
            (
                ('state dimensions', width(spec.state, robot), self.state_width),
                ('action dimensions', width(spec.action, robot), self.action_width),
                ('actions relative to the observation', relative, self.relative),
            ),
        )


def read_folder(
    path: Path, kind: str, *, steps: Collection[str] = (), unnorm_key: str | None = None
) -> LeRobotFolder:
    """Read a folder of LeRobot, 0.3 (statistics among the weights) to 0.6 (in files of their own).

    Args:
        path: The folder.
        kind: What `type` of config.json must be, such as 'smolvla'.
        steps: Steps of the preprocessor that the adapter implements, beside STEPS.
        unnorm_key: Which data set's statistics, where the weights hold several.

    Raises:
        CheckpointError: A file is missing, damaged or of another policy; a step is unknown; there
            are no statistics.
        UnknownNameError: There is no such unnorm_key.
    """
    config = read_json(path / CONFIG)
    require_kind(path / CONFIG, config, kind, key='type')
    inputs = _features(path, config, 'input_features')
    outputs = _features(path, config, 'output_features')
    sizes = {}
    for name, table in ((STATE, inputs), (ACTION, outputs)):
        if len(table.get(name, ('', ()))[1]) != 1:
            raise CheckpointError(f"{path / CONFIG} has no vector '{name}' among its features.")
        sizes[name] = table[name][1][0]
    relative = False
    if (path / PREPROCESSOR).is_file():
        before, after = _pipeline(path / PREPROCESSOR), _pipeline(path / POSTPROCESSOR)
        for name in before.keys() | after.keys():
            if name not in (*STEPS, *steps):
                raise CheckpointError(
                    f"{path} has a step '{name}' that adapter '{kind}' does not know: the "
                    f'numbers would not be those of its training. Known: {(*STEPS, *steps)}.'
                )
        if unnorm_key is not None:
            raise UnknownNameError('unnorm_key', unnorm_key, (), str(path / PREPROCESSOR))
        relative = bool(_options(before, 'relative_actions_processor').get('enabled'))
        state = _statistics(path, before, 'normalizer_processor', STATE, 'STATE', sizes[STATE])
        action = _statistics(
            path, after, 'unnormalizer_processor', ACTION, 'ACTION', sizes[ACTION]
        )
    else:
        state, action = _old_statistics(path, config, sizes, unnorm_key)
    pictures = [name.removeprefix(IMAGES) for name in inputs if inputs[name][0] == 'VISUAL']
    cameras = tuple(name for name in pictures if not name.startswith(EMPTY))
    return LeRobotFolder(
        path, config, sizes[STATE], sizes[ACTION], cameras, state, action, relative
    )


def described(spec: PolicySpec) -> Path:
    """Return the folder whose configuration and statistics count for a policy file.

    It is that of the LoRA adapter where LeRobot wrote them beside it: the checkpoint's are of the
    data that the adapter was not trained on.
    """
    lora = spec.options.get('lora')
    if lora is not None and (paths.share() / str(lora) / CONFIG).is_file():
        return paths.share() / str(lora)
    return checkpoint(spec)


def _features(
    path: Path, config: Mapping[str, Any], key: str
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return name -> (type, shape) of the features in config.json."""
    try:
        return {
            name: (feature['type'], tuple(int(n) for n in feature['shape']))
            for name, feature in config[key].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{path / CONFIG} has no usable '{key}' ({error!r}); expected "
            "{name: {'type', 'shape'}}. Copy the checkpoint again."
        ) from error


def _pipeline(path: Path) -> dict[str, Mapping[str, Any]]:
    """Return the steps of a pipeline by name."""
    try:
        return {
            step.get('registry_name') or step['class']: step for step in read_json(path)['steps']
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} has no usable 'steps' ({error!r}); copy the checkpoint again."
        ) from error


def _options(pipeline: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    options: Mapping[str, Any] = pipeline.get(name, {}).get('config', {})
    return options


def _statistics(
    path: Path,
    pipeline: Mapping[str, Mapping[str, Any]],
    step: str,
    feature: str,
    role: str,
    size: int,
) -> Statistics:
    """Read what a step of a pipeline does to one feature."""
    options = _options(pipeline, step)
    mode = options.get('norm_map', {}).get(role, 'IDENTITY')
    if role == 'STATE':  # LeRobot asks for the names of observations, not for that of the action
        asked = options.get('normalize_observation_keys', options.get('features', {}))
        mode = mode if feature in asked else 'IDENTITY'
    if mode == 'IDENTITY':
        return Identity(size)
    name = pipeline[step].get('state_file')
    if name is None:
        raise CheckpointError(
            f"{path}: step '{step}' has no file of statistics although {role} is normalised by "
            f'{mode}: the checkpoint was never trained on a data set. Fine-tune it.'
        )
    tensors = read_safetensors(path / name)
    table = {key.rpartition('.')[2]: value for key, value in tensors.items()
             if key.rpartition('.')[0] == feature}  # fmt: skip
    return _build(path / name, feature, mode, table, size, float(options.get('eps', EPSILON)),
                  always=False)  # fmt: skip


def _old_statistics(
    path: Path, config: Mapping[str, Any], sizes: Mapping[str, int], unnorm_key: str | None
) -> tuple[Statistics, Statistics]:
    """Read the statistics among the weights, those of state and action."""
    tensors = read_safetensors(path / WEIGHTS, OLD_PREFIXES)
    found: dict[str | None, dict[str, dict[str, Tensor]]] = {}
    for key, value in tensors.items():
        match = OLD_KEY.fullmatch(key)
        if match:
            variant, feature, statistic = match.groups()
            found.setdefault(variant, {}).setdefault(feature, {})[statistic] = value
    variant = unnorm_key
    if unnorm_key is None and len(found) == 1:
        (variant,) = found
    if found and variant not in found:
        raise UnknownNameError(
            'unnorm_key', str(unnorm_key), [str(v) for v in found], str(path / WEIGHTS)
        )
    built: list[Statistics] = []
    for feature, role in ((STATE, 'STATE'), (ACTION, 'ACTION')):
        mode = config.get('normalization_mapping', {}).get(role, 'IDENTITY')
        if mode == 'IDENTITY':
            built.append(Identity(sizes[feature]))
            continue
        if not found:
            raise CheckpointError(
                f'{path} has no {PREPROCESSOR}, and {WEIGHTS} has no normalize_inputs.* either, '
                f'although {role} is normalised by {mode}: copy the missing files of the '
                'checkpoint.'
            )
        table = found[variant].get(feature.replace('.', '_'), {})
        built.append(
            _build(path / WEIGHTS, feature, mode, table, sizes[feature], EPSILON, always=True)
        )
    return built[0], built[1]


def _build(
    path: Path,
    feature: str,
    mode: str,
    table: Mapping[str, Tensor],
    size: int,
    epsilon: float,
    *,
    always: bool,
) -> Statistics:
    """Build the statistics of one feature.

    Args:
        path: Their file.
        feature: Its name.
        mode: A word of MODES.
        table: Name of a statistic -> values (size,).
        size: Dimensions of the feature.
        epsilon: What is added to the span.
        always: Whether to each span, as up to LeRobot 0.3, or only to spans of 0.

    Raises:
        CheckpointError: They are missing, of another shape or cannot be used.
        UnknownNameError: There is no such mode.
    """
    if mode not in MODES:
        raise UnknownNameError('normalisation', mode, [*MODES, 'IDENTITY'], str(path))
    names = MODES[mode]
    missing = [f'{feature}.{name}' for name in names if name not in table]
    if missing:
        raise CheckpointError(
            f'{path} has no {" and no ".join(missing)} for {mode}: the checkpoint was not '
            "trained on one robot's data, or the file is incomplete. Fine-tune it, or copy it "
            'again.'
        )
    first, second = (table[name].double().numpy() for name in names)
    try:
        if first.shape != (size,):
            raise ShapeError(f'{names[0]} has shape {first.shape}, expected ({size},)')
        if mode == 'MEAN_STD':
            return MeanStd(first, second, epsilon)
        if always:
            return Bounds(first, second, epsilon=epsilon)
        return Bounds(first, np.where(second == first, first + epsilon, second))
    except (ShapeError, CheckpointError) as error:
        raise CheckpointError(
            f"{path}: the statistics of '{feature}' cannot be used: {error} Copy the checkpoint "
            'again, or fine-tune it.'
        ) from error
