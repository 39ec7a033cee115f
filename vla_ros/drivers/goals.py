"""Commands as goals of a FollowJointTrajectory action: several references and a stop in one."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla_ros.drivers.spline import follows, HOLD
from vla_ros.types import Array, Trajectory

EVERY = 0.05  # [s] from one goal to the next
LEAD = 0.05  # [s] a goal may take to arrive
DELAY = EVERY + LEAD  # [s] the arm runs behind the filter's reference
SAME = 1e-9  # [rad] between two places that are one


class Goals:
    """Gathers references and hands them out as goals that go on where the last one is.

    A goal for every command would be too many: an action server keeps each for seconds and
    reports on all. So a goal holds the references of DELAY seconds, each due DELAY later, and
    the verified stop of the newest command. The next one repeats what is still ahead, on the
    same points at the same times, so that it takes over without a change of the motion. Not
    thread-safe.
    """

    def __init__(self, period: float) -> None:
        """Begin without a reference.

        Args:
            period: From one command to the next [s].
        """
        self._period = period
        self._past: deque[tuple[float, Array, Array]] = deque(
            maxlen=round(DELAY / period) + 2
        )  # due [s], position, velocity
        self._newest: Trajectory | None = None
        self._fresh = False  # something came since the last goal
        self._end: Array | None = None  # (n,) [rad] where the last goal comes to rest

    def add(self, command: Trajectory) -> None:
        """Take a command: the next reference and the stop behind it, with velocities."""
        assert command.velocities is not None, 'the forwarder has looked'
        due = command.stamp + float(command.times[0])
        if self._past and not follows(due - self._past[-1][0], self._period):
            self._past.clear()
        self._past.append((due, command.positions[0], command.velocities[0]))
        self._newest, self._fresh = command, True

    def take(self) -> Trajectory | None:
        """Return the goal that is due, None where the arm rests at the end of the last one."""
        command = self._newest
        if not self._fresh or command is None:
            return None
        assert command.velocities is not None, 'add has looked'
        self._fresh = False
        end = command.positions[-1]
        places = np.array([place for _, place, _ in self._past])
        if self._end is not None and np.abs(places - self._end).max() < SAME:
            return None  # it has rested there all the while
        self._end = end
        stamp = self._past[0][0]
        later = command.times[1:] + (command.stamp - stamp)
        times = np.array([due - stamp for due, _, _ in self._past] + [*later])
        positions = np.concatenate([places, command.positions[1:], end[None]])
        speeds = np.array([speed for _, _, speed in self._past])
        velocities = np.concatenate([speeds, command.velocities[1:], np.zeros((1, len(end)))])
        return Trajectory(stamp + DELAY, np.append(times, times[-1] + HOLD), positions, velocities)

    def forget(self) -> None:
        """Begin anew, after a goal that the controller did not take or did not finish."""
        self._past.clear()
        self._newest = self._end = None
        self._fresh = False
