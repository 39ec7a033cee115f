"""Temporal ensembling: the mean of all answers for one instant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.strategies.base import average, follow, Laid
from vla_ros.errors import ConfigError
from vla_ros.types import Array


@dataclass(frozen=True)
class TemporalEnsemble:
    """Sends sum_i w_i a_i / sum_i w_i, w_i = exp(-m i), over the answers that cover a step.

    i = 0 is the oldest of them, the new one is the last: m > 0 trusts old answers more, 0 all
    alike, m < 0 new ones. It works best with an inference at every step (replan_steps 1).
    Source: Zhao et al. 2023 (ACT, arXiv 2304.13705).
    """

    decay: float = 0.01  # m
    limit: int = 100  # answers that are averaged, the newest; 100 is ACT's chunk

    needs: ClassVar[str] = ''
    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.decay):
            raise ConfigError(f'strategy ensemble: decay is {self.decay}, expected a number.')
        if self.limit < 2:
            raise ConfigError(
                f"strategy ensemble: limit is {self.limit}, expected 2 or more; 'latest' takes "
                'one answer.'
            )

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return the means (T, C), held channels of the new answer, the plan's values up to phi.

        Answers from before a reset (no plan) do not count.
        """
        if plan is None:
            return new.actions
        known = [*answers, new][-self.limit :]
        covered = np.stack([answer.covers(new.due) for answer in known])  # (N, T)
        i = np.cumsum(covered, axis=0) - 1
        exponents = np.where(covered, -self.decay * i, -np.inf)
        weights = np.exp(exponents - exponents.max(axis=0))  # a large -m does not overflow
        weights /= weights.sum(axis=0)
        actions = np.stack([answer.at(new.due, held) for answer in known])  # (N, T, C)
        mean = np.where(held, new.actions, average(actions, weights, new.turns))
        return follow(Laid(new.due, mean, new.turns), plan, phi, held)
