"""FAST: a chunk as the rounded frequencies of its dimensions, written as a text.

Source: Pertsch et al. 2025 (arXiv 2501.09747) and the files of physical-intelligence/fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.types import Array

SURROGATES = 0xD800  # from here on a number may be no character
BROKEN = '\N{REPLACEMENT CHARACTER}'  # what bytes that are no text decode to


@lru_cache(maxsize=8)
def frequencies(steps: int) -> Array:
    """Return the cosine transform (T, T): C[k, i] = sqrt(2 / T) cos(pi (2 i + 1) k / (2 T)).

    Row 0 is 1 / sqrt(T); the inverse is the transpose.
    """
    k, i = np.indices((steps, steps))
    matrix = np.sqrt(2.0 / steps) * np.cos(np.pi * (2 * i + 1) * k / (2 * steps))
    matrix[0] = 1.0 / np.sqrt(steps)
    matrix.setflags(write=False)
    return matrix


@dataclass(frozen=True)
class FastCodec:
    """Between normalised actions (T, A) and a text of T A characters, low frequencies first."""

    steps: int  # T
    dimensions: int  # A
    scale: float  # frequencies are rounded to multiples of 1 / scale
    lowest: int  # rounded frequency that character 0 stands for

    def text(self, actions: Array) -> str:
        """Return the text of actions (T, A).

        Raises:
            PolicyError: A frequency is beyond what characters can tell.
        """
        rounded = np.around(self.scale * (frequencies(self.steps) @ actions)).astype(np.int64)
        codes = rounded - self.lowest
        if codes.min() < 0 or codes.max() >= SURROGATES:
            raise PolicyError(
                f'frequencies from {rounded.min()} to {rounded.max()}, expected {self.lowest} to '
                f'{self.lowest + SURROGATES - 1}: are the actions normalised?'
            )
        return ''.join(chr(code) for code in codes.ravel())

    def actions(self, text: str) -> Array:
        """Return the actions (T, A) of a text.

        Raises:
            PolicyError: It has another length, or bytes that are no text.
        """
        if BROKEN in text:
            raise PolicyError('the policy wrote bytes that are no text: no actions; plan kept.')
        if len(text) != self.steps * self.dimensions:
            raise PolicyError(
                f'the policy wrote {len(text)} frequencies, expected {self.steps} steps of '
                f'{self.dimensions}: no actions; plan kept.'
            )
        codes = np.array([ord(character) for character in text], dtype=np.float64)
        rounded = codes.reshape(self.steps, self.dimensions) + self.lowest
        return frequencies(self.steps).T @ (rounded / self.scale)
