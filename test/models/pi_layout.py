"""Weights and words of the pi0 family as published, by names and shapes; small, random values.

openpi and LeRobot agree on the names, of which LeRobot's begin with `model.`; a file has
PaliGemma's embedding once, as `lm_head.weight`, where the two are tied.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

HEAD_DIM = 256
SPECIAL = ('<pad>', '<eos>', '<bos>', '<unk>')  # numbers 0 to 3 of PaliGemma's words
TAIL = 128  # words at the end that FAST does not use
FAST = 380  # words before them that it may use
TEXT = [chr(c) for c in range(33, 127)] + ['▁', '\n']
MERGES = ['Ac', 'Act', 'Acti', 'Actio', 'Action']
WORDS = [
    *SPECIAL, *TEXT, *MERGES,
    *(f'<loc{k:04}>' for k in range(FAST)), *(f'<seg{k:03}>' for k in range(TAIL)),
]  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """Of one small network."""

    width: int = 24
    layers: int = 2
    heads: int = 2
    mlp: int = 40
    vision_width: int = 72
    vision_layers: int = 2
    vision_mlp: int = 48
    patch: int = 14
    image: int = 28
    expert: int = 16
    expert_mlp: int = 32
    dimensions: int = 32  # of actions and states, padded
    horizon: int = 6
    words: int = len(WORDS)


SIZES = Sizes()
PUBLISHED = Sizes(
    width=2048, layers=18, heads=8, mlp=16384, vision_width=1152, vision_layers=27,
    vision_mlp=4304, patch=14, image=224, expert=1024, expert_mlp=4096, horizon=50, words=257152,
)  # fmt: skip


def gemma(prefix: str, width: int, mlp: int, sizes: Sizes, adaptive: bool) -> dict:
    """Return name -> shape of a Gemma's layers and last norm."""
    inner = sizes.heads * HEAD_DIM
    shapes: dict[str, tuple[int, ...]] = {}
    norms = [f'{prefix}norm']
    for k in range(sizes.layers):
        layer = f'{prefix}layers.{k}.'
        shapes |= {
            f'{layer}self_attn.q_proj.weight': (inner, width),
            f'{layer}self_attn.k_proj.weight': (HEAD_DIM, width),
            f'{layer}self_attn.v_proj.weight': (HEAD_DIM, width),
            f'{layer}self_attn.o_proj.weight': (width, inner),
            f'{layer}mlp.gate_proj.weight': (mlp, width),
            f'{layer}mlp.up_proj.weight': (mlp, width),
            f'{layer}mlp.down_proj.weight': (width, mlp),
        }
        norms += [f'{layer}input_layernorm', f'{layer}post_attention_layernorm']
    for norm in norms:
        if adaptive:
            shapes[f'{norm}.dense.weight'] = (3 * width, width)
            shapes[f'{norm}.dense.bias'] = (3 * width,)
        else:
            shapes[f'{norm}.weight'] = (width,)
    return shapes


def siglip(prefix: str, sizes: Sizes) -> dict:
    """Return name -> shape of the vision tower."""
    width, mlp = sizes.vision_width, sizes.vision_mlp
    patches = (sizes.image // sizes.patch) ** 2
    shapes: dict[str, tuple[int, ...]] = {
        f'{prefix}embeddings.patch_embedding.weight': (width, 3, sizes.patch, sizes.patch),
        f'{prefix}embeddings.patch_embedding.bias': (width,),
        f'{prefix}embeddings.position_embedding.weight': (patches, width),
    }
    pairs = {f'{prefix}post_layernorm': (width,)}
    for k in range(sizes.vision_layers):
        layer = f'{prefix}encoder.layers.{k}.'
        for part in ('q', 'k', 'v', 'out'):
            pairs[f'{layer}self_attn.{part}_proj'] = (width, width)
        pairs |= {f'{layer}layer_norm{n}': (width,) for n in (1, 2)}
        pairs |= {f'{layer}mlp.fc1': (mlp, width), f'{layer}mlp.fc2': (width, mlp)}
    for name, shape in pairs.items():
        shapes |= {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
    return shapes


def shapes(kind: str, sizes: Sizes = SIZES) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every tensor of openpi's file; kind pi0, pi05 or pi0_fast."""
    root = 'paligemma_with_expert.'
    model = f'{root}paligemma.model.'
    found = {
        f'{root}paligemma.lm_head.weight': (sizes.words, sizes.width),
        f'{model}multi_modal_projector.linear.weight': (sizes.width, sizes.vision_width),
        f'{model}multi_modal_projector.linear.bias': (sizes.width,),
        **siglip(f'{model}vision_tower.vision_model.', sizes),
        **gemma(f'{model}language_model.', sizes.width, sizes.mlp, sizes, False),
    }
    if kind == 'pi0_fast':
        return found
    found[f'{root}gemma_expert.lm_head.weight'] = (sizes.words, sizes.expert)
    expert = f'{root}gemma_expert.model.'
    found |= gemma(expert, sizes.expert, sizes.expert_mlp, sizes, kind == 'pi05')
    linear = {
        'action_in_proj': (sizes.expert, sizes.dimensions),
        'action_out_proj': (sizes.dimensions, sizes.expert),
    }
    if kind == 'pi05':
        linear |= {f'time_mlp_{end}': (sizes.expert, sizes.expert) for end in ('in', 'out')}
    else:
        linear |= {
            'state_proj': (sizes.expert, sizes.dimensions),
            'action_time_mlp_in': (sizes.expert, 2 * sizes.expert),
            'action_time_mlp_out': (sizes.expert, sizes.expert),
        }
    for name, shape in linear.items():
        found |= {f'{name}.weight': shape, f'{name}.bias': shape[:1]}
    return found


def weights(kind: str, seed: int = 0, sizes: Sizes = SIZES) -> dict[str, Tensor]:
    """Return random tensors of openpi's file, of a size that lets each one matter."""
    rng = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes(kind, sizes).items():
        value = torch.randn(shape, generator=rng)
        if len(shape) > 1:
            value *= 1.2 / np.sqrt(np.prod(shape[1:]))
        else:
            value *= 0.2
        if 'vision' in name and 'norm' in name and name.endswith('weight'):
            value += 1.0
        found[name] = value.float()
    return found
