"""Commands as a joint trajectory controller must get them to go along the reference itself."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla_ros.types import Array, JointCommand

PAST = 3  # references that lead a command: more than a tick of jitter and of transport
APART = 0.1, 1.5  # periods from one reference to the next; beyond, a tick was late
HOLD = 0.25  # [s] at the end of each command; one that has ended on arrival is refused


class Spline:
    """Puts the last references before each command, and a rest behind it. Not thread-safe.

    A joint trajectory controller that gets a trajectory goes from where the arm is measured, or
    was told to be, to the first point that is still ahead. Where that is the only point before
    the next command, a controller faster than the filter would go back to the lagging arm at
    each of them. With points that are past, it is between two of ours at once, and its cubic is
    the filter's: nothing is smoothed twice, and `interpolate_from_desired_state` is not needed.

    A command that ended before it arrives is refused, so each ends with a rest.
    """

    def __init__(self, period: float) -> None:
        """Begin without a reference.

        Args:
            period: From one command to the next [s].
        """
        self._period = period
        self._past: deque[tuple[float, Array, Array]] = deque(maxlen=PAST)  # due [s], p, v

    def shape(self, command: JointCommand) -> JointCommand:
        """Return the command with what leads it; its stamp is when its first point is due."""
        due = command.stamp + float(command.times[0])
        if self._past and not follows(due - self._past[-1][0], self._period):
            self._past.clear()
        past = tuple(self._past)
        self._past.append((due, command.positions[0], command.velocities[0]))
        stamp = past[0][0] if past else command.stamp
        later = command.times + (command.stamp - stamp)
        times = np.array([*(at - stamp for at, _, _ in past), *later, later[-1] + HOLD])
        rest = np.zeros_like(command.velocities[:1])
        positions = [*(p for _, p, _ in past), *command.positions, command.positions[-1]]
        velocities = [*(v for _, _, v in past), *command.velocities, *rest]
        return JointCommand.own(stamp, times, np.array(positions), np.array(velocities))


def follows(seconds: float, period: float) -> bool:
    """Whether a reference that is due so long after another [s] is the next one."""
    return APART[0] * period < seconds <= APART[1] * period
