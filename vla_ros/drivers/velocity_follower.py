"""What an arm does that is told velocities: it goes on, until it is told to stop or times out."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import ShapeError
from vla_ros.types import Array

JOG_TIMEOUT = 0.1  # [s] MoveIt Servo's incoming_command_timeout
JOG_HALT = 5.0  # [rad/s^2] how its smoothing brings a stale jog to rest


class VelocityFollower:
    """Integrates the newest velocity; a forward velocity controller never asks how old it is.

    With a timeout it stands for MoveIt Servo: a command that is older is discarded, all joints
    of one that is too fast are slowed by one factor, and silence is a halt.
    """

    def __init__(
        self,
        position: Array,
        limit: Array,
        timeout: float = float('inf'),
        halt: float = float('inf'),
    ) -> None:
        """Begin at rest.

        Args:
            position: Where (n,) [rad].
            limit: Largest speed of each joint (n,) [rad/s].
            timeout: Age of a command after which the arm halts [s].
            halt: How it does [rad/s^2].
        """
        self._limit, self._timeout, self._halt = limit, timeout, halt
        self.hold(position)

    def hold(self, position: Array) -> None:
        """Rest at a position (n,) [rad]."""
        self._position = np.array(position, dtype=float)
        self._velocity = np.zeros_like(self._position)
        self._wanted = self._velocity
        self._said = -np.inf  # [s] stamp of the newest command
        self._now = -np.inf  # [s] when the position was right

    def accept(self, velocity: Array, now: float, stamp: float | None = None) -> None:
        """Go on at a velocity (n,) [rad/s].

        Args:
            velocity: Of every joint.
            now: Time [s].
            stamp: When it was said [s]; None: now.

        Raises:
            ShapeError: It has other joints, or a value that is not finite, or is too old; the
                arm goes on as before.
        """
        if velocity.shape != self._position.shape or not np.isfinite(velocity).all():
            raise ShapeError(
                f'the command is {velocity}, expected {len(self._position)} finite velocities.'
            )
        said = now if stamp is None else stamp
        if now - said >= self._timeout:
            raise ShapeError(f'the command is {now - said:.3f} s old; it is dropped.')
        self.sample(now)
        excess = float((np.abs(velocity) / self._limit).max())
        self._wanted, self._said = velocity / max(excess, 1.0), said

    def sample(self, now: float) -> tuple[Array, Array]:
        """Return position (n,) and velocity (n,) at a time [s]; times must not go back."""
        dt = now - self._now if np.isfinite(self._now) else 0.0
        if dt <= 0.0:
            self._now = max(self._now, now)
            return self._position.copy(), self._velocity.copy()
        before = self._velocity
        if now - self._said >= self._timeout:
            fall = self._halt * dt
            self._velocity = before - np.clip(before, -fall, fall)
            self._position = self._position + 0.5 * dt * (before + self._velocity)
        else:
            self._velocity = self._wanted
            self._position = self._position + dt * self._velocity
        self._now = now
        return self._position.copy(), self._velocity.copy()
