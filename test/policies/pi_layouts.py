"""The pi0 family as it is published, described by names and shapes; small, random values.

openpi and LeRobot agree on the names, of which LeRobot's begin with `model.`; a file has
PaliGemma's embedding once, as `lm_head.weight`, where the two are tied. transformers names the
same tensors as `save_pretrained` of its own class does, so that its folder is written by it.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path

from lerobot_layout import features, write_config, write_pipelines
import numpy as np
from safetensors.torch import save_file
import torch
from torch import Tensor

CAMERAS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')
HEAD_DIM = 256
SPECIAL = ('<pad>', '<eos>', '<bos>', '<unk>')  # numbers 0 to 3 of PaliGemma's words
TAIL = 128  # words at the end that FAST does not use
FAST = 300  # words before them that it may use
TEXT = [chr(c) for c in range(33, 127)] + ['▁', '\n']
MERGES = ['Ac', 'Act', 'Acti', 'Actio', 'Action']
WORDS = [
    *SPECIAL, *TEXT, *MERGES,
    *(f'<loc{k:04}>' for k in range(FAST)), *(f'<seg{k:03}>' for k in range(TAIL)),
]  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """Of one small network; the published one has 2048, 18, 8, 1, 16384, 1152, 27, 4304, 14."""

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


SIZES = Sizes()


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
        f'{root}paligemma.lm_head.weight': (len(WORDS), sizes.width),
        f'{model}multi_modal_projector.linear.weight': (sizes.width, sizes.vision_width),
        f'{model}multi_modal_projector.linear.bias': (sizes.width,),
        **siglip(f'{model}vision_tower.vision_model.', sizes),
        **gemma(f'{model}language_model.', sizes.width, sizes.mlp, sizes, False),
    }
    if kind == 'pi0_fast':
        return found
    found[f'{root}gemma_expert.lm_head.weight'] = (len(WORDS), sizes.expert)
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


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer.json of PaliGemma's kind: BPE on text whose spaces are ▁, <bos> first."""
    word = {'special': True, 'single_word': False, 'lstrip': False, 'rstrip': False}
    bos = {'SpecialToken': {'id': '<bos>', 'type_id': 0}}
    table = {
        'version': '1.0',
        'truncation': None,
        'padding': None,
        'added_tokens': [
            {'id': k, 'content': w, 'normalized': False, **word} for k, w in enumerate(SPECIAL)
        ],
        'normalizer': {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'},
        'pre_tokenizer': None,
        'post_processor': {
            'type': 'TemplateProcessing',
            'single': [bos, {'Sequence': {'id': 'A', 'type_id': 0}}],
            'pair': [bos, {'Sequence': {'id': 'A', 'type_id': 0}}],
            'special_tokens': {'<bos>': {'id': '<bos>', 'ids': [2], 'tokens': ['<bos>']}},
        },
        'decoder': None,
        'model': {
            'type': 'BPE',
            'dropout': None,
            'unk_token': '<unk>',
            'continuing_subword_prefix': None,
            'end_of_word_suffix': None,
            'fuse_unk': True,
            'byte_fallback': False,
            'vocab': {w: k for k, w in enumerate(WORDS)},
            'merges': [[m[:-1], m[-1]] for m in MERGES],
        },
    }
    (folder / 'tokenizer.json').write_text(json.dumps(table), encoding='utf-8')


def statistics(state: int, action: int, seed: int = 1) -> dict[str, dict[str, np.ndarray]]:
    """Return mean, std, q01, q99 of 'state' and 'actions'."""
    rng = np.random.default_rng(seed)
    found = {}
    for name, size in (('state', state), ('actions', action)):
        mean, std = 0.3 * rng.standard_normal(size), rng.uniform(0.2, 0.6, size)
        low = mean - rng.uniform(1.5, 2.5, size) * std
        found[name] = {'mean': mean, 'std': std, 'q01': low, 'q99': low + 4.0 * std}
    return found


def write_openpi(folder: Path, kind: str, stats: dict, *, asset: str = 'droid', **config) -> Path:
    """Write what openpi's conversion writes: weights, assets, and a config.json with sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(kind), folder / 'model.safetensors')
    write_norm_stats(folder, stats, asset)
    table = {'action_dim': SIZES.dimensions, 'action_horizon': SIZES.horizon,
             'paligemma_variant': 'gemma_2b', 'action_expert_variant': 'gemma_300m',
             'precision': 'float32', **config}  # fmt: skip
    (folder / 'config.json').write_text(json.dumps(table), encoding='utf-8')
    write_tokenizer(folder)
    return folder


def write_norm_stats(folder: Path, stats: dict, asset: str) -> None:
    """Write assets/NAME/norm_stats.json."""
    place = folder / 'assets' / asset
    place.mkdir(parents=True)
    plain = {key: {n: list(v) for n, v in table.items()} for key, table in stats.items()}
    text = json.dumps({'norm_stats': plain})
    (place / 'norm_stats.json').write_text(text, encoding='utf-8')


STEPS = {
    'pi0': 'pi0_new_line_processor',
    'pi05': 'pi05_prepare_state_tokenizer_processor_step',
    'pi0_fast': 'pi0_fast_prepare_state_tokenizer_processor_step',
}
MODES = {
    'pi0': {'VISUAL': 'IDENTITY', 'STATE': 'MEAN_STD', 'ACTION': 'MEAN_STD'},
    'pi05': {'VISUAL': 'IDENTITY', 'STATE': 'QUANTILES', 'ACTION': 'QUANTILES'},
    'pi0_fast': {'VISUAL': 'IDENTITY', 'STATE': 'MEAN_STD', 'ACTION': 'MEAN_STD'},
}


def write_lerobot(
    folder: Path, kind: str, stats: dict, cameras: tuple[str, ...] = CAMERAS[:2], **config
) -> Path:
    """Write what LeRobot 0.5.1 and later write; without `use_relative_actions` as before."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f'model.{name}': value for name, value in weights(kind).items()}
    save_file(tensors, folder / 'model.safetensors')
    sizes = (len(stats['state']['mean']), len(stats['actions']['mean']))
    table = {
        **features(*sizes, cameras),
        'normalization_mapping': MODES[kind],
        'paligemma_variant': 'gemma_2b',
        'dtype': 'float32',
        'chunk_size': SIZES.horizon,
        'n_action_steps': SIZES.horizon,
        'max_state_dim': SIZES.dimensions,
        'max_action_dim': SIZES.dimensions,
        'image_resolution': [SIZES.image, SIZES.image],
        'empty_cameras': 0,
        'use_relative_actions': False,
        'tokenizer_max_length': 48 if kind == 'pi0' else 200,
    }
    if kind != 'pi0_fast':
        table |= {'num_inference_steps': 10, 'min_period': 0.004, 'max_period': 4.0}
    table = {k: v for k, v in {**table, **config}.items() if v is not None}
    write_config(folder, kind, table)
    named = {'observation.state': stats['state'], 'action': stats['actions']}
    write_pipelines(folder, table, named, MODES[kind], STEPS[kind])
    (folder / 'tokenizer').mkdir()
    write_tokenizer(folder / 'tokenizer')
    return folder
