"""Actions as words: the last words of a vocabulary, one for each bin of [-1, 1]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.errors import PolicyError
from vla_ros.types import Array

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class ActionBins:
    """Between normalised actions and token ids, as OpenVLA was trained.

    With `count` edges e_0 = -1 to e_(count-1) = 1, an action in [e_(i-1), e_i) is the id
    `words` - i and reads back as the middle of its bin. The value 1 itself has the bin
    `count` of its own, which reads back as the one below.
    """

    words: int = 32000  # size of the vocabulary without padding
    count: int = 256  # edges, and ids

    @property
    def edges(self) -> Array:
        """Return the edges (count,) of the bins."""
        return np.linspace(-1.0, 1.0, self.count)

    @property
    def centres(self) -> Array:
        """Return the middles (count - 1,) of the bins."""
        return 0.5 * (self.edges[:-1] + self.edges[1:])

    def encode(self, actions: Array) -> Ids:
        """Return the ids of normalised actions of any shape; what lies outside is clipped.

        Raises:
            PolicyError: A value is not a number.
        """
        if np.isnan(actions).any():
            raise PolicyError('a normalised action is not a number and has no bin.')
        return self.words - np.digitize(np.clip(actions, -1.0, 1.0), self.edges)

    def decode(self, ids: Ids) -> Array:
        """Return the normalised actions of ids of any shape.

        Raises:
            PolicyError: An id is no action's: the model answered with text. The public code reads
                such an id as an extreme action.
        """
        bins = self.words - np.asarray(ids)
        if ((bins < 1) | (bins > self.count)).any():
            raise PolicyError(
                f'the model answered with the tokens {np.ravel(ids).tolist()}, expected actions: '
                f'{self.words - self.count} to {self.words - 1}. Nothing is sent; check the '
                'instruction, the camera and that the checkpoint belongs to this task.'
            )
        return self.centres[np.minimum(bins - 1, self.count - 2)]
