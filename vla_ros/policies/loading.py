"""Checkpoint folders: their JSON and tensors, read whole or refused with the cause."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
import json
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
import torch
from torch import nn, Tensor
from transformers.initialization import no_init_weights

from vla_ros import paths
from vla_ros.errors import CheckpointError, PolicyError
from vla_ros.spec import PolicySpec

WEIGHTS = 'model.safetensors'
INDEX = 'model.safetensors.index.json'  # of weights in several files

Network = TypeVar('Network', bound=nn.Module)


def checkpoint(spec: PolicySpec) -> Path:
    """Return the folder that a policy file points to.

    Raises:
        CheckpointError: It names none, or there is no such folder.
    """
    if spec.checkpoint is None:
        raise CheckpointError(f"policy {spec.name} names no checkpoint; add 'checkpoint:'.")
    folder = paths.share() / spec.checkpoint
    if not folder.is_dir():
        raise CheckpointError(
            f'{folder} is not a folder: download the checkpoint, and point the policy file '
            f'{spec.name} to where it is.'
        )
    return folder


def require_files(folder: Path, names: Iterable[str], cure: str) -> None:
    """Raise CheckpointError for the first file that a folder lacks.

    Args:
        folder: The checkpoint.
        names: What it must have.
        cure: What to do, a sentence.
    """
    for name in names:
        if not (folder / name).is_file():
            raise CheckpointError(f'{folder} has no {name}; expected {", ".join(names)}. {cure}')


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        CheckpointError: The file is missing, damaged or holds something else.
    """
    try:
        table = json.loads(Path(path).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CheckpointError(f'cannot read {path}: {error}. Copy it again.') from error
    if not isinstance(table, dict):
        raise CheckpointError(f'{path} holds a {type(table).__name__}, expected an object.')
    return table


def require_kind(
    file: Path, table: Mapping[str, Any], expected: str, *, key: str = 'model_type'
) -> None:
    """Raise CheckpointError for a config.json of another model.

    Args:
        file: Where it lies, for the message.
        table: What it holds.
        expected: Name of the model.
        key: Of the table, under which the name stands.
    """
    if table.get(key) != expected:
        raise CheckpointError(
            f"{file} has {key} '{table.get(key)}', expected '{expected}': choose the adapter of "
            'that model in the policy file, or another checkpoint.'
        )


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of `model.safetensors`, or of the files that its index names.

    Raises:
        CheckpointError: A file is missing, cut short or damaged.
    """
    if (folder / WEIGHTS).is_file():
        return read_safetensors(folder / WEIGHTS)
    if not (folder / INDEX).is_file():
        raise CheckpointError(
            f'{folder} has no {WEIGHTS} and no {INDEX}; download the whole checkpoint.'
        )
    names = read_json(folder / INDEX).get('weight_map')
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{folder / INDEX} has no usable 'weight_map'; copy it again.")
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(names.values())):
        tensors.update(read_safetensors(folder / name))
    lost = sorted(set(names) - set(tensors))
    if lost:
        raise CheckpointError(f'{folder}: {INDEX} promises {lost[:3]}, no file has them.')
    return tensors


def read_safetensors(path: Path, prefixes: tuple[str, ...] = ('',)) -> dict[str, Tensor]:
    """Return the tensors of one file, mapped from the disk.

    Args:
        path: The file.
        prefixes: Of the names that are wanted.

    Raises:
        CheckpointError: The file is missing, cut short or damaged.
    """
    try:
        with safe_open(path, framework='pt') as file:
            names = [name for name in file.keys() if name.startswith(prefixes)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}
    except Exception as error:  # safetensors, system and torch errors have no common root
        raise CheckpointError(
            f'cannot read {path}: {error}. The file is missing or damaged; copy it again.'
        ) from error


def load(
    build: Callable[[], Network],
    tensors: Mapping[str, Tensor],
    where: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = 'cpu',
) -> Network:
    """Return a network whose every tensor comes from a checkpoint, to be run, not trained.

    Args:
        build: Makes the network; its own numbers are never computed.
        tensors: Name in the network -> value.
        where: The checkpoint, for messages.
        dtype: Of the weights.
        device: Where the network runs.

    Raises:
        CheckpointError: A tensor is missing, of no use or of another shape.
        PolicyError: There is no such device.
    """
    with no_init_weights():
        network = build()
    expected = network.state_dict()
    missing = sorted(set(expected) - set(tensors))
    unexpected = sorted(set(tensors) - set(expected))
    mismatched = [
        f'{name} is {tuple(tensors[name].shape)}, expected {tuple(expected[name].shape)}'
        for name in sorted(set(expected) & set(tensors))
        if tensors[name].shape != expected[name].shape
    ]
    for kind, names in (
        ('missing', missing),
        ('unexpected', unexpected),
        ('mismatched', mismatched),
    ):
        if names:
            raise CheckpointError(
                f'{where} does not fit: {len(names)} {kind} tensors, such as {names[:3]}. The '
                'checkpoint is damaged or of another model; copy it again, or correct the '
                "policy file's adapter."
            )
    # Not `network.to(dtype)`: it would round what is computed, such as the waves of positions.
    network.load_state_dict({name: v.to(dtype) for name, v in tensors.items()}, assign=True)
    return placed(network, device).eval().requires_grad_(False)


def placed(network: Network, device: str) -> Network:
    """Return a network moved to a device.

    Raises:
        PolicyError: There is no such device, or too little memory on it.
    """
    try:
        return network.to(device)
    except (RuntimeError, AssertionError) as error:  # torch was built without it, or names it not
        raise PolicyError(
            f"the network cannot be moved to device '{device}': {error} Choose another 'device:' "
            "in the policy file, such as 'cpu'."
        ) from error


def load_pretrained(cls: type[Network], folder: Path, **options: Any) -> Network:
    """Return a transformers model whose every tensor comes from a folder in its own layout.

    Args:
        cls: The class of the model.
        folder: Has its `config.json` and weights.
        options: Of `from_pretrained`.

    Raises:
        CheckpointError: A file is damaged or of another model, or a tensor is missing, of no use
            or of another shape.
    """
    file = folder / 'config.json'
    require_kind(file, read_json(file), cls.config_class.model_type)
    try:
        model, info = cls.from_pretrained(
            folder,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # named below
            local_files_only=True,
            **options,
        )
    except Exception as error:  # safetensors, JSON and shape errors have no common root
        raise CheckpointError(
            f'cannot load {folder}: {error}. The checkpoint is damaged or of another model; '
            'copy it again.'
        ) from error
    for kind in ('missing_keys', 'unexpected_keys', 'mismatched_keys'):
        if info[kind]:
            raise CheckpointError(
                f'{folder} does not fit its config: {kind} {sorted(info[kind])[:3]}; '
                'copy it again.'
            )
    return model.eval().requires_grad_(False)


def require_equal(spec: PolicySpec, where: Path, rows: Iterable[tuple[str, Any, Any]]) -> None:
    """Compare what a policy file says with what its checkpoint is.

    Args:
        spec: The policy file.
        where: The checkpoint.
        rows: What is compared, as the policy file has it, as the checkpoint has it.

    Raises:
        CheckpointError: Two differ.
    """
    for what, found, expected in rows:
        if found != expected:
            raise CheckpointError(
                f'policy {spec.name}: {what} {found}, but the checkpoint {where.name} has '
                f'{expected}; correct the policy file or choose its own checkpoint.'
            )
