"""The quadratic program of one tick by DAQP; `optimality` packs it and checks its answer."""

from __future__ import annotations

import daqp
import numpy as np

from vla_ros.safety.work import Program
from vla_ros.types import Array


class QpSolver:
    """DAQP on preallocated arrays.

    min |v - v_d|^2 / 2 + W s^2 / 2 + w r^2 / 2, with lo <= v <= hi, G v + s >= bound, s >= 0, and
    for soft rows G v + r >= bound, r >= 0. One slack for all rows of a kind, so that there always
    is an answer; slack certifies nothing.
    """

    def __init__(self, joints: int) -> None:
        """Solve for n joints."""
        self._hessian = np.eye(joints + 2)  # slacks are solved for as root of the weight times s

    def solve(self, program: Program, rows: int) -> tuple[Array, Array] | None:
        """Return what DAQP says, which is still to be checked; None if it has no answer.

        Args:
            program: As `pack` filled it.
            rows: How many rows it has.

        Returns:
            (x, dual): (n + 2,) velocities [rad/s] and scaled slacks, (n + 2 + r,) multipliers.
        """
        end = len(self._hessian) + rows
        x, _, flag, info = daqp.solve(
            self._hessian, program.target, program.matrix[:rows], program.upper[:end],
            program.lower[:end],
        )  # fmt: skip
        return (x, info['lam']) if flag == 1 else None
