"""Seams: how smoothly one chunk follows the other, before the safety filter touches the plan.

Everything is by plan time: how fast its clock passes is the filter's doing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from vla_ros.types import Array

NEAR = 0.05  # [s] from a seam
SLOW = 0.2  # of a tick: where the clock all but stands the arm rests, and the plan may jump
QUANTILE = 0.99


class Seams:
    """Watches the plan at each control tick, over any number of episodes."""

    def __init__(self, period: float) -> None:
        """Begin with nothing seen.

        Args:
            period: Of the control ticks [s].
        """
        self._period = period
        self._begin()
        self._velocity: tuple[list[Array], list[Array]] = ([], [])  # near a seam, elsewhere
        self._acceleration: tuple[list[Array], list[Array]] = ([], [])
        self._jerk, self._jerks = 0.0, 0  # [rad^2/s^6] sum of squares, and how many
        self._mismatch: list[float] = []

    def _begin(self) -> None:
        self._places: list[Array] = []  # (n,) [rad] of ticks since the clock stood last
        self._times: list[float] = []  # [s] of the plan clock
        self._joints: list[float] = []  # [s] of the plan clock, when a chunk followed another
        self._before: float | None = None  # [s] of the plan clock at the tick before

    def joined(self, phi: float, mismatch: Array) -> None:
        """Note a chunk that was accepted, and how far (A,) it lay from the plan before."""
        if self._places:
            self._joints.append(phi)
            self._mismatch.append(float(np.abs(mismatch).max()))

    def tick(self, phi: float, place: Array, walked: bool) -> None:
        """Note where the plan is (n,) [rad] at a control tick, while its clock passes."""
        before, self._before = self._before, phi
        if before is not None and phi - before < SLOW * self._period:
            if self._times:
                self.end()
                self._before = phi
        elif walked:
            self._places.append(place)
            self._times.append(phi)

    def end(self) -> None:
        """End an episode, or a part of it in which the clock passed."""
        places, times = np.array(self._places), np.array(self._times)
        if len(places) > 4:
            velocity = np.diff(places, axis=0) / np.diff(times)[:, None]
            middle = 0.5 * (times[1:] + times[:-1])
            acceleration = np.diff(velocity, axis=0) / np.diff(middle)[:, None]
            jumps = np.abs(acceleration).max(axis=1) * self._period
            turns = np.abs(np.diff(acceleration, axis=0)).max(axis=1)
            for jump, store, at in (
                (jumps, self._velocity, times[1:-1]),
                (turns, self._acceleration, middle[1:-1]),
            ):
                gaps = np.abs(at[:, None] - np.array(self._joints)).min(axis=1, initial=np.inf)
                store[0].append(jump[gaps <= NEAR])
                store[1].append(jump[gaps > NEAR])
            jerk = np.diff(acceleration, axis=0) / self._period
            self._jerk += float((jerk**2).sum())
            self._jerks += jerk.size
        self._begin()

    def add(self, other: Seams) -> None:
        """Take in what another one saw."""
        for mine, theirs in (
            (self._velocity, other._velocity),
            (self._acceleration, other._acceleration),
        ):
            mine[0].extend(theirs[0])
            mine[1].extend(theirs[1])
        self._jerk += other._jerk
        self._jerks += other._jerks
        self._mismatch += other._mismatch

    def as_dict(self) -> dict[str, Any]:
        """Return what was seen, for a log; values with six digits."""
        return {
            'velocity': [_digits(part) for part in self._velocity],
            'acceleration': [_digits(part) for part in self._acceleration],
            'jerk': [self._jerk, self._jerks],
            'mismatch': self._mismatch,
        }

    @staticmethod
    def from_dict(table: dict[str, Any]) -> Seams:
        """Return the same from a log; it watches nothing more."""
        seams = Seams(1.0)
        for mine, key in ((seams._velocity, 'velocity'), (seams._acceleration, 'acceleration')):
            for part, values in zip(mine, table[key]):
                part.append(np.array(values, dtype=np.float64))
        seams._jerk, seams._jerks = table['jerk']
        seams._mismatch = list(table['mismatch'])
        return seams

    def figures(self) -> dict[str, Any]:
        """Return the ratios of the 99th percentiles near a seam and elsewhere, and the rest."""
        return {
            'seam_velocity_ratio': _ratio(*self._velocity),
            'seam_acceleration_ratio': _ratio(*self._acceleration),
            'jerk': math.sqrt(self._jerk / max(self._jerks, 1)),  # [rad/s^3]
            'mismatch': float(np.mean(self._mismatch)) if self._mismatch else None,
        }


def _ratio(near: list[Array], elsewhere: list[Array]) -> float | None:
    if not sum(map(len, near)) or not sum(map(len, elsewhere)):
        return None
    high = [float(np.quantile(np.concatenate(part), QUANTILE)) for part in (near, elsewhere)]
    return high[0] / high[1] if high[1] > 0.0 else None


def _digits(parts: list[Array]) -> list[float]:
    return [float(f'{value:.6g}') for part in parts for value in part]
