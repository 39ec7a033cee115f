"""Checks of a program's answer by arithmetic of its own, compiled."""

from __future__ import annotations

from vla_ros.safety.compiled import compiled


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
