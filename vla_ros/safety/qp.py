"""The quadratic program of one tick, and a check of its answer that trusts no exit flag."""

from __future__ import annotations

from typing import NamedTuple

import daqp
import numpy as np
from numpy.typing import NDArray

from vla_ros.safety.optimality import is_feasible, is_optimal
from vla_ros.types import Array

TOLERANCE = 1e-6  # [rad/s], [m/s] of every condition of optimality


class Problem(NamedTuple):
    """min |v - v_d|^2 / 2 + weight s^2 / 2, with lo <= v <= hi, G v + s >= bound, s >= 0.

    One slack s for all rows, so that it always has an answer; slack certifies nothing.
    """

    desired: Array  # (n,) [rad/s] v_d
    lower: Array  # (n,) [rad/s]
    upper: Array  # (n,) [rad/s]
    rows: Array  # (r, n) [m/rad] G
    bound: Array  # (r,) [m/s]
    weight: float  # [(rad/s)^2 / (m/s)^2]


class Solution(NamedTuple):
    """The answer that passed its check."""

    velocity: Array  # (n,) [rad/s]
    slack: float  # [m/s] largest violated row
    active: NDArray[np.int64]  # (k,) indices of the rows that bind


class QpSolver:
    """DAQP on preallocated arrays."""

    def __init__(self, joints: int) -> None:
        """Solve for n joints."""
        self._n = joints
        self._hessian = np.eye(joints + 1)
        self._reserve(64)

    def _reserve(self, rows: int) -> None:
        size = self._n + 1
        self._matrix = np.zeros((rows, size))
        self._upper = np.full(size + rows, 1e30)
        self._lower = np.full(size + rows, -1e30)

    def solve(self, problem: Problem) -> Solution | None:
        """Return the minimiser, or None if DAQP's answer does not pass the check.

        The desired velocity itself is returned, bit by bit, where it is feasible.
        """
        if is_feasible(*problem[:5]):
            return Solution(problem.desired, 0.0, np.zeros(0, np.int64))
        n, r = self._n, len(problem.bound)
        if r > len(self._matrix):
            self._reserve(2 * r)
        scale = np.sqrt(problem.weight)  # the slack is solved for as scale * s
        self._matrix[:r, :n] = problem.rows
        self._matrix[:r, n] = 1.0 / scale
        self._lower[:n], self._upper[:n] = problem.lower, problem.upper
        self._lower[n] = 0.0
        self._lower[n + 1 : n + 1 + r] = problem.bound
        target = np.append(-problem.desired, 0.0)
        end = n + 1 + r
        x, _, flag, info = daqp.solve(
            self._hessian, target, self._matrix[:r], self._upper[:end], self._lower[:end]
        )
        dual = np.asarray(info['lam'])
        if flag != 1 or not (np.isfinite(x).all() and np.isfinite(dual).all()):
            return None
        good = is_optimal(
            x[:n], x[n], problem.desired, problem.lower, problem.upper, problem.rows,
            problem.bound, r, dual, scale, TOLERANCE,
        )  # fmt: skip
        if not good:
            return None
        velocity = np.clip(x[:n], problem.lower, problem.upper)
        slack = max(0.0, float(np.max(problem.bound - problem.rows @ velocity, initial=0.0)))
        return Solution(velocity, slack, np.flatnonzero(dual[n + 1 :] < -1e-9))
