"""What a controller was told to follow, at any time, from the commands that it was sent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.types import Array, Trajectory

ROUNDING = 1e-6  # [s] of stamps


def reference(commands: Sequence[Trajectory], start: Array, times: Array) -> Array:
    """Return the positions (K, n) that commands ask for, as a trajectory controller has them.

    Each command takes over at its stamp, from where the reference is then, and goes on a straight
    line in joint space to its first point, to the next, and stays at its last. One without a
    point holds.

    Args:
        commands: In the order in which they were sent; one stamped before its forerunner never
            counted.
        start: (n,) where the reference is before the first.
        times: (K,) rising, none before the first command [s].
    """
    out = np.empty((len(times), len(start)))
    row = 0
    knots, points = np.array([-np.inf]), start[None]
    for command in commands:
        if command.stamp < knots[0]:
            continue
        while row < len(times) and times[row] < command.stamp - ROUNDING:
            out[row] = _along(knots, points, times[row])
            row += 1
        place = _along(knots, points, command.stamp)
        ahead = command.times > 0.0
        now = command.positions[~ahead][-1:]  # due at once, or before
        first = now if len(now) else place[None]
        knots = np.concatenate([[command.stamp], command.stamp + command.times[ahead]])
        points = np.concatenate([first, command.positions[ahead]])
    for later in range(row, len(times)):
        out[later] = _along(knots, points, times[later])
    return out


def held(commands: Sequence[Trajectory], times: Array) -> Array:
    """Return the positions (K, n) of the points next due, never between two.

    Args:
        commands: In the order in which they were sent, at least one, each with a point.
        times: (K,) none before the first command [s].
    """
    stamps = np.maximum.accumulate([command.stamp for command in commands])
    rows = []
    for i, time in zip(np.searchsorted(stamps, times + ROUNDING, side='right') - 1, times):
        due = commands[i].stamp + commands[i].times
        after = int(np.searchsorted(due, time - ROUNDING))
        rows.append(commands[i].positions[min(after, len(due) - 1)])
    return np.array(rows).reshape(len(times), -1)


def _along(knots: Array, points: Array, time: float) -> Array:
    """Return the point of a polyline at a time; its ends hold."""
    right = int(np.searchsorted(knots, time, side='right'))
    if right == 0:
        return np.asarray(points[0])
    if right == len(knots):
        return np.asarray(points[-1])
    share = (time - knots[right - 1]) / (knots[right] - knots[right - 1])
    return np.asarray(points[right - 1] + share * (points[right] - points[right - 1]))
