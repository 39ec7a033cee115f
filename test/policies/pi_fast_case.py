"""pi0-FAST with weights that write a known chunk: what its adapter must answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pi_cases import normal, observation, ROBOT, spec, write
from pi_folders import write_fast
from pi_layout import SIZES, TAIL, weights, WORDS
from safetensors.torch import save_file
from scipy.fft import idct
from tokenizers import Tokenizer
import torch

from vla_ros.policies.registry import create

KIND, LAYOUT = 'pi0_fast', 'lerobot'
BEGIN = ('Action', ':', '▁')


def chunk() -> np.ndarray:
    """Return rounded frequencies (T, 8), the higher the smaller."""
    rng = np.random.default_rng(2)
    size = 14.0 / (1.0 + np.arange(SIZES.horizon))[:, None]
    return np.rint(size * rng.standard_normal((SIZES.horizon, 8))).astype(int)


def text() -> str:
    return ''.join(chr(code + 354) for code in chunk().ravel())


def number(word: int) -> int:
    """Return the number that PaliGemma has for a word of FAST."""
    return len(WORDS) - 1 - TAIL - word


def network(words: list[int]) -> dict[str, torch.Tensor]:
    """Return weights that write a sequence of different words after <bos>.

    The layers hardly matter; a word's output is its predecessor's embedding.
    """
    assert len(set(words)) == len(words)
    tensors = weights(KIND)
    for name in tensors:
        if name.endswith(('o_proj.weight', 'down_proj.weight')):
            tensors[name] *= 1e-3
        if name.endswith('language_model.norm.weight'):
            tensors[name] *= 0.0
    root = 'paligemma_with_expert.paligemma.'
    embedding = tensors[f'{root}lm_head.weight'].clone()
    head = torch.zeros_like(embedding)
    for word, after in zip([2, *words], words):
        head[after] = embedding[word] / embedding[word].norm()
    tensors[f'{root}lm_head.weight'] = head
    tensors[f'{root}model.language_model.embed_tokens.weight'] = embedding
    return {f'model.{name}': value for name, value in tensors.items()}


def fast(folder: Path, content: str) -> list[int]:
    bpe = Tokenizer.from_file(str(folder / 'action_tokenizer' / 'tokenizer.json'))
    return [number(word) for word in bpe.encode(content).ids]


def table(*words: str) -> list[int]:
    return [WORDS.index(word) for word in words]


def write_checkpoint(folder: Path) -> Path:
    """Write a checkpoint whose FAST has the chunk in three words."""
    write(folder, KIND, LAYOUT, max_decoding_steps=12)
    write_fast(folder / 'action_tokenizer', 5 * [text()[k : k + 16] for k in (0, 16, 32)])
    return folder


def answer(folder: Path, words: list[int], **changes):
    """Return the adapter whose network writes these words, and what it makes of them."""
    save_file(network(words), folder / 'model.safetensors')
    policy = create(spec(KIND, folder, **changes), ROBOT)
    policy.reset('', seed=1)
    return policy, policy.infer(observation())


def expected() -> np.ndarray:
    """Return the chunk as actions (T, 8), by SciPy's transform."""
    return normal(KIND, LAYOUT, idct(chunk() / 10.0, axis=0, norm='ortho'), 'actions', back=True)


def deviation(folder: Path) -> float:
    """Write a checkpoint, run its adapter, and return how far it is from the chunk."""
    write_checkpoint(folder)
    words = [*table(*BEGIN), *fast(folder, text()), *table('|')]
    return float(np.abs(answer(folder, words)[1].actions - expected()).max())
