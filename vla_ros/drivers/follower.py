"""What the controllers of an arm do with the commands that they get."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import ShapeError
from vla_ros.types import Array, Trajectory


class TrajectoryFollower:
    """Follows the newest trajectory by time and holds its last point.

    From where it is when a trajectory arrives, it goes to the first point that is not past by a
    cubic in position and velocity, and on from point to point. When no trajectory comes any
    more, it runs to the end of the last one: a command that carries its stop ends at rest.
    """

    def __init__(self, position: Array) -> None:
        """Begin at rest.

        Args:
            position: Where (n,) [rad] or [m].
        """
        self._joints = len(position)
        self.hold(position)

    def hold(self, position: Array) -> None:
        """Forget every trajectory and rest at a position (n,) [rad] or [m]."""
        self._due = np.zeros(1)
        self._positions = np.array(position, dtype=float)[None]
        self._velocities = np.zeros((1, self._joints))

    def accept(self, trajectory: Trajectory, now: float) -> None:
        """Follow a trajectory from now on.

        Args:
            trajectory: Point k is due at `stamp + times[k]`, or `now + times[k]` if stamp is 0.
            now: Time [s].

        Raises:
            ShapeError: It has no point, other joints or a value that is not finite; what ran
                before runs on.
        """
        positions, velocities = trajectory.positions, trajectory.velocities
        if velocities is None:
            velocities = np.zeros_like(positions)
        if positions.shape[1] != self._joints or not len(positions):
            raise ShapeError(
                f'the command has shape {positions.shape}, expected (1 or more, {self._joints}).'
            )
        if not (np.isfinite(positions).all() and np.isfinite(velocities).all()):
            raise ShapeError('the command holds a value that is not finite; it is dropped.')
        due = (trajectory.stamp or now) + trajectory.times
        place, speed = self.sample(now)
        ahead = due > now
        if not ahead.any():
            self.hold(positions[-1])
            return
        self._due = np.concatenate([[now], due[ahead]])
        self._positions = np.concatenate([place[None], positions[ahead]])
        self._velocities = np.concatenate([speed[None], velocities[ahead]])

    def sample(self, now: float) -> tuple[Array, Array]:
        """Return position (n,) and velocity (n,) at a time [s]."""
        return sample_cubic(self._due, self._positions, self._velocities, now)


class PositionFollower:
    """What a forward position controller does: it goes to the newest position at once."""

    def __init__(self, position: Array) -> None:
        """Begin at rest.

        Args:
            position: Where (n,) [rad] or [m].
        """
        self.hold(position)

    def hold(self, position: Array) -> None:
        """Rest at a position (n,) [rad] or [m]."""
        self._position = np.array(position, dtype=float)

    def accept(self, position: Array) -> None:
        """Go to a position (n,) [rad] or [m].

        Raises:
            ShapeError: It has other joints or a value that is not finite; it is dropped.
        """
        if position.shape != self._position.shape or not np.isfinite(position).all():
            raise ShapeError(
                f'the command is {position}, expected {len(self._position)} finite positions.'
            )
        self._position = position

    def sample(self, now: float) -> tuple[Array, Array]:
        """Return position (n,) and velocity (n,), which it does not know, at a time [s]."""
        return self._position.copy(), np.zeros_like(self._position)


def sample_cubic(
    times: Array, positions: Array, velocities: Array, now: float
) -> tuple[Array, Array]:
    """Return position (n,) and velocity (n,) of points joined by cubics; at rest after the last.

    With s = (now - t0) / w in [0, 1] and the Hermite basis h:
    p = h00 p0 + w h10 v0 + h01 p1 + w h11 v1.

    Args:
        times: (T,) [s] strictly increasing.
        positions: (T, n) [rad] or [m].
        velocities: (T, n) [rad/s] or [m/s].
        now: [s] before the first time, the first point counts.
    """
    if now >= times[-1]:
        return positions[-1].copy(), np.zeros(positions.shape[1])
    if now <= times[0]:
        return positions[0].copy(), velocities[0].copy()
    i = int(np.searchsorted(times, now, side='right')) - 1
    w = times[i + 1] - times[i]
    s = (now - times[i]) / w
    p0, p1 = positions[i], positions[i + 1]
    m0, m1 = w * velocities[i], w * velocities[i + 1]
    cubic, square = 2 * (p0 - p1) + m0 + m1, 3 * (p1 - p0) - 2 * m0 - m1
    position = p0 + s * (m0 + s * (square + s * cubic))
    velocity = (m0 + s * (2 * square + 3 * s * cubic)) / w
    return position, velocity
