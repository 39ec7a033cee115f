"""LoRA adapters as peft saves them, added to the weights that they were trained on.

Source: Hu et al. 2021 (arXiv 2106.09685); peft's adapter_config.json, adapter_model.safetensors.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
from pathlib import Path
import re
from typing import Any

import torch
from torch import Tensor

from vla_ros.errors import CheckpointError
from vla_ros.policies.loading import read_json, read_safetensors

CONFIG, WEIGHTS = 'adapter_config.json', 'adapter_model.safetensors'
ROOT = 'base_model.model.'  # what peft puts before a weight's name
PART = re.compile(r'(.+)\.lora_(embedding_)?([AB])(?:\.weight)?')
# Keys that the sum needs, and those that matter in training only. Any other one that is set asks
# for more than a sum (DoRA, biases of the adapter, ...) and is refused.
READ = ('peft_type', 'r', 'lora_alpha', 'rank_pattern', 'alpha_pattern', 'use_rslora')
TRAINING = (
    'auto_mapping', 'base_model_name_or_path', 'bias', 'ensure_weight_tying', 'eva_config',
    'exclude_modules', 'inference_mode', 'init_lora_weights', 'layers_pattern',
    'layers_to_transform', 'lora_dropout', 'megatron_core', 'modules_to_save', 'peft_version',
    'qalora_group_size', 'revision', 'target_modules', 'task_type',
)  # fmt: skip
# Beginnings of a training that leave the weights themselves as they were.
BEGINNINGS = (True, False, None, 'gaussian', 'eva', 'orthogonal')


def adapted(tensors: Mapping[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """Return weights with an adapter in them: W + s B A, s = alpha / r, or alpha / sqrt(r).

    What the adapter's training replaced as a whole (`modules_to_save`, biases) is taken from it.
    Sums are float32 at least.

    Args:
        tensors: Name in the checkpoint -> value.
        folder: Of the adapter.

    Raises:
        CheckpointError: A file is missing or damaged; the adapter is of another kind or of
            another model.
    """
    config = read_json(folder / CONFIG)
    _require_plain(config, folder / CONFIG)
    pairs: dict[str, dict[str, Tensor]] = {}
    found = dict(tensors)
    for key, value in read_safetensors(folder / WEIGHTS).items():
        name = key.removeprefix(ROOT)
        match = PART.fullmatch(name)
        if match:
            module, embedding, letter = match.groups()
            if embedding:  # its table is transposed: (B A)^T = A^T B^T
                letter, value = 'BA'['AB'.index(letter)], value.T
            pairs.setdefault(module, {})[letter] = value
            continue
        name = name.replace('.base_layer.', '.')
        if name not in tensors or tensors[name].shape != value.shape:
            raise _foreign(folder, key, tuple(value.shape), tensors.get(name))
        found[name] = value
    if not pairs:
        raise CheckpointError(f'{folder / WEIGHTS} has no lora_A and lora_B; copy it again.')
    for module, pair in pairs.items():
        name = f'{module}.weight'
        if pair.keys() != {'A', 'B'} or pair['B'].shape[1] != len(pair['A']):
            raise CheckpointError(
                f'{folder / WEIGHTS} has for {name} only '
                f'{ {k: tuple(v.shape) for k, v in pair.items()} }, expected A (r, in) and '
                'B (out, r); copy it again.'
            )
        up, down = pair['B'].flatten(1), pair['A'].flatten(1)  # a kernel (out, in, h, w) likewise
        base, shape = found.get(name), (len(up), down.shape[1])
        if base is None or base.flatten(1).shape != shape:
            raise _foreign(folder, name, shape, base)
        found[name] = merged(base, up, down, _scale(config, folder / CONFIG, module, len(down)))
    return found


def merged(base: Tensor, up: Tensor, down: Tensor, scale: float) -> Tensor:
    """Return W + s B A in float32 at least, in the shape of W.

    Args:
        base: W, (out, in) or a kernel (out, in, h, w).
        up: B, (out, r).
        down: A, (r, in) or (r, in h w).
        scale: s.
    """
    kind = torch.promote_types(base.dtype, torch.float32)
    return base.to(kind) + scale * (up.to(kind) @ down.to(kind)).view(base.shape)


def _require_plain(config: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError where an adapter is more than a sum."""
    if config.get('peft_type') != 'LORA':
        raise CheckpointError(
            f"{path} has peft_type '{config.get('peft_type')}', expected 'LORA'; merge the "
            'adapter into the weights with peft and use the result.'
        )
    asked = [key for key, value in config.items() if value and key not in (*READ, *TRAINING)]
    if config.get('init_lora_weights') not in BEGINNINGS:
        asked.append('init_lora_weights')
    if asked:
        raise CheckpointError(
            f'{path} sets {", ".join(f"{key}: {config[key]}" for key in asked)}, which is more '
            'than W + s B A; merge the adapter into the weights with peft and use the result.'
        )


def _scale(config: Mapping[str, Any], path: Path, module: str, rank: int) -> float:
    """Return s of one module, whose rank must be what the configuration says."""
    try:
        alpha = _of(config.get('alpha_pattern') or {}, module, config['lora_alpha'])
        declared = _of(config.get('rank_pattern') or {}, module, config['r'])
        scale = float(alpha) / (math.sqrt(rank) if config.get('use_rslora') else rank)
    except (KeyError, TypeError, ValueError, AttributeError, re.error) as error:
        raise CheckpointError(f'{path} cannot be used: {error!r}; copy it again.') from error
    if declared != rank:
        raise CheckpointError(
            f'{path} gives {module} the rank {declared}, but its weights have {rank}: the files '
            'are not of one adapter; copy both again.'
        )
    return scale


def _of(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    """Return the value of the first pattern that is the end of a module's name, as in peft."""
    for pattern, value in patterns.items():
        if re.match(rf'(.*\.)?({pattern})$', module):
            return value
    return default


def _foreign(
    folder: Path, name: str, shape: tuple[int, ...], base: Tensor | None
) -> CheckpointError:
    has = 'nothing of that name' if base is None else f'{tuple(base.shape)}'
    return CheckpointError(
        f'{folder / WEIGHTS} has {name} of {shape}, the checkpoint has {has}: the adapter was '
        'trained on another model, see base_model_name_or_path in its adapter_config.json.'
    )
