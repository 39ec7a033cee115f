"""What the action server of a controller says of a goal: running, reached, or given up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_ros.drivers.follower import TrajectoryFollower
from vla_ros.status import GoalCode
from vla_ros.types import Array


@dataclass(frozen=True)
class Tolerances:
    """Of one goal, or the controller's own; 0: not checked."""

    path: float = 0.0  # [rad] from the desired state, on the way
    goal: float = 0.0  # [rad] from the last point, at the end
    time: float = 0.0  # [s] after the end, until the goal must be reached; 0: for ever

    def asked(self, path: float, goal: float, time: float) -> Tolerances:
        """Return them with what a goal asks for: 0 keeps what is there, below 0 asks for none."""
        wanted = {'path': path, 'goal': goal, 'time': time}
        return replace(self, **{name: max(x, 0.0) for name, x in wanted.items() if x})


def judge(
    follower: TrajectoryFollower, tolerances: Tolerances, measured: Array, now: float
) -> GoalCode | None:
    """Return how the goal that a controller follows has ended, None while it runs.

    Args:
        follower: The controller.
        tolerances: Of the goal.
        measured: The joints that are looked at [rad], the first of those that it follows.
        now: Time [s].
    """
    (due, end), count = follower.end, len(measured)
    if now < due:
        error = float(np.abs(follower.sample(now)[0][:count] - measured).max())
        if tolerances.path and error > tolerances.path:
            return GoalCode.PATH_TOLERANCE_VIOLATED
        return None
    if not tolerances.goal or float(np.abs(end[:count] - measured).max()) <= tolerances.goal:
        return GoalCode.SUCCESSFUL
    if tolerances.time and now - due > tolerances.time:
        return GoalCode.GOAL_TOLERANCE_VIOLATED
    return None


@dataclass
class GripperJudge:
    """What a gripper action controller says: reached, or stalled at what it holds."""

    tolerance: float = 0.01  # [m] of the goal
    slow: float = 0.001  # [m/s] below it, the gripper does not move
    patience: float = 1.0  # [s] without motion, until it is stalled
    moved: float = -np.inf  # [s] when it moved last

    def begin(self, now: float) -> None:
        """Take a new goal at a time [s]."""
        self.moved = now

    def judge(self, goal: float, position: float, speed: float, now: float) -> str:
        """Return 'reached', 'stalled' or, while it moves, ''."""
        if abs(goal - position) < self.tolerance:
            return 'reached'
        if abs(speed) > self.slow:
            self.moved = now
        return 'stalled' if now - self.moved > self.patience else ''
