"""Checks of a program's answer by arithmetic of its own, compiled."""

from __future__ import annotations

import math

import numpy as np

from vla_ros.safety.compiled import allocating, compiled

BINDS = 1e-9  # a row with a larger multiplier binds


@compiled
def is_feasible(v, lo, hi, g, bound):
    """Say whether lo <= v <= hi and G v >= bound; False for what is not a number."""
    for j in range(len(v)):
        if not lo[j] <= v[j] <= hi[j]:
            return False
    for r in range(len(bound)):
        value = 0.0
        for j in range(len(v)):
            value += g[r, j] * v[j]
        if not value >= bound[r]:
            return False
    return True


@compiled
def pack(v_d, lo, hi, g, bound, scale, target, matrix, upper, lower):
    """Fill the solver's arrays, unless v_d is feasible; say whether it is.

    One slack for all rows, solved for as scale * slack.
    """
    if is_feasible(v_d, lo, hi, g, bound):
        return True
    n, rows = len(v_d), len(bound)
    for j in range(n):
        target[j], lower[j], upper[j] = -v_d[j], lo[j], hi[j]
    lower[n] = 0.0
    for r in range(rows):
        for j in range(n):
            matrix[r, j] = g[r, j]
        matrix[r, n] = 1.0 / scale
        lower[n + 1 + r] = bound[r]
    return False


@allocating
def settle(x, dual, v_d, lo, hi, g, bound, scale, tol):
    """Check an answer and take it over.

    Returns:
        (good, velocity, slack, active): whether it passed `is_optimal`, the velocity (n,) [rad/s]
        in its bounds, the largest violated row [m/s] and the rows that bind.
    """
    n, rows = len(v_d), len(bound)
    velocity, active = np.empty(n), np.empty(rows, np.int64)
    if not is_optimal(x[:n], x[n], v_d, lo, hi, g, bound, rows, dual, scale, tol):
        return False, velocity, math.inf, active[:0]
    for j in range(n):
        velocity[j] = min(max(x[j], lo[j]), hi[j])
    slack, count = 0.0, 0
    for r in range(rows):
        value = bound[r]
        for j in range(n):
            value -= g[r, j] * velocity[j]
        slack = max(slack, value)
        if dual[n + 1 + r] < -BINDS:
            active[count] = r
            count += 1
    return True, velocity, slack, active[:count]


@compiled
def is_optimal(v, slack, v_d, lo, hi, g, bound, count, dual, scale, tol):
    """Check an answer of the QP by its own arithmetic: feasible, stationary, dual sign, slack.

    min |v - v_d|^2 / 2 + t^2 / 2 with lo <= v <= hi, G v + t / scale >= bound, t >= 0.
    `dual` (n + 1 + count,) lists bounds, slack, rows; positive at an upper, negative at a lower.
    """
    n = len(v)
    for j in range(n):
        if not (lo[j] - tol <= v[j] <= hi[j] + tol):
            return False
        residual = v[j] - v_d[j] + dual[j]
        for r in range(count):
            residual += g[r, j] * dual[n + 1 + r]
        if not abs(residual) <= tol * (1.0 + abs(v_d[j])):
            return False
        if dual[j] > tol and v[j] < hi[j] - tol:
            return False
        if dual[j] < -tol and v[j] > lo[j] + tol:
            return False
    if not slack >= -tol:
        return False
    residual = slack + dual[n]
    for r in range(count):
        value = slack / scale - bound[r]
        for j in range(n):
            value += g[r, j] * v[j]
        weight = dual[n + 1 + r]
        if not value >= -tol or weight > tol or (weight < -tol and value > tol):
            return False
        residual += weight / scale
    return abs(residual) <= tol
