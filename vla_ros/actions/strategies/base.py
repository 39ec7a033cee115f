"""How a new chunk follows the plan before it: the protocol, and chunks laid on plan time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.curve import cubics_of, spline_slopes
from vla_ros.actions.way import FUZZ
from vla_ros.errors import ShapeError
from vla_ros.rotation import between, mean, slerp, turned
from vla_ros.types import Array, frozen


@dataclass(frozen=True)
class Laid:
    """Absolute actions on plan time."""

    due: Array  # (T,) [s] plan time of every step, strictly increasing
    actions: Array  # (T, C) [as Codec.absolute gives them]
    turns: tuple[int, ...] = ()  # columns at which a quaternion xyzw begins

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
        """Return the actions (K, C) at plan times (K,): on a spline, at rest outside.

        A straight line between steps would cut corners, and a new chunk begin beside the plan.
        Rotations turn from step to step about one axis (slerp).

        Args:
            due: Plan times [s].
            held: (C,) channels that are never interpolated: they keep the step due last.
        """
        index = self.due.searchsorted(due + FUZZ, side='right') - 1
        last = self.actions[np.clip(index, 0, len(self.due) - 1)]
        if len(self.due) < 2:
            return last
        piece = np.clip(index, 0, len(self.due) - 2)
        x = np.clip(due, self.due[0], self.due[-1]) - self.due[piece]
        c0, c1, c2, c3 = np.moveaxis(self._cubics[piece], 1, 0)
        y = x[:, None]
        found = np.where(held, last, c0 + y * (c1 + y * (c2 + y * c3)))
        share = x / (self.due[piece + 1] - self.due[piece])
        for first in self.turns:
            q = self.actions[:, first : first + 4]
            found[:, first : first + 4] = slerp(q[piece], q[piece + 1], share)
        return found

    @cached_property
    def _cubics(self) -> Array:
        slopes = spline_slopes(self.due, self.actions)
        return cubics_of(self.due, self.actions, slopes)

    def covers(self, due: Array) -> NDArray[np.bool_]:
        """Return which plan times (K,) lie between the first and the last step."""
        return (due >= self.due[0] - FUZZ) & (due <= self.due[-1] + FUZZ)


def mix(first: Array, second: Array, share: Array, turns: tuple[int, ...]) -> Array:
    """Return (1 - share) first + share second (T, C), by slerp where quaternions begin.

    Args:
        first: (T, C).
        second: (T, C).
        share: (T, C) of the second, 0 to 1, the same for all of a quaternion.
        turns: Columns at which a quaternion xyzw begins.
    """
    mixed: Array = (1.0 - share) * first + share * second
    for column in turns:
        q = slice(column, column + 4)
        mixed[:, q] = slerp(first[:, q], second[:, q], share[:, column])
    return mixed


def average(actions: Array, weights: Array, turns: tuple[int, ...]) -> Array:
    """Return sum_n w_n a_n (T, C), of quaternions the rotation nearest to all.

    Args:
        actions: (N, T, C).
        weights: (N, T), of sum 1 over N.
        turns: Columns at which a quaternion xyzw begins.
    """
    found: Array = np.einsum('nt,ntc->tc', weights, actions)
    for column in turns:
        q = slice(column, column + 4)
        found[:, q] = mean(actions[:, :, q], weights)
    return found


def apart(first: Array, second: Array, turns: tuple[int, ...]) -> Array:
    """Return first - second (T, C), where a quaternion begins the rotation vector [rad] and 0."""
    found = first - second
    for column in turns:
        q = slice(column, column + 4)
        found[:, q] = np.pad(between(second[:, q], first[:, q]), ((0, 0), (0, 1)))
    return found


def displaced(actions: Array, way: Array, turns: tuple[int, ...]) -> Array:
    """Return actions (T, C) moved by a way (T, C), so that `apart` from before is that way."""
    found = actions + way
    for column in turns:
        q = slice(column, column + 4)
        found[:, q] = turned(actions[:, q], way[:, column : column + 3])
    return found


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
        """Return what is sent (T, C), due when the steps of `new` are.

        Steps due at or before phi have the values of the plan where it covers them, so the new
        chunk joins what was executed; without a plan, `new` is sent as it is.

        Args:
            new: The policy's answer.
            plan: What was sent before, None after a reset.
            answers: The policy's answers before, the oldest first.
            phi: Plan clock of now [s].
            held: (C,) channels that are never interpolated, such as grippers.
        """


def follow(
    new: Laid,
    plan: Laid | None,
    phi: float,
    held: NDArray[np.bool_],
    share: float | Array = 1.0,
) -> Array:
    """Return the plan up to phi and (1 - share) plan + share new after it (T, C).

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
    weight = np.where(held, ours[:, None], weight[:, None])  # (T, C)
    return mix(plan.at(new.due, held), new.actions, weight, new.turns)
