"""Bidirectional decoding: of several answers, the one that goes on with the plan best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.schedules import prefix_weights, SCHEDULES
from vla_ros.actions.strategies.base import apart, follow, Laid
from vla_ros.errors import ConfigError, ShapeError, UnknownNameError
from vla_ros.types import Array


@dataclass(frozen=True)
class BID:
    """Draws several answers and sends the one with the least backward loss.

    Source: Liu et al. 2024 (arXiv 2408.17355), backward coherence only, with the weights of
    the real-time chunking code.
    """

    samples: int = 16  # answers drawn for one observation
    schedule: str = 'exp'  # of the weights, a word of SCHEDULES

    needs: ClassVar[str] = 'samples'
    waits: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigError(
                f"strategy bid: samples is {self.samples}, expected 2 or more; 'latest' takes "
                'the only one.'
            )
        if self.schedule not in SCHEDULES:
            raise UnknownNameError('schedule', self.schedule, SCHEDULES, 'strategy bid')

    def choose(
        self,
        samples: Sequence[Laid],
        plan: Laid | None,
        delay: int,
        horizon: int,
        held: NDArray[np.bool_] | None = None,
        scale: Array | None = None,
    ) -> int:
        """Return the index of argmin sum_i W_i ||(a_i - plan_i) / scale||_2, 0 without a plan.

        The sum is over the steps that the plan covers, W = prefix_weights(T, d, T - s); held
        channels count too. Dimensions have different units ([m], [rad], open fraction): divide
        them by the standard deviations of the policy's actions, or a gripper outweighs the arm.

        Args:
            samples: Answers to one observation, (T, C) each.
            plan: What was sent before, None after a reset.
            delay: d, steps that run before the chunk can arrive.
            horizon: s, steps between its observation and that of the chunk after it.
            held: (C,) channels that are never interpolated; None: all are.
            scale: (C,) unit of every dimension, or (T, C); None: 1.

        Raises:
            ShapeError: There are no samples.
        """
        if not samples:
            raise ShapeError('the policy drew no samples, expected 1 or more to choose from.')
        if plan is None:
            return 0
        losses = [self._loss(s, plan, delay, horizon, held, scale) for s in samples]
        return int(np.argmin(losses))

    def _loss(
        self,
        sample: Laid,
        plan: Laid,
        delay: int,
        horizon: int,
        held: NDArray[np.bool_] | None,
        scale: Array | None,
    ) -> float:
        steps, size = sample.actions.shape
        weights = prefix_weights(steps, delay, steps - horizon, self.schedule)
        weights = weights * plan.covers(sample.due)
        there = plan.at(sample.due, np.zeros(size, bool) if held is None else held)
        away = apart(sample.actions, there, sample.turns)
        return float(weights @ np.linalg.norm(away if scale is None else away / scale, axis=1))

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return the chosen chunk (T, C), with the plan's values up to phi."""
        return follow(new, plan, phi, held)
