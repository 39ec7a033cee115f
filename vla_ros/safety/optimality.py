"""The program of a tick for the solver, and a check of its answer that trusts no exit flag."""

from __future__ import annotations

import math

from vla_ros.safety.compiled import compiled

BINDS = 1e-9  # a row with a larger multiplier binds


@compiled
def pack(v_d, lo, hi, g, bound, count, scale, program):
    """Fill the solver's arrays, unless v_d is feasible; return how many rows, -1 if it is.

    A row that holds in the whole box, sum_j min(g_j lo_j, g_j hi_j) >= bound, cannot bind: left
    out, it changes no answer. One slack for all rows, solved for as scale * slack.

    Args:
        v_d: (n,) [rad/s].
        lo: (n,) [rad/s].
        hi: (n,) [rad/s].
        g: (K, n) [m/rad] of which the first `count` rows are asked for.
        bound: (K,) [m/s].
        count: Of the rows.
        scale: Root of the slack's weight.
        program: The arrays.
    """
    n, rows, feasible = len(v_d), 0, True
    for j in range(n):
        feasible = feasible and lo[j] <= v_d[j] <= hi[j]
        program.target[j], program.lower[j], program.upper[j] = -v_d[j], lo[j], hi[j]
    program.lower[n] = 0.0
    for r in range(count):
        value = least = 0.0
        for j in range(n):
            value += g[r, j] * v_d[j]
            least += min(g[r, j] * lo[j], g[r, j] * hi[j])
        if least >= bound[r]:  # False for what is not a number
            continue
        feasible = feasible and value >= bound[r]
        for j in range(n):
            program.matrix[rows, j] = g[r, j]
        program.matrix[rows, n] = 1.0 / scale
        program.lower[n + 1 + rows] = bound[r]
        program.which[rows] = r
        rows += 1
    return -1 if feasible else rows


@compiled
def settle(x, dual, v_d, lo, hi, g, bound, which, rows, scale, tol, velocity):
    """Check an answer and take it over.

    Returns:
        (good, slack): whether it passed `is_optimal`, and the largest violated row [m/s];
        `velocity` (n,) [rad/s] is then the answer, in its bounds.
    """
    n, slack = len(v_d), 0.0
    if not is_optimal(x, dual, v_d, lo, hi, g, bound, which, rows, scale, tol):
        return False, math.inf
    for j in range(n):
        velocity[j] = min(max(x[j], lo[j]), hi[j])
    for r in range(rows):
        value = bound[which[r]]
        for j in range(n):
            value -= g[which[r], j] * velocity[j]
        slack = max(slack, value)
    return True, slack


@compiled
def is_optimal(x, dual, v_d, lo, hi, g, bound, which, rows, scale, tol):
    """Check an answer of the QP by its own arithmetic: feasible, stationary, dual sign, slack.

    min |v - v_d|^2 / 2 + t^2 / 2 with lo <= v <= hi, G v + t / scale >= bound, t >= 0, of the
    rows that are listed. x (n + 1,) is v and t; `dual` (n + 1 + rows,) lists bounds, slack, rows;
    positive at an upper, negative at a lower.
    """
    n = len(v_d)
    if len(x) != n + 1 or len(dual) != n + 1 + rows:
        return False
    slack = x[n]
    for j in range(n):
        if not (lo[j] - tol <= x[j] <= hi[j] + tol):
            return False
        residual = x[j] - v_d[j] + dual[j]
        for r in range(rows):
            residual += g[which[r], j] * dual[n + 1 + r]
        if not abs(residual) <= tol * (1.0 + abs(v_d[j])):
            return False
        if dual[j] > tol and x[j] < hi[j] - tol:
            return False
        if dual[j] < -tol and x[j] > lo[j] + tol:
            return False
    if not slack >= -tol:
        return False
    residual = slack + dual[n]
    for r in range(rows):
        value = slack / scale - bound[which[r]]
        for j in range(n):
            value += g[which[r], j] * x[j]
        weight = dual[n + 1 + r]
        if not value >= -tol or weight > tol or (weight < -tol and value > tol):
            return False
        residual += weight / scale
    return abs(residual) <= tol
