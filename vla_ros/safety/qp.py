"""The quadratic program of one tick, and a check of its answer that trusts no exit flag."""

from __future__ import annotations

import math
from typing import NamedTuple

import daqp
import numpy as np
from numpy.typing import NDArray

from vla_ros.safety.optimality import pack, settle
from vla_ros.types import Array

NO_ROWS = np.zeros(0, np.int64)
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
        self._hessian, self._target = np.eye(joints + 1), np.zeros(joints + 1)
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
        r = len(problem.bound)
        if r > len(self._matrix):
            self._reserve(2 * r)
        scale = math.sqrt(problem.weight)  # the slack is solved for as scale * s
        program, end = problem[:5], self._n + 1 + r
        if pack(*program, scale, self._target, self._matrix, self._upper, self._lower):
            return Solution(problem.desired, 0.0, NO_ROWS)
        x, _, flag, info = daqp.solve(
            self._hessian, self._target, self._matrix[:r], self._upper[:end], self._lower[:end]
        )
        if flag != 1:
            return None
        good, velocity, slack, active = settle(x, info['lam'], *program, scale, TOLERANCE)
        return Solution(velocity, slack, active) if good else None
