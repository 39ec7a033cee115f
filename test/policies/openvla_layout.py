"""OpenVLA and OpenVLA-OFT folders as they are published: names, shapes and files.

The tables follow the public models (timm's DINOv2 and SigLIP, Llama 2, the OFT heads) and know
nothing of the loader. `FULL` has the published sizes; `TINY` has the same tensors, small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
import json
from pathlib import Path
import re

import numpy as np
from safetensors.torch import save_file
import torch

DINO, SIGLIP = 'vit_large_patch14_reg4_dinov2.lvd142m', 'vit_so400m_patch14_siglip_224'
DEPTH = {DINO: 24, SIGLIP: 27}
ACTION_IDS = range(31744, 32000)
# Tensors that feed nothing: features are taken after the last block but one.
UNUSED = (
    r'featurizer\.(norm|attn_pool)\.|\.featurizer\.blocks\.23\.'
    r'|(fused_featurizer|\.featurizer)\.blocks\.26\.'
)
STATISTICS = {
    'bridge_orig': {'mask': [True] * 6 + [False], 'state': 7},
    'fractal20220817_data': {'mask': [True] * 6 + [False], 'state': 7},
}


@dataclass(frozen=True)
class Sizes:
    vit: tuple[tuple[str, int, int], ...] = ((DINO, 1024, 4096), (SIGLIP, 1152, 4304))
    image: int = 224
    patch: int = 14
    hidden: int = 4096
    inner: int = 11008
    layers: int = 32
    heads: int = 32
    vocabulary: int = 32064

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def vision(self) -> int:
        return sum(width for _, width, _ in self.vit)

    @property
    def text_config(self) -> dict:
        """The published file has only what differs from Llama's defaults."""
        own = {
            'hidden_size': self.hidden, 'intermediate_size': self.inner,
            'num_hidden_layers': self.layers, 'num_attention_heads': self.heads,
        }  # fmt: skip
        default = {
            'hidden_size': 4096, 'intermediate_size': 11008, 'num_hidden_layers': 32,
            'num_attention_heads': 32,
        }  # fmt: skip
        return {
            'model_type': 'llama', 'pad_token_id': 32000, 'torch_dtype': 'bfloat16',
            'vocab_size': self.vocabulary,
        } | {key: value for key, value in own.items() if value != default[key]}  # fmt: skip


FULL = Sizes()
TINY = Sizes(((DINO, 32, 64), (SIGLIP, 48, 80)), 28, 14, 32, 48, 2, 4)
V01 = replace(TINY, vit=((SIGLIP, 48, 80),))  # one transformer, as openvla-v01


def vit_shapes(name: str, width: int, mlp: int, sizes: Sizes) -> dict[str, tuple[int, ...]]:
    shapes = {
        'pos_embed': (1, sizes.patches, width),
        'patch_embed.proj.weight': (width, 3, sizes.patch, sizes.patch),
        'patch_embed.proj.bias': (width,),
        'norm.weight': (width,),
        'norm.bias': (width,),
    }
    if name == DINO:
        shapes |= {'cls_token': (1, 1, width), 'reg_token': (1, 4, width)}
    else:
        shapes['attn_pool.latent'] = (1, 1, width)
        linear = {'q': (width, width), 'kv': (2 * width, width), 'proj': (width, width)}
        linear |= {'mlp.fc1': (mlp, width), 'mlp.fc2': (width, mlp)}
        for part, shape in linear.items():
            shapes |= {f'attn_pool.{part}.weight': shape, f'attn_pool.{part}.bias': shape[:1]}
        shapes |= {'attn_pool.norm.weight': (width,), 'attn_pool.norm.bias': (width,)}
    for i in range(DEPTH[name]):
        linear = {'attn.qkv': (3 * width, width), 'attn.proj': (width, width)}
        linear |= {'mlp.fc1': (mlp, width), 'mlp.fc2': (width, mlp)}
        for part, shape in linear.items():
            shapes[f'blocks.{i}.{part}.weight'] = shape
            shapes[f'blocks.{i}.{part}.bias'] = shape[:1]
        for part in ('norm1', 'norm2'):
            shapes[f'blocks.{i}.{part}.weight'] = shapes[f'blocks.{i}.{part}.bias'] = (width,)
        if name == DINO:
            for part in ('ls1', 'ls2'):
                shapes[f'blocks.{i}.{part}.scale_factor'] = (width,)
    return shapes


