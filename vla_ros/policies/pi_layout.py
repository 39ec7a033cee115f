"""The layouts in which checkpoints of the pi0 family are published, and what each prescribes.

transformers: config.json with `model_type`, processor_config.json with the statistics.
openpi: its torch weights, assets/NAME/norm_stats.json. LeRobot: config.json with `type`, two
pipelines and their statistics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros import paths
from vla_ros.errors import CheckpointError, ConfigError, ShapeError, UnknownNameError
from vla_ros.policies.lerobot import CONFIG, find_tokenizer, read_folder, read_json
from vla_ros.policies.loading import INDEX, load_tokenizer, require_equal, WEIGHTS
from vla_ros.policies.pictures import Letterbox
from vla_ros.policies.prompts import Words
from vla_ros.spec import ImageSpec, PolicySpec, width
from vla_ros.statistics import Bounds, MeanStd, Statistics
from vla_ros.types import Array

SLOTS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')  # pictures of openpi's models
TOKENIZER = 'google/paligemma-3b-pt-224'
PICTURES = 'observation.images.'  # LeRobot's features of pictures begin so
PROCESSOR = 'processor_config.json'
LAYOUTS = {
    'transformers': "config.json with model_type '{kind}'",
    'openpi': f'{WEIGHTS} and assets/NAME/norm_stats.json',
    'lerobot': "config.json with type '{kind}'",
}


@dataclass(frozen=True)
class PiOptions:
    """What a policy file may say under `options:`."""

    # Folders are relative to that of config/, or absolute.
    tokenizer: str | None = None  # folder of tokenizer.json; None: within the checkpoint
    border: float | None = None  # value of the bars around pictures, -1 black; None: by version
    # pi0.5, pi0-FAST: whether the prompt tells the state's padding too; None: by version
    padded_state: bool | None = None


@dataclass(frozen=True)
class PiCheckpoint:
    """What a folder says, the weights aside."""

    folder: Path
    layout: str  # a word of LAYOUTS
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


def find_layout(folder: Path, kind: str, known: Sequence[str]) -> str:
    """Return the layout of a folder, a word of LAYOUTS.

    Args:
        folder: The checkpoint.
        kind: Model as it is named in config.json.
        known: The layouts in which it is published.

    Raises:
        CheckpointError: It is in none of them, or another model.
    """
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    for key, layout in (('type', 'lerobot'), ('model_type', 'transformers')):
        if key in config:
            if config[key] != kind or layout not in known:
                raise CheckpointError(
                    f"{folder / CONFIG} has {key} '{config[key]}', expected "
                    f'{_listed(kind, known)}: choose the adapter of that model in the policy '
                    'file, or another checkpoint.'
                )
            return layout
    weights = (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()
    if 'openpi' in known and weights and (folder / 'assets').is_dir():
        return 'openpi'
    raise CheckpointError(
        f'{folder} is in no layout of {kind}, expected {_listed(kind, known)}: copy what is '
        'missing, or point the policy file to another folder.'
    )


def _listed(kind: str, known: Sequence[str]) -> str:
    return ' or '.join(f'{name} ({LAYOUTS[name].format(kind=kind)})' for name in known)


def read_openpi(
    folder: Path,
    spec: PolicySpec,
    dof: int,
    *,
    size: int,
    longest: int,
    quantiles: bool,
    options: PiOptions,
) -> PiCheckpoint:
    """Read a folder of openpi's torch models.

    Args:
        folder: The checkpoint.
        spec: The policy file; `unnorm_key` chooses one of several NAMEs of assets/.
        dof: Arm joints.
        size: Side of the network's pictures [px].
        longest: Words of a prompt in training.
        quantiles: Whether q01 and q99 normalise, not mean and std.
        options: Of the policy file.

    Raises:
        CheckpointError: A file is missing or damaged, or the policy file says otherwise.
        UnknownNameError: There is no such unnorm_key or slot.
    """
    config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    path = _norm_stats(folder, spec.unnorm_key)
    table = read_json(path).get('norm_stats')
    stats = [
        _openpi_statistics(path, table, key, width(slices, dof), quantiles=quantiles)
        for key, slices in (('state', spec.state), ('actions', spec.action))
    ]
    if 'action_horizon' in config:
        require_equal(spec, folder, [('horizon', spec.horizon, config['action_horizon'])])
    return PiCheckpoint(
        folder,
        'openpi',
        config,
        stats[0],
        stats[1],
        arranged(spec, folder, SLOTS, optional=SLOTS[1:], size=size),
        Letterbox(size, 'pillow', border=_or(options.border, -1.0)),
        _words(folder, options, longest),
        _or(options.padded_state, False),
    )


def read_lerobot(
    folder: Path,
    kind: str,
    spec: PolicySpec,
    dof: int,
    *,
    size: int,
    steps: Collection[str],
    options: PiOptions,
) -> PiCheckpoint:
    """Read a folder of LeRobot.

    Up to 0.4 LeRobot padded pictures in [0, 1] with -1, which made bars of -3, and told the
    state with its padding in the prompt. `use_relative_actions` in config.json tells later ones.

    Args:
        folder: The checkpoint.
        kind: `type` of config.json.
        spec: The policy file.
        dof: Arm joints.
        size: Side of the network's pictures [px].
        steps: Steps of the preprocessor that the adapter implements.
        options: Of the policy file.

    Raises:
        CheckpointError: A file is missing or damaged, or the policy file says otherwise.
        UnknownNameError: There is no such unnorm_key or slot.
    """
    found = read_folder(folder, kind, steps=steps, unnorm_key=spec.unnorm_key)
    found.require(spec, dof)
    config = found.config
    for name in ('use_visual_memory', 'use_proprioceptive_memory'):
        if config.get(name):
            raise CheckpointError(
                f'{folder / CONFIG} has {name}: networks with a memory of observations are not '
                'supported; choose a checkpoint without.'
            )
    resolution = tuple(config.get('image_resolution', (224, 224)))
    if resolution != (size, size):
        raise CheckpointError(
            f'{folder / CONFIG} has image_resolution {resolution}, but the weights are of '
            f'{size} px: copy the checkpoint again.'
        )
    require_equal(spec, folder, [('horizon', spec.horizon, config.get('chunk_size', 50))])
    cameras = tuple(name.removeprefix(PICTURES) for name in found.cameras)
    old = 'use_relative_actions' not in config
    return PiCheckpoint(
        folder,
        'lerobot',
        config,
        found.state,
        found.action,
        arranged(
            spec,
            folder,
            cameras,
            optional=[c for c in cameras if c.startswith('empty_camera_')],
            size=size,
        ),
        Letterbox(size, 'bilinear', border=_or(options.border, -3.0 if old else -1.0)),
        _words(folder, options, config.get('tokenizer_max_length')),
        _or(options.padded_state, old),
    )


def read_transformers(
    folder: Path, spec: PolicySpec, dof: int, *, size: int, options: PiOptions
) -> PiCheckpoint:
    """Read what PI0Processor saves; its bars are grey and lie right and below.

    Raises:
        CheckpointError: A file is missing or damaged, or the policy file says otherwise.
    """
    if spec.unnorm_key is not None:
        raise UnknownNameError('unnorm_key', spec.unnorm_key, (), str(folder / PROCESSOR))
    config, table = read_json(folder / CONFIG), read_json(folder / PROCESSOR)
    pictures = table.get('image_processor', {})
    for what, expected in (
        ('resample', 3), ('image_mean', [0.5] * 3), ('image_std', [0.5] * 3), ('do_pad', True),
        ('size', {'max_height': size, 'max_width': size}),
        ('pad_size', {'height': size, 'width': size}),
    ):  # fmt: skip
        if pictures.get(what) != expected:
            raise CheckpointError(
                f'{folder / PROCESSOR}: image_processor has {what} {pictures.get(what)}, '
                f'expected {expected} as in PI0ImageProcessor; no other one is supported.'
            )
    stats = []
    for name, slices in (('state', spec.state), ('actions', spec.action)):
        mean, std = table.get(f'{name}_mean'), table.get(f'{name}_std')
        if mean is None or std is None:
            raise CheckpointError(
                f'{folder / PROCESSOR} has no {name}_mean and {name}_std: write there the '
                'statistics of the data set that the checkpoint was trained on.'
            )
        stats.append(_built(folder / PROCESSOR, name, MeanStd, mean, std, 1e-8))
        require_equal(
            spec, folder, [(f'{name} dimensions', width(slices, dof), stats[-1].width)]
        )
    require_equal(spec, folder, [('horizon', spec.horizon, config.get('chunk_size', 50))])
    return PiCheckpoint(
        folder,
        'transformers',
        config,
        stats[0],
        stats[1],
        arranged(spec, folder, None, optional=(), size=size),
        Letterbox(size, 'bicubic', 'right-bottom', _or(options.border, 0.0)),
        _words(folder, options, None),
        False,
    )


def arranged(
    spec: PolicySpec,
    folder: Path,
    slots: Sequence[str] | None,
    *,
    optional: Collection[str],
    size: int,
) -> tuple[ImageSpec, ...]:
    """Return the pictures of a policy file in the order of the network's slots.

    A slot without a picture is left out, which gives what a masked one gives: no other token sees
    it, and positions count the tokens that are there.

    Args:
        spec: The policy file.
        folder: The checkpoint, for messages.
        slots: Names in the order of the network; None where it names none and takes any number.
        optional: Slots that a policy file without slots may leave out.
        size: Side of the network's pictures [px].

    Raises:
        CheckpointError: There are too few pictures, too many, or of another size.
        UnknownNameError: A slot is not among those of the network.
    """
    named = [image.slot for image in spec.images if image.slot is not None]
    images = spec.images
    if slots is None and named:
        raise ConfigError(
            f'policy {spec.name}: the checkpoint {folder} names no slots; leave them out.'
        )
    if slots is not None:
        for slot in named:
            if slot not in slots:
                raise UnknownNameError('slot', slot, slots, f'policy {spec.name}')
        least = 1 if named else len([slot for slot in slots if slot not in optional])
        if not least <= len(images) <= len(slots):
            raise CheckpointError(
                f'policy {spec.name} has {len(images)} images, but the checkpoint {folder} was '
                f'trained with {", ".join(slots)}; give each, or give those that there are by '
                "'slot:'."
            )
        if named:
            images = tuple(sorted(images, key=lambda image: slots.index(image.slot or '')))
    if not images:
        raise CheckpointError(f'policy {spec.name} has no image; {folder} wants at least one.')
    require_equal(spec, folder, [('image sizes', {i.size for i in spec.images}, {size})])
    return images


def _words(folder: Path, options: PiOptions, longest: int | None) -> Words:
    given = paths.share() / options.tokenizer if options.tokenizer is not None else None
    return Words(load_tokenizer(find_tokenizer(folder, given, TOKENIZER)), longest)


def _norm_stats(folder: Path, unnorm_key: str | None) -> Path:
    """Return the one norm_stats.json, or the one that the policy file names."""
    assets = folder / 'assets'
    found = {
        path.parent.relative_to(assets).as_posix(): path
        for path in sorted(assets.rglob('norm_stats.json'))
    }
    if not found:
        raise CheckpointError(
            f'{assets} has no NAME/norm_stats.json: copy the statistics of the data set that the '
            'checkpoint was trained on.'
        )
    if unnorm_key is None and len(found) == 1:
        return next(iter(found.values()))
    if unnorm_key not in found:
        raise UnknownNameError('unnorm_key', str(unnorm_key), found, str(assets))
    return found[unnorm_key]


def _openpi_statistics(
    path: Path, table: Any, key: str, size: int, *, quantiles: bool
) -> Statistics:
    """Return the first `size` dimensions; what openpi has beyond them is padding."""
    names = ('q01', 'q99') if quantiles else ('mean', 'std')
    try:
        low, high = (np.array(table[key][name], dtype=np.float64) for name in names)
        beyond = np.concatenate([low[size:], high[size:]])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(
            f"{path} has no {names[0]} and {names[1]} of '{key}' ({error!r}), expected "
            "{'norm_stats': {'state': {'mean', 'std', 'q01', 'q99'}, 'actions': {...}}}: copy "
            'it again, or compute them.'
        ) from error
    if len(low) < size or np.abs(beyond).max(initial=0.0) > 1e-6:
        raise CheckpointError(
            f"{path} has {len(low)} dimensions of '{key}', the policy file {size}: correct "
            'its slices, or choose the statistics of this robot.'
        )
    return _built(path, key, Bounds if quantiles else MeanStd, low[:size], high[:size], 1e-6)


def _built(
    path: Path, key: str, cls: type[Bounds | MeanStd], first: Any, second: Any, epsilon: float
) -> Statistics:
    try:
        return cls(first, second, epsilon=epsilon)
    except (ShapeError, CheckpointError) as error:
        raise CheckpointError(
            f"{path}: the statistics of '{key}' cannot be used: {error} Copy it again."
        ) from error


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value
