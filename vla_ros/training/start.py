"""`vla train --from`: a checkpoint's weights, whichever words have come or gone since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PI0ForConditionalGeneration

from vla_ros.errors import CheckpointError, ConfigError
from vla_ros.policies.loading import load_pretrained
from vla_ros.policies.tiny_pi0 import load_tokenizer
from vla_ros.statistics import load_norm_stats
from vla_ros.training.model import build_model, vocabulary
from vla_ros.training.policy import STATISTICS


def begin_from(folder: Path) -> PI0ForConditionalGeneration:
    """Return the model of today's words with the weights of a checkpoint.

    Raises:
        CheckpointError: The folder holds no tiny pi0.
    """
    weights = load_pretrained(PI0ForConditionalGeneration, folder).state_dict()
    known = load_tokenizer(folder).get_vocab()
    for name in weights:
        if name.endswith('embed_tokens.weight'):
            weights[name] = _by_word(weights[name], known, vocabulary())
    network = build_model()
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f'{folder} holds another pi0 than the tiny one: {error}; name a checkpoint that '
            '`vla train` wrote.'
        ) from error
    return network


def _by_word(rows: Tensor, known: dict[str, int], words: dict[str, int]) -> Tensor:
    """Return rows (len(words), D): those of known words, and like them at random for new ones."""
    mean, deviation = rows.mean(0), rows.std(0)
    found = mean + deviation * torch.randn(len(words), rows.shape[1])
    for word, index in words.items():
        if word in known:
            found[index] = rows[known[word]]
    return found


def statistics_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the statistics of a checkpoint as its file has them: its weights are in these units.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    load_norm_stats(folder / STATISTICS)
    stats: dict[str, dict[str, Any]] = json.loads((folder / STATISTICS).read_text('utf-8'))
    return stats['norm_stats']


def claim(work: Path, folder: Path | None) -> None:
    """Refuse a work folder whose training began elsewhere: it would go on from there.

    Raises:
        ConfigError: It did.
    """
    mine = 'nothing' if folder is None else str(folder.resolve())
    mark = work / 'begun_from.txt'
    if mark.exists() and (found := mark.read_text('utf-8').strip()) != mine:
        raise ConfigError(
            f'{work} holds training that began from {found}, not from {mine}: name another --work.'
        )
    mark.write_text(f'{mine}\n', 'utf-8')
