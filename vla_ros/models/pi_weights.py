"""Weights of the pi0 family as openpi and LeRobot publish them: names, and sizes by shapes.

Sources: openpi's models_pytorch, LeRobot's policies pi0, pi05 and pi0_fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any

from torch import Tensor
from transformers import GemmaConfig, PaliGemmaConfig

from vla_ros.errors import CheckpointError

# What shapes do not tell; the same in every checkpoint of the family.
HEAD_DIM = 256  # of Gemma and of the action expert
VISION_HEAD_DIM = 72  # of SigLIP so400m

PALIGEMMA = 'paligemma_with_expert.paligemma.'
EXPERT = 'paligemma_with_expert.gemma_expert.'
EMBEDDING = 'vlm.language_model.embed_tokens.weight'
HEAD = 'lm_head.weight'  # PaliGemma's; the same numbers as the embedding where one of them lacks


def standard_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors by names that are the same for openpi and LeRobot.

    `vlm.` is PaliGemma, `expert.` the action expert, HEAD PaliGemma's output, and what maps
    states, actions and times keeps its name. The expert's own output layer, which every file has
    and no policy uses, is dropped.
    """
    found = {}
    for name, value in tensors.items():
        name = name.removeprefix('model.')
        if name == EXPERT + HEAD:
            continue
        name = name.replace(PALIGEMMA + 'model.', 'vlm.').replace(EXPERT + 'model.', 'expert.')
        name = name.replace('vlm.vision_tower.vision_model.', 'vlm.vision_tower.')
        found[name.removeprefix(PALIGEMMA)] = value
    if EMBEDDING not in found and HEAD in found:  # tied weights are saved once
        found[EMBEDDING] = found[HEAD]
    return found


def paligemma_config(tensors: Mapping[str, Tensor]) -> PaliGemmaConfig:
    """Return the configuration of PaliGemma that has these tensors, by their standard names.

    Raises:
        CheckpointError: A tensor that tells a size is missing or has another rank.
    """
    width = _shape(tensors, EMBEDDING, 2)[1]
    text = gemma_config(tensors, 'vlm.language_model.', vocabulary=len(tensors[EMBEDDING]))
    tower = 'vlm.vision_tower.'
    vision_width, _, patch, _ = _shape(tensors, tower + 'embeddings.patch_embedding.weight', 4)
    patches = _shape(tensors, tower + 'embeddings.position_embedding.weight', 2)[0]
    vision = {
        'model_type': 'siglip_vision_model',
        'hidden_size': vision_width,
        'intermediate_size': _shape(tensors, tower + 'encoder.layers.0.mlp.fc1.weight', 2)[0],
        'num_hidden_layers': _layers(tensors, tower + 'encoder.layers.'),
        'num_attention_heads': max(vision_width // VISION_HEAD_DIM, 1),
        'patch_size': patch,
        'image_size': isqrt(patches) * patch,
        'vision_use_head': False,
    }
    return PaliGemmaConfig(
        text_config=text.to_dict(),
        vision_config=vision,
        projection_dim=width,
        hidden_size=width,
        image_token_index=text.vocab_size,  # beyond the words, so that no word is a picture
        vocab_size=text.vocab_size,
    )


def gemma_config(
    tensors: Mapping[str, Tensor], prefix: str, *, vocabulary: int = 1
) -> GemmaConfig:
    """Return the configuration of a Gemma that has these tensors; everybody sees everybody.

    Args:
        tensors: By their standard names.
        prefix: Of the names.
        vocabulary: Number of words.

    Raises:
        CheckpointError: A tensor that tells a size is missing or has another rank.
    """
    layer = f'{prefix}layers.0.'
    queries, width = _shape(tensors, layer + 'self_attn.q_proj.weight', 2)
    return GemmaConfig(
        hidden_size=width,
        intermediate_size=_shape(tensors, layer + 'mlp.gate_proj.weight', 2)[0],
        num_hidden_layers=_layers(tensors, f'{prefix}layers.'),
        num_attention_heads=max(queries // HEAD_DIM, 1),
        num_key_value_heads=max(
            _shape(tensors, layer + 'self_attn.k_proj.weight', 2)[0] // HEAD_DIM, 1
        ),
        head_dim=HEAD_DIM,
        vocab_size=vocabulary,
        bos_token_id=None,
        eos_token_id=None,
        use_bidirectional_attention=True,
        attn_implementation='sdpa',
    )


def projections(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the dimensions of an action, and of a state where the network takes one.

    Raises:
        CheckpointError: There is no projection of actions.
    """
    sizes = {'max_action_dim': _shape(tensors, 'action_in_proj.weight', 2)[1]}
    if 'state_proj.weight' in tensors:
        sizes['max_state_dim'] = _shape(tensors, 'state_proj.weight', 2)[1]
    return sizes


def _shape(tensors: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    if name not in tensors or tensors[name].ndim != rank:
        found = 'is not there' if name not in tensors else f'has {tensors[name].ndim} axes'
        raise CheckpointError(
            f'{name} {found}: the weights are damaged or of another model; copy the checkpoint '
            "again, or correct the policy file's adapter."
        )
    return tuple(tensors[name].shape)


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    """Return one more than the highest number of a layer; a gap shows as missing tensors."""
    numbers = [
        name.removeprefix(prefix).partition('.')[0] for name in tensors if name.startswith(prefix)
    ]
    return 1 + max((int(n) for n in numbers if n.isdecimal()), default=-1)
