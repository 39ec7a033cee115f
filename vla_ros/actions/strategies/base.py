"""How a new chunk follows the plan before it: the protocol, and chunks laid on plan time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.curve import cubics_of, spline_slopes
from vla_ros.errors import ShapeError
from vla_ros.types import Array, frozen

# Plan times that are nearer than this are one instant: stamps are float seconds since 1970, which
# are 2e-7 s apart, and a held channel would otherwise read the step before.
FUZZ = 1e-6  # [s]


@dataclass(frozen=True)
class Laid:
    """Absolute actions on plan time."""

    due: Array  # (T,) [s] plan time of every step, strictly increasing
    actions: Array  # (T, A) [as PolicySpec.action declares, per slice]

    def __post_init__(self) -> None:
        object.__setattr__(self, 'due', frozen(self.due, (None,), 'due'))
        actions = frozen(self.actions, (len(self.due), None), 'actions')
        object.__setattr__(self, 'actions', actions)
        if not len(self.due) or not (np.diff(self.due) > 0.0).all():
            raise ShapeError(
                f'Laid.due is {self.due}, expected one or more strictly increasing plan times.'
            )

    @property
    def step(self) -> float:
        """Mean spacing of the steps [s], 0 for a single one."""
        return float(self.due[-1] - self.due[0]) / max(1, len(self.due) - 1)

    def at(self, due: Array, held: NDArray[np.bool_]) -> Array:
        """Return the actions (K, A) at plan times (K,): on a spline, at rest outside.

        A straight line between steps would cut corners, and a new chunk begin beside the plan.

        Args:
            due: Plan times [s].
            held: (A,) channels that are never interpolated: they keep the step due last.
        """
        index = self.due.searchsorted(due + FUZZ, side='right') - 1
        last = self.actions[np.clip(index, 0, len(self.due) - 1)]
        if len(self.due) < 2:
            return last
        piece = np.clip(index, 0, len(self.due) - 2)
        x = (np.clip(due, self.due[0], self.due[-1]) - self.due[piece])[:, None]
        c0, c1, c2, c3 = np.moveaxis(self._cubics[piece], 1, 0)
        return np.where(held, last, c0 + x * (c1 + x * (c2 + x * c3)))

    @cached_property
    def _cubics(self) -> Array:
        slopes = spline_slopes(self.due, self.actions)
        return cubics_of(self.due, self.actions, slopes)

    def covers(self, due: Array) -> NDArray[np.bool_]:
        """Return which plan times (K,) lie between the first and the last step."""
        return (due >= self.due[0] - FUZZ) & (due <= self.due[-1] + FUZZ)


class Strategy(Protocol):
    """Turns a policy's answer into what is sent, in the policy's own action space.

    A strategy is a frozen dataclass of its options; what it remembers is passed in.
    """

    @property
    def needs(self) -> str:
        """What the adapter must offer: '', 'guidance', 'trained prefix' or 'samples'."""

    @property
    def waits(self) -> bool:
        """Whether the next inference begins when the plan is over, not before."""

    def blend(
        self,
        new: Laid,
        plan: Laid | None,
        answers: Sequence[Laid],
        phi: float,
        held: NDArray[np.bool_],
    ) -> Array:
        """Return what is sent (T, A), due when the steps of `new` are.

        Steps due at or before phi have the values of the plan where it covers them, so the new
        chunk joins what was executed; without a plan, `new` is sent as it is.

        Args:
            new: The policy's answer.
            plan: What was sent before, None after a reset.
            answers: The policy's answers before, the oldest first.
            phi: Plan clock of now [s].
            held: (A,) channels that are never interpolated, such as grippers.
        """


def follow(
    new: Laid,
    plan: Laid | None,
    phi: float,
    held: NDArray[np.bool_],
    share: float | Array = 1.0,
) -> Array:
    """Return the plan up to phi and (1 - share) plan + share new after it (T, A).

    Where the plan does not cover a step, and without a plan, it is the new one's. Held channels
    switch at phi: the plan's up to there, the new one's after.

    Args:
        new: Steps to send.
        plan: What was sent before, None after a reset.
        phi: Plan clock of now [s].
        held: (A,) channels that are never mixed.
        share: Of the new one in a step after phi, one value or (T,), 0 to 1.
    """
    if plan is None:
        return new.actions
    covered = plan.covers(new.due)
    ours = (new.due > phi + FUZZ) | ~covered
    weight = np.where(ours, np.where(covered, share, 1.0), 0.0)
    weight = np.where(held, ours[:, None], weight[:, None])  # (T, A)
    return (1.0 - weight) * plan.at(new.due, held) + weight * new.actions
