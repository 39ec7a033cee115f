"""The forwarder's core: passes a stream of commands on, and stops the arm when the stream ends."""

from __future__ import annotations

import numpy as np

from vla_ros.drivers.follower import sample_cubic
from vla_ros.errors import ShapeError
from vla_ros.types import Array, Trajectory

NEAR = 5e-3  # [rad] from where the arm is held, within which a stream may begin
STILL = 1e-6  # [rad/s] slower is at rest
ARMED = 1.0  # [s] after a reset within which the stream must begin
SILENT = 'no command came in time'
SLEPT = 'the forwarder itself was late'
ENDED = 'it was told to end'


class Forwarder:
    """Every command carries its stop; when the next one is late, the stop is played.

    While a tick is overdue the positions along the stop of the last command go out in its place,
    so that a tick that is a little late finds the arm where a stop would have brought it. Once
    it is `late`, or this process itself was, the stream is over: the stop is played to rest and
    nothing else moves the arm until `reset`. Silence at rest ends nothing. A stream begins at
    rest, and where the arm is held. What comes behind the arm's joints is the gripper's, which
    goes along: it may move, and begin, as it likes.

    Times are monotonic. Not thread-safe.
    """

    def __init__(self, joints: int, period: float, late: float, gripper: bool = False) -> None:
        """Wait for a stream.

        Args:
            joints: Number of them.
            period: From one command to the next [s].
            late: How late a command may be while the arm moves [s].
            gripper: Whether the last of the joints is the gripper's.
        """
        self._joints, self._period, self._late = joints, period, late
        self._arm = joints - 1 if gripper else joints
        self.velocity: Array = np.zeros(joints)  # (n,) [rad/s] of the last position that went out
        self.reason = ''  # why the stream is over
        self._stamp = 0.0  # [s] ROS time of the newest command
        self._sent: Array | None = None  # (n,) [rad] the last position that went out
        self._times: Array = np.zeros(1)  # (T,) [s] of the newest command
        self._positions: Array = np.zeros((1, joints))
        self._velocities: Array = np.zeros((1, joints))
        self._still = True  # the newest command stands still
        self._arrival = 0.0  # [s] of the newest command
        self._alive = 0.0  # [s] when something went out or was asked for last
        self._over = False  # the stream has ended while the arm moved
        self._armed = -np.inf  # [s] until when a stream may begin after it has ended

    @property
    def streams(self) -> bool:
        """Whether what comes is passed on: a stream has begun, and has not ended."""
        return self._sent is not None and not self._over

    @property
    def held(self) -> Array | None:
        """Where the arm stops (joints of the arm,) [rad] since the stream has ended, else None."""
        return self._positions[-1, : self._arm] if self._over else None

    def due(self, now: float) -> float:
        """Return the ROS time [s] at which what goes out now is where the arm is to be."""
        return self._stamp + self._clock(now)

    def accept(self, command: Trajectory, now: float) -> Array | None:
        """Take a command and return the position that goes out, None for none.

        Args:
            command: The next point and the stop after it.
            now: Monotonic time [s].

        Raises:
            ShapeError: It is no such command; it counts as silence.
        """
        velocities = self._check(command)
        still = bool(np.abs(velocities[:, : self._arm]).max() < STILL)
        place = command.positions[0]
        late = self._sent is None or self._overdue(now) > self._late
        if not self._over and not self._still:
            self._watch(now)
        if self._over:
            if now > self._armed or not still or not self._near(place):
                return None
            self._over = False
        elif late and not (still and self._near(place)):  # no way to begin or to go on
            self._end(SILENT if self._sent is not None else '')
            return None
        self._times, self._positions = command.times, command.positions
        self._velocities, self._still = velocities, still
        self._arrival = self._alive = now
        self._stamp = command.stamp
        self._sent, self.velocity = place, velocities[0]
        return place

    def fill(self, now: float) -> Array | None:
        """Return the position that goes out in place of an overdue command, None for none.

        Args:
            now: Monotonic time [s]; call it once in a period.
        """
        if not self._still:
            self._watch(now)
        self._alive = now
        if self._sent is None or self._overdue(now) <= 0.5 * self._period:
            return None
        place, velocity = sample_cubic(
            self._times, self._positions, self._velocities, self._clock(now)
        )
        if np.array_equal(place, self._sent):
            return None
        self._sent, self.velocity = place, velocity
        return place

    def stop(self) -> None:
        """End the stream now."""
        self._end(ENDED if self._sent is not None else '')
        self._armed = -np.inf

    def halt(self, place: Array, reason: str) -> None:
        """End the stream of an arm that rests at a place (n,) [rad], whatever was sent."""
        self._freeze(place)
        self._over = False  # the newest reason is the one that counts
        self._end(reason)
        self._armed = -np.inf

    def reset(self, now: float) -> tuple[bool, str]:
        """Let a stream begin again, at rest where the arm is held, within ARMED seconds."""
        if not self._over:
            return True, 'the stream runs.'
        if not self.at_rest:
            return False, 'the arm still moves: try again.'
        self._armed = now + ARMED
        return True, 'a stream may begin where the arm is held.'

    @property
    def at_rest(self) -> bool:
        """Whether the last position that went out is the end of its stop."""
        return self._sent is None or np.array_equal(self._sent, self._positions[-1])

    def _clock(self, now: float) -> float:
        """Return where in the newest command `now` is [s]; its first point goes out at once."""
        return float(self._times[0] + now - self._arrival)

    def _overdue(self, now: float) -> float:
        return now - self._arrival - self._period

    def _near(self, place: Array) -> bool:
        return self._sent is None or bool(np.abs(place - self._sent)[: self._arm].max() <= NEAR)

    def _end(self, reason: str) -> None:
        if reason and not self._over:
            self._over, self.reason = True, reason

    def _freeze(self, place: Array) -> None:
        """Take a place (n,) for that of the arm, at rest."""
        self._times, self._positions = np.zeros(1), place[None]
        self._velocities = np.zeros((1, self._joints))
        self._sent, self.velocity = place, self._velocities[0]
        self._still = True

    def _watch(self, now: float) -> None:
        """End the stream if a command or this process is late; the newest one must move."""
        if now - self._alive > self._period + self._late:  # we slept: the arm stands since then
            assert self._sent is not None, 'what moves was sent'
            self._freeze(self._sent)
            self._end(SLEPT)
        elif self._overdue(now) > self._late:
            self._end(SILENT)

    def _check(self, command: Trajectory) -> Array:
        """Return the velocities of a command that ends at rest."""
        positions, velocities = command.positions, command.velocities
        if velocities is None or not len(positions) or positions.shape[1] != self._joints:
            raise ShapeError(
                f'the command has positions {positions.shape}, expected (1 or more, '
                f'{self._joints}) and velocities beside them.'
            )
        finite = np.isfinite(positions).all() and np.isfinite(velocities).all()
        if not (finite and np.isfinite(command.times).all()):
            raise ShapeError('the command holds a value that is not finite.')
        if (np.diff(command.times) <= 0.0).any() or np.abs(velocities[-1]).max() > STILL:
            raise ShapeError('the command must end at rest, at times that increase.')
        return velocities
