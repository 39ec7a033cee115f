"""Prompts of the pi0 family, word for word as its checkpoints were trained with them.

Sources: openpi's tokenizer.py, the processors of LeRobot and PI0Processor of transformers.
"""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer

from vla_ros.errors import PolicyError
from vla_ros.types import Array

BOS, EOS = '<bos>', '<eos>'
BINS = np.linspace(-1.0, 1.0, 257)[:-1]  # lower edges of the 256 bins of a normalised state


def cleaned(instruction: str) -> str:
    """Return an instruction of one line, without underscores."""
    return instruction.strip().replace('_', ' ').replace('\n', ' ')


def state_words(state: Array) -> str:
    """Return the numbers of a normalised state's bins; what lies below -1 is in bin -1."""
    return ' '.join(str(number) for number in np.digitize(state, BINS) - 1)


class Words:
    """Numbers of a prompt's words, without padding, <bos> first."""

    def __init__(self, tokenizer: Tokenizer, longest: int | None) -> None:
        """Keep PaliGemma's tokenizer, and how many words a prompt had at most in training."""
        self._tokenizer = tokenizer
        self._longest = longest
        words = tokenizer.get_vocab()
        self.bos, self.eos = words[BOS], words[EOS]
        self.size = tokenizer.get_vocab_size(with_added_tokens=False)

    def __call__(self, *parts: str) -> list[int]:
        """Return <bos> and the parts, each cut into words by itself.

        Raises:
            PolicyError: It is longer than what the network was trained with; a cut prompt would
                lack its end.
        """
        numbers = [self.bos]
        for part in parts:
            numbers += self.plain(part)
        if self._longest is not None and len(numbers) > self._longest:
            raise PolicyError(
                f'the prompt has {len(numbers)} words, the checkpoint was trained with at most '
                f'{self._longest}: shorten the instruction.'
            )
        return numbers

    def plain(self, text: str) -> list[int]:
        """Return the numbers of a text alone."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)
