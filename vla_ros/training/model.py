"""The tiny pi0: architecture, vocabulary and what a checkpoint folder holds."""

from __future__ import annotations

import itertools
from pathlib import Path
import re

from tokenizers import pre_tokenizers, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from transformers import PI0Config, PI0ForConditionalGeneration, PreTrainedTokenizerFast

from vla_ros.sim.layout import COLOURS
from vla_ros.sim.tasks import DIRECTIONS, NOUNS, TASKS
from vla_ros.training.demos import IMAGE_SIZE
from vla_ros.training.vision import PATCH

WIDTH = 128
LAYERS = 4
HIDDEN = 384
HEADS = 4
HORIZON = 12  # actions in a chunk
STATE_DIM = 4  # tool position, opening
ACTION_DIM = 4
FLOW_STEPS = 5
MAX_WORDS = 10
SPECIAL = ('<pad>', '<bos>', '<unk>', '<image>')


def vocabulary() -> dict[str, int]:
    """Return every word of every instruction, after the special tokens."""
    texts = itertools.chain(
        (phrase for task in TASKS.values() for phrase in task.phrases),
        itertools.chain.from_iterable(NOUNS.values()),
        COLOURS,
        DIRECTIONS,
        ('object',),
    )
    words = sorted(
        {w for text in texts for w in re.findall(r'[a-z]+', re.sub(r'{\w+}', '', text))}
    )
    return {word: index for index, word in enumerate((*SPECIAL, *words))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return a word-level tokenizer: '<bos> put the red cube ...'."""
    tokenizer = Tokenizer(WordLevel(vocabulary(), unk_token='<unk>'))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token='<pad>',
        bos_token='<bos>',
        unk_token='<unk>',
        additional_special_tokens=['<image>'],
        padding_side='right',
        model_max_length=MAX_WORDS,
    )


def build_model() -> PI0ForConditionalGeneration:
    """Return pi0 as transformers implements it, about 2 M parameters, random weights."""
    words = vocabulary()
    gemma = {
        'model_type': 'gemma',
        'hidden_size': WIDTH,
        'num_hidden_layers': LAYERS,
        'intermediate_size': HIDDEN,
        'num_attention_heads': HEADS,
        'num_key_value_heads': 1,
        'head_dim': WIDTH // HEADS,
        'vocab_size': len(words),
        'pad_token_id': words['<pad>'],
        'bos_token_id': words['<bos>'],
        'eos_token_id': None,
    }
    config = PI0Config(
        vlm_config={
            'model_type': 'paligemma',
            'text_config': gemma,
            'vision_config': {
                'model_type': 'siglip_vision_model',
                'hidden_size': WIDTH,
                'intermediate_size': HIDDEN,
                'num_hidden_layers': LAYERS,
                'num_attention_heads': HEADS,
                'patch_size': PATCH,
                'image_size': IMAGE_SIZE,
                'vision_use_head': False,
            },
            'projection_dim': WIDTH,
            'image_token_id': words['<image>'],
        },
        dit_config=dict(gemma),
        chunk_size=HORIZON,
        max_state_dim=STATE_DIM,
        max_action_dim=ACTION_DIM,
        num_inference_steps=FLOW_STEPS,
    )
    return PI0ForConditionalGeneration(config)


def save_checkpoint(
    folder: Path, model: PI0ForConditionalGeneration, tokenizer: PreTrainedTokenizerFast
) -> None:
    """Write config, weights and tokenizer in transformers' own layout."""
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
