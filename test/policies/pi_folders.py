"""Folders of the pi0 family as openpi and LeRobot write them, weights aside described here."""

from __future__ import annotations

import json
from pathlib import Path

from lerobot_layout import features, write_config, write_pipelines
import numpy as np
from pi_layout import FAST, MERGES, SIZES, SPECIAL, weights, WORDS
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

CAMERAS = ('base_0_rgb', 'left_wrist_0_rgb', 'right_wrist_0_rgb')


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


def write_fast(folder: Path, texts: list[str], **config) -> Path:
    """Write physical-intelligence/fast's two files; its BPE is trained on the texts' bytes."""
    folder.mkdir(parents=True)
    bpe = ByteLevelBPETokenizer()
    trainer = BpeTrainer(
        vocab_size=FAST, min_frequency=2, show_progress=False, special_tokens=[],
        initial_alphabet=ByteLevel.alphabet(), max_token_length=10000,
    )  # fmt: skip
    bpe._tokenizer.train_from_iterator(texts, trainer=trainer)
    bpe.save(str(folder / 'tokenizer.json'))
    table = {'processor_class': 'UniversalActionProcessor', 'scale': 10, 'min_token': -354,
             'vocab_size': FAST, 'time_horizon': None, 'action_dim': None, **config}  # fmt: skip
    (folder / 'processor_config.json').write_text(json.dumps(table), encoding='utf-8')
    return folder
