"""The program of a tick for the solver, and a check of its answer that trusts no exit flag."""

from __future__ import annotations

import math

from vla_ros.safety.compiled import compiled

BINDS = 1e-9  # a row with a larger multiplier binds


@compiled
def pack(v_d, lo, hi, g, bound, count, soft, scale, ease, program):
    """Fill the solver's arrays, unless v_d is feasible; return how many rows, -1 if it is.

    A row that holds in the whole box, sum_j min(g_j lo_j, g_j hi_j) >= bound, cannot bind: left
    out, it changes no answer. One slack for all rows and one for the soft rows, solved for as
    scale * slack and ease * slack.

    Args:
        v_d: (n,) [rad/s].
        lo: (n,) [rad/s].
        hi: (n,) [rad/s].
        g: (K, n) [m/rad] of which the first `count` rows are asked for, and `soft` after them.
        bound: (K,) [m/s].
        count: Of the rows.
        soft: Of the soft rows.
        scale: Root of the slack's weight.
        ease: Root of that of the soft rows' slack.
        program: The arrays.
    """
    n, rows, feasible = len(v_d), 0, True
    for j in range(n):
        feasible = feasible and lo[j] <= v_d[j] <= hi[j]
        program.target[j], program.lower[j], program.upper[j] = -v_d[j], lo[j], hi[j]
    program.lower[n] = program.lower[n + 1] = 0.0
    for r in range(count + soft):
        value = least = 0.0
        for j in range(n):
            value += g[r, j] * v_d[j]
            least += min(g[r, j] * lo[j], g[r, j] * hi[j])
        if least >= bound[r]:  # False for what is not a number
            continue
        feasible = feasible and value >= bound[r]
        for j in range(n):
            program.matrix[rows, j] = g[r, j]
        program.matrix[rows, n] = 1.0 / scale if r < count else 0.0
        program.matrix[rows, n + 1] = 0.0 if r < count else 1.0 / ease
        program.lower[n + 2 + rows] = bound[r]
        program.which[rows] = r
        rows += 1
    return -1 if feasible else rows


@compiled
def settle(x, dual, v_d, lo, hi, g, bound, count, which, rows, scale, ease, tol, velocity):
    """Check an answer and take it over.

    Returns:
        (good, slack): whether it passed `is_optimal`, and the largest violated row that is not
        soft [m/s]; `velocity` (n,) [rad/s] is then the answer, in its bounds.
    """
    n, slack = len(v_d), 0.0
    if not is_optimal(x, dual, v_d, lo, hi, g, bound, count, which, rows, scale, ease, tol):
        return False, math.inf
    for j in range(n):
        velocity[j] = min(max(x[j], lo[j]), hi[j])
    for r in range(rows):
        if which[r] < count:
            value = bound[which[r]]
            for j in range(n):
                value -= g[which[r], j] * velocity[j]
            slack = max(slack, value)
    return True, slack


@compiled
def is_optimal(x, dual, v_d, lo, hi, g, bound, count, which, rows, scale, ease, tol):
    """Check an answer of the QP by its own arithmetic: feasible, stationary, dual sign, slack.

    min |v - v_d|^2 / 2 + t^2 / 2 + u^2 / 2 with lo <= v <= hi, t, u >= 0 and of the rows that are
    listed G v + t / scale >= bound, or of those from `count` on G v + u / ease >= bound.
    x (n + 2,) is v, t and u; `dual` (n + 2 + rows,) lists bounds, slacks, rows; positive at an
    upper, negative at a lower.
    """
    n = len(v_d)
    if len(x) != n + 2 or len(dual) != n + 2 + rows:
        return False
    for j in range(n):
        if not (lo[j] - tol <= x[j] <= hi[j] + tol):
            return False
        residual = x[j] - v_d[j] + dual[j]
        for r in range(rows):
            residual += g[which[r], j] * dual[n + 2 + r]
        if not abs(residual) <= tol * (1.0 + abs(v_d[j])):
            return False
        if dual[j] > tol and x[j] < hi[j] - tol:
            return False
        if dual[j] < -tol and x[j] > lo[j] + tol:
            return False
    if not x[n] >= -tol or not x[n + 1] >= -tol:
        return False
    hard, soft = x[n] + dual[n], x[n + 1] + dual[n + 1]
    for r in range(rows):
        firm = which[r] < count
        value = (x[n] / scale if firm else x[n + 1] / ease) - bound[which[r]]
        for j in range(n):
            value += g[which[r], j] * x[j]
        weight = dual[n + 2 + r]
        if not value >= -tol or weight > tol or (weight < -tol and value > tol):
            return False
        if firm:
            hard += weight / scale
        else:
            soft += weight / ease
    return abs(hard) <= tol and abs(soft) <= tol
