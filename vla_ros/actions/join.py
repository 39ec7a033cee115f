"""Joins: from a state of motion to a new curve, with continuous acceleration."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.actions import curve
from vla_ros.types import Array

LONGEST = 0.5  # [s] of a join
BUILD = 0.2  # [s] in which a gentle acceleration builds up
TINY = 1e-9  # [s] nearer instants are one


class Curve(NamedTuple):
    """Cubics through points; at rest outside."""

    due: Array  # (T,) [s] plan time
    points: Array  # (T, n)
    cubics: Array  # (T - 1, 4, n)


class Way(NamedTuple):
    """From one curve to a point of another."""

    due: Array  # (K,) [s] plan time; the last one is at the target
    points: Array  # (K, n)
    cubics: Array  # (K - 1, 4, n)
    target: int  # point of the new curve
    effort: float  # largest acceleration or jerk against what is gentle


def lead(start: Array, new: Curve, leave: float, least: float, gentle: Array) -> Way:
    """Return the way from a state of motion to the first point of a curve that is reached gently.

    Where none is, it leads to the one that asks for the least.

    Args:
        start: (3, n) position, velocity and acceleration at the beginning.
        new: Is joined.
        leave: When that is [s].
        least: Shortest duration [s]; the longest is LONGEST, unless no point is due by then.
        gentle: (n,) accelerations that are no effort [rad/s^2], nor such a change of them within
            BUILD; those of the curve itself are none either.
    """
    last, now = len(new.due) - 1, max(int(new.due.searchsorted(leave)) - 1, 0)
    ahead = new.cubics[now:]
    roughest = np.abs(6.0 * ahead[:, 3]).max(axis=0, initial=0.0)  # [rad/s^3]
    hardest = curve.peaks(new.due[now:], ahead)[1].max(axis=0, initial=0.0)
    jerk, acceleration = np.maximum(gentle / BUILD, roughest), np.maximum(gentle, hardest)
    first = min(int(new.due.searchsorted(leave + least)), last)
    best, target, arrive = np.inf, first, leave
    for k in range(first, last + 1):
        reach = max(float(new.due[k]), leave + least)
        if k > first and reach > leave + LONGEST:
            break
        tried = curve.join(start, curve.state(*new, float(new.due[k])), reach - leave)
        peaks = curve.peaks(np.linspace(leave, reach, 4), tried)[1].max(axis=0)
        turns = np.abs(6.0 * tried[:, 3]).max(axis=0)
        effort = float(max((peaks / acceleration).max(), (turns / jerk).max()))
        if k == first or effort < best:
            best, target, cubics, arrive = effort, k, tried, reach
        if effort <= 1.0:
            break
    # Cut where a point of the new curve is due, so that held columns change on time.
    thirds = np.linspace(leave, arrive, 4)
    inner = new.due[(new.due > leave) & (new.due < arrive)]
    inner = inner[np.abs(inner[:, None] - thirds).min(axis=1) > TINY]
    due = np.sort(np.concatenate([thirds, inner]))
    piece = np.clip(thirds.searchsorted(due[:-1], side='right') - 1, 0, 2)
    cut = np.array([curve.moved(cubics[i], t - thirds[i]) for i, t in zip(piece, due)])
    points = np.concatenate([cut[:, 0], new.points[target][None]])
    return Way(due, points, cut, target, best)
