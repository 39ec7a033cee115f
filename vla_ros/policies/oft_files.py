"""The files that OpenVLA-OFT saves beside a model: NAME--STEP_checkpoint.pt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import re

import torch
from torch import Tensor

from vla_ros.errors import CheckpointError
from vla_ros.policies.lora import merged

LORA_ALPHA = 16  # at most; the public fine-tuning takes min(rank, 16)
WRAPPED_BLOCK = re.compile(r'(blocks\.\d+)\.block\.')


def find_component(folder: Path, name: str) -> Path | None:
    """Return the file of a component, whatever its step; None where there is none.

    Raises:
        CheckpointError: There are several.
    """
    files = sorted(folder.glob(f'{name}--*_checkpoint.pt'))
    if len(files) > 1:
        raise CheckpointError(
            f'{folder} has {", ".join(f.name for f in files)}: keep the one that belongs to the '
            'model and move the others away.'
        )
    return files[0] if files else None


def read_component(file: Path) -> dict[str, Tensor]:
    """Return the tensors of one file, names as before data-parallel training.

    Raises:
        CheckpointError: The file is damaged, or holds more than tensors.
    """
    try:
        state = torch.load(file, map_location='cpu', weights_only=True)
    except Exception as error:  # pickle, zip and torch errors have no common root
        raise CheckpointError(
            f'cannot read {file}: {error}. The file is damaged, or holds more than tensors; copy '
            'it again.'
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f'{file} is not a table of tensors; copy it again.')
    return {key.removeprefix('module.'): value for key, value in state.items()}


def read_vision(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a vision backbone with FiLM, adapters merged, in the model's names.

    Raises:
        CheckpointError: The file is damaged.
    """
    state = without_lora(read_component(file))
    return {
        WRAPPED_BLOCK.sub(r'\1.', key.removeprefix('vision_backbone.')): value
        for key, value in state.items()
    }


def without_lora(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return plain weights for layers that carry a low-rank adapter: W + s B A.

    No file tells s: it is min(r, 16) / r for rank r. The patch convolution has an adapter too.
    """
    plain = {}
    for key, value in state.items():
        if '.lora_' in key:
            continue
        stem = key.removesuffix('.base_layer.weight')
        if stem != key and f'{stem}.lora_A.default.weight' in state:
            down = state[f'{stem}.lora_A.default.weight'].flatten(1)  # (r, inputs)
            up = state[f'{stem}.lora_B.default.weight'].flatten(1)  # (outputs, r)
            scale = min(len(down), LORA_ALPHA) / len(down)
            value = merged(value, up, down, scale).to(value.dtype)
        plain[key.replace('.base_layer.', '.')] = value
    return plain
