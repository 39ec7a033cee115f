"""Damped differential inverse kinematics with joint limits and a null-space posture."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
import pinocchio as pin
from scipy.linalg.lapack import dposv

from vla_ros.errors import KinematicsError
from vla_ros.kinematics.model import Kinematics
from vla_ros.types import Array

_REACH_STEP = 0.15  # [m] and, times 4, [rad]: the largest error one iteration tries to remove


@dataclass(frozen=True)
class IkResult:
    """The best joint positions found for one pose."""

    q: Array  # (n,) [rad]
    position_error: float  # [m]
    rotation_error: float  # [rad]
    converged: bool
    iterations: int


@dataclass(frozen=True)
class PathResult:
    """Joint positions along a tool path."""

    q: Array  # (T, n) [rad]
    position_error: Array  # (T,) [m]
    rotation_error: Array  # (T,) [rad]
    converged: bool  # at every point


class InverseKinematics:
    """Iterates dq = z + J^T (J J^T + l I)^-1 (e - J z), z = gain (posture - q).

    The damping l falls with the squared error (Sugihara, T-RO 27(5), 2011), so steps are safe
    far away and Newton-like close by. A joint that a step would push past its limit is held
    there and the step is solved again without it.
    """

    def __init__(
        self,
        kinematics: Kinematics,
        *,
        lower: Array | None = None,
        upper: Array | None = None,
        posture: Array | None = None,
        posture_gain: float = 0.1,
        tolerance: float = 1e-5,
    ) -> None:
        """Prepare a solver.

        Args:
            kinematics: The arm.
            lower: Joint limits (n,) [rad]; None takes the URDF's.
            upper: Joint limits (n,) [rad]; None takes the URDF's.
            posture: Joint positions (n,) [rad] that redundancy is spent on; None keeps still.
            posture_gain: Share of the distance to the posture per iteration.
            tolerance: Accepted position [m] and rotation [rad] error.
        """
        self.kinematics = kinematics
        self.lower = kinematics.lower if lower is None else np.asarray(lower, dtype=float)
        self.upper = kinematics.upper if upper is None else np.asarray(upper, dtype=float)
        self.posture = None if posture is None else np.asarray(posture, dtype=float)
        self.posture_gain = posture_gain
        self.tolerance = tolerance

    def solve(
        self, q0: Array, rotation: Array, position: Array, *, iterations: int = 100
    ) -> IkResult:
        """Find joint positions for one tool pose, from a start.

        Args:
            q0: Start (n,) [rad].
            rotation: Target (3, 3), base frame.
            position: Target (3,) [m], base frame.
            iterations: The most steps to take.

        Raises:
            KinematicsError: A target is not finite or has a wrong shape.
        """
        q0, rotation, position = (np.asarray(x, dtype=float) for x in (q0, rotation, position))
        if rotation.shape != (3, 3) or position.shape != (3,):
            raise KinematicsError(
                f'pose has shapes {rotation.shape} and {position.shape}, expected (3, 3) and (3,).'
            )
        self._check(q0, rotation, position)
        return self._solve(q0, rotation, position, iterations)

    def solve_path(
        self, q0: Array, rotation: Array, positions: Array, *, iterations: int = 30
    ) -> PathResult:
        """Find joint positions along a tool path; each point starts from the one before.

        Args:
            q0: Joint positions before the path (n,) [rad].
            rotation: Targets (T, 3, 3), or (3, 3) for all points.
            positions: Targets (T, 3) [m].
            iterations: The most steps to take for a point.

        Raises:
            KinematicsError: A target is not finite or has a wrong shape.
        """
        positions = np.asarray(positions, dtype=float)
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise KinematicsError(f'path has shape {positions.shape}, expected (T, 3).')
        rotations = np.broadcast_to(np.asarray(rotation, dtype=float), (len(positions), 3, 3))
        q = np.asarray(q0, dtype=float)
        self._check(q, rotations, positions)
        results = []
        for r, p in zip(rotations, positions):
            results.append(self._solve(q, r, p, iterations))
            q = results[-1].q
        return PathResult(
            np.array([x.q for x in results]).reshape(len(positions), len(self.lower)),
            np.array([x.position_error for x in results]),
            np.array([x.rotation_error for x in results]),
            all(x.converged for x in results),
        )

    def _check(self, q: Array, rotation: Array, position: Array) -> None:
        if q.shape != self.lower.shape:
            raise KinematicsError(
                f'the start has shape {q.shape}, expected {self.lower.shape}: a joint each.'
            )
        if not (np.isfinite(rotation).all() and np.isfinite(position).all()):
            raise KinematicsError('the target pose is not finite; check where it comes from.')

    def _solve(self, q: Array, rotation: Array, position: Array, iterations: int) -> IkResult:
        q = np.minimum(np.maximum(q, self.lower), self.upper)
        least, best = inf, (q, inf, inf, 0)
        error = np.empty(6)
        shift, turn = error[:3], error[3:]
        for iteration in range(iterations + 1):
            r, p, jacobian = self.kinematics.fk_jacobian(q)
            np.subtract(position, p, out=shift)
            turn[:] = pin.log3(rotation @ r.T)
            linear, angular = sqrt(shift @ shift), sqrt(turn @ turn)
            if linear + angular < least:
                least, best = linear + angular, (q, linear, angular, iteration)
                if linear < self.tolerance and angular < self.tolerance:
                    return IkResult(q, linear, angular, True, iteration)
            q = self._step(q, jacobian, error, linear, angular)
        q, linear, angular, iteration = best
        return IkResult(q, linear, angular, False, iteration)

    def _step(
        self, q: Array, jacobian: Array, error: Array, linear: float, angular: float
    ) -> Array:
        scale = max(linear / _REACH_STEP, angular / (4.0 * _REACH_STEP))
        if scale > 1.0:
            error = error / scale
        damping = 1e-2 * float(error @ error) + 1e-9
        posture = q if self.posture is None else self.posture
        drift = self.posture_gain * (posture - q)
        after = q + _least_squares(jacobian, error, drift, damping)
        blocked = (after > self.upper) | (after < self.lower)
        if True in blocked.tolist():  # as blocked.any(), in a third of its time for so few
            free = np.where(blocked, 0.0, 1.0)
            stopped = np.minimum(np.maximum(after, self.lower), self.upper)
            wall = np.where(blocked, stopped - q, 0.0)
            dq = wall + _least_squares(
                jacobian * free, error - jacobian @ wall, drift * free, damping
            )
            after = np.minimum(np.maximum(q + dq, self.lower), self.upper)
        return after


def _least_squares(jacobian: Array, error: Array, drift: Array, damping: float) -> Array:
    gram = jacobian @ jacobian.T
    gram.ravel()[::7] += damping
    # As np.linalg.solve, in a third of its time and without handing over the interpreter.
    _, forces, _ = dposv(gram, error - jacobian @ drift)
    return drift + jacobian.T @ forces