def model_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Every tensor of the published model.safetensors."""
    shapes = {}
    for part, (name, width, mlp) in zip(('featurizer', 'fused_featurizer'), sizes.vit):
        for key, shape in vit_shapes(name, width, mlp, sizes).items():
            shapes[f'vision_backbone.{part}.{key}'] = shape
    words = sizes.hidden
    layers = [sizes.vision, 4 * sizes.vision, words, words] if len(sizes.vit) == 2 else None
    layers = layers or [sizes.vision, words, words]
    for i, (inputs, outputs) in enumerate(pairwise(layers), start=1):
        shapes[f'projector.fc{i}.weight'] = (outputs, inputs)
        shapes[f'projector.fc{i}.bias'] = (outputs,)
    llama = 'language_model.model'
    shapes[f'{llama}.embed_tokens.weight'] = (sizes.vocabulary, words)
    for i in range(sizes.layers):
        layer = f'{llama}.layers.{i}'
        for part in 'qkvo':
            shapes[f'{layer}.self_attn.{part}_proj.weight'] = (words, words)
        for part in ('gate', 'up'):
            shapes[f'{layer}.mlp.{part}_proj.weight'] = (sizes.inner, words)
        shapes[f'{layer}.mlp.down_proj.weight'] = (words, sizes.inner)
        for part in ('input', 'post_attention'):
            shapes[f'{layer}.{part}_layernorm.weight'] = (words,)
    shapes[f'{llama}.norm.weight'] = (words,)
    shapes['language_model.lm_head.weight'] = (sizes.vocabulary, words)
    return shapes


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, torch.Tensor]:
    """Weights large enough that every input of the network changes its output."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in shapes.items():
        value = torch.randn(shape, generator=generator)
        fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        if 'norm' in key.rsplit('.', 2)[-2] and key.endswith('weight'):
            value = 1.0 + 0.2 * value
        elif key.endswith('scale_factor'):
            value = 0.5 + 0.2 * value
        elif key.endswith('bias'):
            value = 0.1 * value
        elif not key.endswith(('embed', 'token', 'latent', 'embed_tokens.weight')):
            value = value / fan_in**0.5
        tensors[key] = value.contiguous()
    return tensors


def speaks_actions(tensors: dict[str, torch.Tensor]) -> None:
    """Let the head know action words only, so that random weights answer with actions."""
    head = tensors['language_model.lm_head.weight']
    head[: ACTION_IDS.start] = 0.0
    head[ACTION_IDS.stop :] = 0.0


def vector_statistics(size: int, seed: int, mask: list[bool] | None) -> dict:
    rng = np.random.default_rng(seed)
    low, high = -rng.uniform(0.5, 1.0, size), rng.uniform(0.5, 1.5, size)
    table = {
        'mean': (0.5 * (low + high)).tolist(), 'std': ((high - low) / 4).tolist(),
        'max': (high + 0.25).tolist(), 'min': (low - 0.25).tolist(),
        'q01': low.tolist(), 'q99': high.tolist(),
    }  # fmt: skip
    return table | ({'mask': mask} if mask is not None else {})


def never_moved(table: dict, index: int) -> dict:
    """Let one dimension have been 0 all along, as an axis that no demonstration used."""
    for row in table.values():
        row[index] = 0.0
    return table


def norm_stats(actions: int = 7, state: int = 7, names: tuple[str, ...] = tuple(STATISTICS)):
    mask = [True] * (actions - 1) + [False]
    return {
        name: {
            'action': vector_statistics(actions, 2 * k, mask),
            'proprio': never_moved(vector_statistics(state, 2 * k + 1, None), 1),
            'num_transitions': 1000, 'num_trajectories': 10,
        }
        for k, name in enumerate(names)
    }  # fmt: skip


