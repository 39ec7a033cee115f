"""Curves through points, as cubic pieces, and their extremes."""

from __future__ import annotations

import numpy as np
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
