"""Curves through points: cubic pieces of continuous acceleration, and how one leads to another."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

from vla_ros.types import Array


def spline_slopes(due: Array, points: Array) -> Array:
    """Return the slopes (T, n) with which cubics through points have a continuous acceleration.

    w_k m_(k-1) + 2 (w_(k-1) + w_k) m_k + w_(k-1) m_(k+1) = 3 (w_k d_(k-1) + w_(k-1) d_k)
    with widths w and mean slopes d of the pieces; at both ends the slope of the parabola through
    the three points there.

    Args:
        due: (T,) [s], strictly increasing.
        points: (T, n).
    """
    count = len(due)
    if count < 2:
        return np.zeros_like(points)
    w = np.diff(due)
    mean = np.diff(points, axis=0) / w[:, None]
    if count == 2:
        return np.repeat(mean, 2, axis=0)
    slopes = np.empty_like(points)
    slopes[0] = ((2.0 * w[0] + w[1]) * mean[0] - w[0] * mean[1]) / (w[0] + w[1])
    slopes[-1] = ((2.0 * w[-1] + w[-2]) * mean[-1] - w[-1] * mean[-2]) / (w[-1] + w[-2])
    right = 3.0 * (w[1:, None] * mean[:-1] + w[:-1, None] * mean[1:])
    right[0] -= w[1] * slopes[0]
    right[-1] -= w[-2] * slopes[-1]
    bands = np.zeros((3, count - 2))
    bands[0, 1:], bands[1], bands[2, :-1] = w[:-2], 2.0 * (w[:-1] + w[1:]), w[2:]
    slopes[1:-1] = solve_banded((1, 1), bands, right, check_finite=False)
    return slopes


def cubics_of(due: Array, points: Array, slopes: Array) -> Array:
    """Return c0 to c3 (T - 1, 4, n) of the cubics through points with given slopes.

    c2 = (3 d - 2 m0 - m1) / w and c3 = (m0 + m1 - 2 d) / w^2.
    """
    w = np.diff(due)[:, None]
    m0, m1, mean = slopes[:-1], slopes[1:], np.diff(points, axis=0) / w
    c2, c3 = (3.0 * mean - 2.0 * m0 - m1) / w, (m0 + m1 - 2.0 * mean) / w**2
    return np.stack((points[:-1], m0, c2, c3), axis=1)


def join(start: Array, end: Array, width: float) -> Array:
    """Return three cubics (3, 4, n) of equal width from one state of motion to another.

    Acceleration is linear on each piece and continuous: a0, a1 and the two between that make
    velocity and position come out right.

    Args:
        start: (3, n) position, velocity and acceleration.
        end: (3, n) the same at the end.
        width: Of all three pieces together [s].
    """
    (p0, v0, a0), (p1, v1, a3) = start, end
    h = width / 3.0
    gain = (v1 - v0) / h - 0.5 * (a0 + a3)  # a1 + a2
    way = (p1 - p0 - width * v0) / h**2 - 4.0 / 3.0 * a0 - a3 / 6.0  # 2 a1 + a2
    accelerations = (a0, way - gain, 2.0 * gain - way, a3)
    pieces, p, v = [], p0, v0
    for a, b in pairwise(accelerations):
        pieces.append((p, v, 0.5 * a, (b - a) / (6.0 * h)))
        p = p + h * v + h * h * (a / 3.0 + b / 6.0)
        v = v + 0.5 * h * (a + b)
    return np.array(pieces)


def moved(cubic: Array, x: float) -> Array:
    """Return a cubic (4, n) over an argument that is counted from x on."""
    c0, c1, c2, c3 = cubic
    return np.stack((
        c0 + x * (c1 + x * (c2 + x * c3)),
        c1 + x * (2.0 * c2 + 3.0 * x * c3),
        c2 + 3.0 * x * c3,
        c3,
    ))  # fmt: skip


def state(due: Array, points: Array, cubics: Array, at: float) -> Array:
    """Return position, velocity and acceleration (3, n) of a curve; at rest outside of it.

    At its very end it still moves: who goes on from there need not stop.
    """
    if at < due[0] or at > due[-1] or len(due) == 1:
        rest = points[0 if at < due[0] else -1]
        return np.stack((rest, np.zeros_like(rest), np.zeros_like(rest)))
    i = min(int(due.searchsorted(at, side='right')), len(cubics)) - 1
    here = moved(cubics[i], at - due[i])[:3]
    here[2] *= 2.0
    return here


def peaks(due: Array, cubics: Array) -> tuple[Array, Array]:
    """Return the largest |velocity| and |acceleration| (T - 1, n) of every piece.

    Acceleration is linear, so its ends tell; velocity is largest there or where it turns, at
    x = -c2 / (3 c3).
    """
    w = np.diff(due)[:, None]
    _, c1, c2, c3 = np.moveaxis(cubics, 1, 0)
    with np.errstate(divide='ignore', invalid='ignore'):
        turn = -c2 / (3.0 * c3)
    turn = np.where((turn > 0.0) & (turn < w), turn, 0.0)
    middle = c1 + turn * (2.0 * c2 + 3.0 * turn * c3)
    end = c1 + w * (2.0 * c2 + 3.0 * w * c3)
    fastest = np.maximum(np.maximum(np.abs(c1), np.abs(end)), np.abs(middle))
    return fastest, np.maximum(np.abs(2.0 * c2), np.abs(2.0 * c2 + 6.0 * w * c3))


def hold(due: Array, at: Array) -> NDArray[np.intp]:
    """Return which point (K,) is held at times (K,) [s]: the last one due, the first before."""
    return np.maximum(due.searchsorted(at, side='right') - 1, 0)