def tokenizer() -> dict:
    """Llama's tokenizer.json: bytes, single characters and a few merges, ids as in Llama 2."""
    vocabulary = {'<unk>': 0, '<s>': 1, '</s>': 2}
    vocabulary |= {f'<0x{byte:02X}>': 3 + byte for byte in range(256)}
    merges = ['▁ t', 'h e', '▁t he', 'r o', 'i n', '▁ a', 'O u', 'Ou t', '▁ I', '▁I n']
    vocabulary |= {merge.replace(' ', ''): 259 + k for k, merge in enumerate(merges)}
    vocabulary['▁'] = 29871
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789?:.,'-"
    vocabulary |= {letter: 29872 + k for k, letter in enumerate(letters)}
    special = {'single_word': False, 'lstrip': False, 'rstrip': False, 'normalized': False}
    names = {'<unk>': 0, '<s>': 1, '</s>': 2, '<PAD>': 32000}
    bos = {'SpecialToken': {'id': '<s>', 'type_id': 0}}
    text = {'Sequence': {'id': 'A', 'type_id': 0}}
    return {
        'version': '1.0', 'truncation': None, 'padding': None,
        'added_tokens': [
            {'id': i, 'content': name, 'special': True, **special} for name, i in names.items()
        ],
        'normalizer': {
            'type': 'Sequence',
            'normalizers': [
                {'type': 'Prepend', 'prepend': '▁'},
                {'type': 'Replace', 'pattern': {'String': ' '}, 'content': '▁'},
            ],
        },
        'pre_tokenizer': None,
        'post_processor': {
            'type': 'TemplateProcessing', 'single': [bos, text], 'pair': [bos, text],
            'special_tokens': {'<s>': {'id': '<s>', 'ids': [1], 'tokens': ['<s>']}},
        },
        'decoder': None,
        'model': {
            'type': 'BPE', 'dropout': None, 'unk_token': '<unk>',
            'continuing_subword_prefix': None, 'end_of_word_suffix': None, 'fuse_unk': True,
            'byte_fallback': True, 'vocab': vocabulary, 'merges': merges,
        },
    }  # fmt: skip


def image_processor(sizes: Sizes) -> dict:
    """preprocessor_config.json: its means are not the ones that are used, see the last key."""
    count = len(sizes.vit)
    exact = {DINO: ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), SIGLIP: ([0.5] * 3, [0.5] * 3)}
    rounded = {  # to bfloat16, as the published conversion left them
        DINO: ([0.484375, 0.455078125, 0.40625], [0.228515625, 0.2236328125, 0.224609375]),
        SIGLIP: ([0.5] * 3, [0.5] * 3),
    }
    names = [name for name, _, _ in sizes.vit]
    side = sizes.image
    return {
        'image_processor_type': 'PrismaticImageProcessor',
        'processor_class': 'PrismaticProcessor',
        'use_fused_vision_backbone': count == 2,
        'image_resize_strategy': 'resize-naive',
        'input_sizes': [[3, side, side]] * count,
        'interpolations': ['bicubic'] * count,
        'means': [exact[name][0] for name in names],
        'stds': [exact[name][1] for name in names],
        'tvf_do_letterbox': False, 'tvf_letterbox_fill': None,
        'tvf_crop_params': [{'output_size': [side, side]}] * count,
        'tvf_resize_params': [
            {'antialias': True, 'interpolation': 3, 'max_size': None, 'size': [side, side]}
        ] * count,
        'tvf_normalize_params': [
            {'inplace': False, 'mean': rounded[name][0], 'std': rounded[name][1]} for name in names
        ],
    }  # fmt: skip


def config(sizes: Sizes, statistics: dict | None) -> dict:
    count = len(sizes.vit)
    table = {
        'model_type': 'openvla', 'architectures': ['OpenVLAForActionPrediction'],
        'arch_specifier': 'no-align+fused-gelu-mlp' if count == 2 else 'no-align+gelu-mlp',
        'vision_backbone_id': 'dinosiglip-vit-so-224px' if count == 2 else 'siglip-vit-so400m',
        'llm_backbone_id': 'llama2-7b-pure' if count == 2 else 'vicuna-v15-7b',
        'timm_model_ids': [name for name, _, _ in sizes.vit],
        'timm_override_act_layers': [None] * count,
        'image_sizes': [sizes.image] * count, 'image_resize_strategy': 'resize-naive',
        'use_fused_vision_backbone': count == 2, 'n_action_bins': 256, 'pad_token_id': 32000,
        'pad_to_multiple_of': 64, 'llm_max_length': 2048, 'torch_dtype': 'bfloat16',
        'text_config': sizes.text_config,
    }  # fmt: skip
    return table | ({'norm_stats': statistics} if statistics is not None else {})


