"""What the controllers of an arm do with the commands that they get."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import ShapeError
from vla_ros.types import Array, Trajectory

END_SPEED = 1.2e-7  # [rad/s] at the last point; faster is no rest (float32 epsilon)


class TrajectoryFollower:
    """Follows the newest trajectory by time and holds its last point.

    What a joint trajectory controller does that interpolates from its desired state: where the
    first point is ahead it goes there from where it is, by a cubic in position and velocity; else
    it is between two points at once. Points without velocities are joined by straight lines. When
    no trajectory comes any more, it runs to the end of the last one: a command that carries its
    stop ends at rest.
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
        self._velocities: Array | None = np.zeros((1, self._joints))

    @property
    def end(self) -> tuple[float, Array]:
        """When the trajectory is over [s], and where (n,) [rad] or [m]."""
        return float(self._due[-1]), self._positions[-1]

    def check(self, trajectory: Trajectory, now: float) -> None:
        """Refuse what a controller refuses.

        Args:
            trajectory: Point k is due at `stamp + times[k]`, or `now + times[k]` if stamp is 0.
            now: Time [s].

        Raises:
            ShapeError: It has no point, other joints, a value that is not finite, times that do
                not increase, a last point that is not at rest, or it is over already.
        """
        positions, velocities = trajectory.positions, trajectory.velocities
        if positions.shape[1] != self._joints or not len(positions):
            raise ShapeError(
                f'the command has shape {positions.shape}, expected (1 or more, {self._joints}).'
            )
        finite = np.isfinite(positions).all() and np.isfinite(trajectory.times).all()
        if not (finite and (velocities is None or np.isfinite(velocities).all())):
            raise ShapeError('the command holds a value that is not finite; it is dropped.')
        if (np.diff(trajectory.times) <= 0.0).any():
            raise ShapeError('the times of the command do not increase; it is dropped.')
        if velocities is not None and np.abs(velocities[-1]).max() > END_SPEED:
            raise ShapeError('the last point of the command is not at rest; it is dropped.')
        late = now - (trajectory.stamp or now) - trajectory.times[-1]
        if late > 0.0:
            raise ShapeError(f'the command ended {late:.3f} s ago; it is dropped.')

    def accept(self, trajectory: Trajectory, now: float) -> None:
        """Follow a trajectory from now on; see `check` for its terms.

        Raises:
            ShapeError: It is refused; what ran before runs on.
        """
        self.check(trajectory, now)
        positions, velocities = trajectory.positions, trajectory.velocities
        due = (trajectory.stamp or now) + trajectory.times
        if due[0] > now:
            place, speed = self.sample(now)
            due, positions = np.append(now, due), np.concatenate([place[None], positions])
            if velocities is not None:
                velocities = np.concatenate([speed[None], velocities])
        self._due, self._positions, self._velocities = due, positions, velocities

    def sample(self, now: float) -> tuple[Array, Array]:
        """Return position (n,) and velocity (n,) at a time [s]."""
        if self._velocities is None:
            return sample_line(self._due, self._positions, now)
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


def sample_line(times: Array, positions: Array, now: float) -> tuple[Array, Array]:
    """Return position (n,) and velocity (n,) of points joined by lines; at rest outside.

    Args:
        times: (T,) [s] strictly increasing.
        positions: (T, n) [rad] or [m].
        now: [s]
    """
    if not times[0] <= now < times[-1]:
        return positions[0 if now < times[0] else -1].copy(), np.zeros(positions.shape[1])
    i = int(np.searchsorted(times, now, side='right')) - 1
    slope = (positions[i + 1] - positions[i]) / (times[i + 1] - times[i])
    return positions[i] + (now - times[i]) * slope, slope


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
