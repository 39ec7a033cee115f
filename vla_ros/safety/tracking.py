"""Tracking: do the arms follow at all, and are they where they were commanded to be?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vla_ros.safety.chain import Arm, Floats, Ints
from vla_ros.safety.compiled import compiled
from vla_ros.safety.config import SafetyConfig
from vla_ros.types import Array

ENOUGH = 0.25  # of the limit; a reference so near ends the search for a nearer one
LEASH = 0.25  # of the limit; so far the reference goes while the arm has not moved yet
FOLLOWS = 0.1  # of the way of the reference; an arm that has come so far does follow


class Tracking:
    """Compares the measured joints with the way that was commanded just before.

    A controller lags behind, along a way that was verified; so the distance from the nearest of
    the recent references counts, as a bound of the displacement of any point of any capsule:
    max over capsules c of sum_j lever_cj |q_j - q_rj|.
    """

    def __init__(self, arm: Arm, config: SafetyConfig) -> None:
        """Hold the lever arms, and which joints belong to one arm."""
        self._lever = lever = arm.lever
        self._chains = arm.chains
        self._window = config.tracking_window
        self.limit = config.tracking_limit  # [m] beyond which the arm is lost
        size = int(np.ceil(2.0 * config.tracking_window / config.period)) + 1
        self._stamps = np.full(size, -np.inf)
        self._references = np.zeros((size, lever.shape[1]))
        self._next = 0
        self.follows = False  # every arm has been seen to follow since the reset
        self._following = np.zeros(len(arm.chains), bool)  # each of them
        self._start = np.zeros(lever.shape[1])  # [rad]

    def reset(self, place: Array) -> None:
        """Forget the way; the arm rests at a place (dof,) [rad]."""
        self._stamps[:] = -np.inf
        self._next = 0
        self.follows, self._start = False, place
        self._following[:] = False

    def stays(self, reference: Array, measured: Array) -> bool:
        """Whether an arm stays behind the first steps of the reference (dof,) [rad].

        A controller that is not there yet, or not active, would leap to where the reference has
        gone meanwhile. Once an arm follows, it is not asked any more.
        """
        self.follows, stays = look_who_follows(
            self._start, reference, measured, self._lever, self._chains, LEASH * self.limit,
            self._following,
        )  # fmt: skip
        return bool(stays)

    def add(self, now: float, reference: Array) -> None:
        """Note a reference (dof,) [rad] that is commanded at ROS time `now` [s]."""
        self._stamps[self._next] = now
        self._references[self._next] = reference
        self._next = (self._next + 1) % len(self._stamps)

    def error(self, now: float, measured: Array) -> float:
        """Return the bound of the displacement [m] of measured joints (dof,); 0 with no way.

        It is exact from a quarter of the limit on.
        """
        since = now - self._window
        return float(nearest_reference(
            self._stamps, self._references, self._next, since, measured, self._lever,
            ENOUGH * self.limit,
        ))  # fmt: skip


@compiled
def look_who_follows(
    start: Floats,
    reference: Floats,
    measured: Floats,
    lever: Floats,
    chains: Ints,
    leash: float,
    following: NDArray[np.bool_],
) -> tuple[bool, bool]:
    """Note in `following` (A,) which arms follow; return whether all do, and whether one stays.

    An arm is asked once its reference has gone further than `leash` [m].
    """
    follows, stays = True, False
    for k in range(len(chains)):
        if following[k]:
            continue
        first, end = chains[k, 0], chains[k, 1] + 1
        gone = 0.0
        for c in range(len(lever)):
            total = 0.0
            for j in range(first, end):
                total += lever[c, j] * abs(reference[j] - start[j])
            gone = max(gone, total)
        if gone > leash:
            come = way = 0.0
            for j in range(first, end):
                step = reference[j] - start[j]
                come += (measured[j] - start[j]) * step
                way += step * step
            following[k] = come >= FOLLOWS * way
            stays = stays or not following[k]
        follows = follows and following[k]
    return follows, stays


@compiled
def nearest_reference(
    stamps: Floats,
    references: Floats,
    following: int,
    since: float,
    measured: Floats,
    lever: Floats,
    enough: float,
) -> float:
    """Return the least over references since a time of max_c sum_j lever_cj |q_j - q_rj| [m].

    The newest, before `following`, comes first; one that is nearer than `enough` [m] is enough.
    """
    best, found = np.inf, False
    for i in range(len(stamps)):
        k = (following - 1 - i) % len(stamps)
        if best < enough:
            break
        if stamps[k] < since:
            continue
        found = True
        worst = 0.0
        for c in range(len(lever)):
            total = 0.0
            for j in range(len(measured)):
                total += lever[c, j] * abs(references[k, j] - measured[j])
            worst = max(worst, total)
            if worst >= best:
                break
        best = min(best, worst)
    return best if found else 0.0