def write_json(path: Path, table: dict) -> None:
    path.write_text(json.dumps(table, ensure_ascii=False), encoding='utf-8')


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], count: int = 2) -> None:
    keys = sorted(tensors)
    index = {}
    for k in range(count):
        name = f'model-{k + 1:05d}-of-{count:05d}.safetensors'
        part = keys[k * len(keys) // count : (k + 1) * len(keys) // count]
        save_file({key: tensors[key] for key in part}, folder / name, metadata={'format': 'pt'})
        index |= dict.fromkeys(part, name)
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    table = {'metadata': {'total_size': size}, 'weight_map': index}
    write_json(folder / 'model.safetensors.index.json', table)


def write_openvla(
    folder: Path, sizes: Sizes = TINY, *, statistics: dict | None = None, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Write an OpenVLA folder with random weights that answer with actions; return them."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(model_shapes(sizes), seed)
    speaks_actions(tensors)
    write_shards(folder, tensors)
    write_json(folder / 'config.json', config(sizes, statistics or norm_stats()))
    write_json(folder / 'preprocessor_config.json', image_processor(sizes))
    write_json(folder / 'tokenizer.json', tokenizer())
    return tensors


def head_shapes(sizes: Sizes, actions: int) -> dict[str, tuple[int, ...]]:
    """action_head--STEP_checkpoint.pt of L1 regression."""
    words = sizes.hidden
    linear = {'fc1': (words, words * actions), 'fc2': (actions, words)}
    linear |= {f'mlp_resnet_blocks.{i}.ffn.1': (words, words) for i in range(2)}
    norms = {'layer_norm1': words * actions, 'layer_norm2': words}
    norms |= {f'mlp_resnet_blocks.{i}.ffn.0': words for i in range(2)}
    shapes = {}
    for part, shape in linear.items():
        shapes |= {f'model.{part}.weight': shape, f'model.{part}.bias': shape[:1]}
    for part, width in norms.items():
        shapes |= {f'model.{part}.weight': (width,), f'model.{part}.bias': (width,)}
    return shapes


def projector_shapes(sizes: Sizes, state: int) -> dict[str, tuple[int, ...]]:
    """proprio_projector--STEP_checkpoint.pt."""
    words = sizes.hidden
    return {
        'fc1.weight': (words, state), 'fc1.bias': (words,),
        'fc2.weight': (words, words), 'fc2.bias': (words,),
    }  # fmt: skip


def film_shapes(sizes: Sizes, rank: int) -> dict[str, tuple[int, ...]]:
    """vision_backbone--STEP_checkpoint.pt: FiLM around every block, adapters in every layer."""
    shapes = {}
    for part, (name, width, mlp) in zip(('featurizer', 'fused_featurizer'), sizes.vit):
        stem = f'vision_backbone.{part}.'
        plain = vit_shapes(name, width, mlp, sizes)
        for key, shape in plain.items():
            module, _, kind = key.rpartition('.')
            block = re.match(r'blocks\.\d+\.', key)
            if block:
                module = f'{block[0]}block.{module.removeprefix(block[0])}'
            layer = len(plain.get(key.removesuffix('bias') + 'weight', shape)) > 1
            if kind in ('weight', 'bias') and layer:
                if kind == 'weight':
                    extra = shape[2:]  # of a convolution
                    shapes[f'{stem}{module}.lora_A.default.weight'] = (rank, shape[1], *extra)
                    shapes[f'{stem}{module}.lora_B.default.weight'] = (
                        shape[0], rank, *(1 for _ in extra),
                    )  # fmt: skip
                module += '.base_layer'
            shapes[stem + (f'{module}.{kind}' if module else kind)] = shape
        for i in range(DEPTH[name]):
            for layer in ('scale', 'shift'):
                shapes[f'{stem}blocks.{i}.{layer}.weight'] = (width, sizes.hidden)
                shapes[f'{stem}blocks.{i}.{layer}.bias'] = (width,)
    return shapes


def write_oft(
    folder: Path,
    sizes: Sizes = TINY,
    *,
    actions: int = 7,
    state: int | None = 7,
    film_rank: int | None = None,
    step: int | str = 150000,
    seed: int = 0,
) -> dict[str, dict[str, torch.Tensor]]:
    """Write an OpenVLA-OFT folder with random weights; return those of each file."""
    parts = {'model': write_openvla(folder, sizes, seed=seed)}
    statistics = norm_stats(actions, state or 7, ('own_data',))
    write_json(folder / 'dataset_statistics.json', statistics)
    shapes = {'action_head': head_shapes(sizes, actions)}
    if state is not None:
        shapes['proprio_projector'] = projector_shapes(sizes, state)
    for k, (name, table) in enumerate(shapes.items(), start=1):
        parts[name] = random_tensors(table, seed + k)
        prefixed = {f'module.{key}': value for key, value in parts[name].items()}
        torch.save(prefixed, folder / f'{name}--{step}_checkpoint.pt')
    if film_rank is not None:
        parts['vision_backbone'] = film = random_tensors(film_shapes(sizes, film_rank), seed + 9)
        for key in film:
            if re.search(r'\.(scale|shift)\.', key):
                film[key] *= 0.3
        torch.save(film, folder / f'vision_backbone--{step}_checkpoint.pt')
    return parts
