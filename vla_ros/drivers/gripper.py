"""The gripper's share of a command: a target that jumps becomes a way at the gripper's speed."""

from __future__ import annotations

import numpy as np

from vla_ros.robot import Gripper
from vla_ros.types import Array, JointCommand

SETTLE = 0.05  # [s] in which a gripper comes to rest, where the stop of the arm is shorter
EVERY = 0.1  # [s] from one goal of a gripper to the next
AGAIN = 1.0  # [s] until a goal that nobody took is sent again


class GripperRamp:
    """Goes to a target at the gripper's speed; begins at the first target. Not thread-safe."""

    def __init__(self, gripper: Gripper) -> None:
        """Take the speed of a gripper."""
        self._speed = gripper.velocity
        self._place: float | None = None  # [m]

    def advance(self, target: float, dt: float) -> tuple[float, float]:
        """Return place [m] and velocity [m/s] after `dt` [s] towards a target [m]."""
        place = target if self._place is None else self._place
        step = float(np.clip(target - place, -self._speed * dt, self._speed * dt))
        self._place = place + step
        return self._place, step / dt if dt > 0.0 else 0.0

    def carry(self, command: JointCommand) -> JointCommand:
        """Return a command whose last column goes the gripper's way and comes to rest.

        With T the time of the stop: p(t) = p + v t (1 - t / 2T), v(t) = v (1 - t / T).

        Args:
            command: Of arm and gripper; its last column holds the target [m].
        """
        place, speed = self.advance(float(command.positions[0, -1]), float(command.times[0]))
        times, positions, velocities = command.times, command.positions, command.velocities
        lasts = max(float(times[-1] - times[0]), SETTLE)
        if speed and times[-1] - times[0] < SETTLE:  # the arm rests before
            times = np.append(times, times[0] + SETTLE)
            positions = np.concatenate([positions, positions[-1:]])
            velocities = np.concatenate([velocities, np.zeros((1, velocities.shape[1]))])
        share = (times - times[0]) / lasts
        positions, velocities = positions.copy(), velocities.copy()
        positions[:, -1] = place + speed * lasts * share * (1.0 - 0.5 * share)
        velocities[:, -1] = speed * (1.0 - share)
        return JointCommand.own(command.stamp, np.array(times), positions, velocities)


class GripperGoals:
    """Says when a goal goes to a gripper that takes one at a time. Not thread-safe.

    A goal preempts the one before, so only a new target is one, and at most one in EVERY seconds;
    one that was refused is said again. Times are monotonic.
    """

    def __init__(self) -> None:
        """Wait for a target."""
        self._target: float | None = None  # [m]
        self._sent: float | None = None  # [m]
        self._next = -np.inf  # [s] before which nothing is sent

    def want(self, target: float) -> None:
        """Take a target [m]."""
        self._target = target

    def take(self, now: float) -> float | None:
        """Return the goal [m] that is due at a time [s], None for none."""
        if self._target is None or self._target == self._sent or now < self._next:
            return None
        self._sent, self._next = self._target, now + EVERY
        return self._sent

    def failed(self, now: float) -> None:
        """Note at a time [s] that the last goal was not taken."""
        self._sent, self._next = None, now + AGAIN


def stroke_time(gripper: Gripper) -> float:
    """Return how long a gripper takes from closed to open [s]."""
    return abs(gripper.open - gripper.closed) / gripper.velocity


def last_position(positions: Array) -> float | None:
    """Return where a trajectory of one joint (T, 1) leads [m], None if that is no place."""
    goal = float(positions[-1, 0]) if len(positions) else np.nan
    return goal if np.isfinite(goal) else None
