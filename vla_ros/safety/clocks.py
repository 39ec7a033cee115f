"""The two clocks of a tick: how much time to integrate, and whether one of them jumped."""

from __future__ import annotations

import math
from typing import NamedTuple

from vla_ros.safety.config import SafetyConfig

LONGEST = 1.0  # [s] of one tick that is believed


class Tick(NamedTuple):
    """The time of one tick."""

    now: float  # [s] ROS time, never before the last tick's but for a jump
    step: float  # [s] time to integrate; 0: wait for the ROS clock
    fault: str  # 'clock_step', 'clock_paused' or empty
    behind: float = 0.0  # [s] for which the arm has gone on with its stop, for want of a command


class Clocks:
    """Integrates by the monotonic clock, but at most one period ahead of the ROS clock.

    So a simulation that runs slower than real time is not overtaken, and a ROS clock that comes
    in steps of its own does not stop the arm. The offset of the clocks may fall, as it does when
    a simulation stalls, and rise again; risen by `clock_step` above its highest it is a jump.
    """

    def __init__(self, config: SafetyConfig) -> None:
        """Wait for the first tick."""
        self._period, self._limit = config.period, config.clock_step
        self.restart()

    def restart(self) -> None:
        """Forget both clocks."""
        self._now: float | None = None
        self._elapsed = 0.0  # [s] of monotonic time
        self._highest = -math.inf  # [s] offset of the clocks
        self._credit = 0.0  # [s] of ROS time that is not integrated yet
        self._frozen = 0.0  # [s] since the ROS clock last moved

    def tick(self, now: float, dt: float) -> Tick:
        """Judge one tick.

        Args:
            now: ROS time [s].
            dt: Monotonic time since the last tick [s]; outside [0.5, 2] periods the bound counts.
        """
        period = self._period
        before = self._now
        elapsed = min(max(dt, 0.0), LONGEST) if math.isfinite(dt) else 0.0
        wish = min(max(elapsed, 0.5 * period), 2.0 * period)
        if not math.isfinite(now):
            return Tick(before or 0.0, wish, 'clock_step')
        if before is None:
            self._now, self._highest = now, now
            return Tick(now, wish, '')
        self._elapsed += elapsed
        passed, offset = now - before, now - self._elapsed
        jumped = passed < -self._limit or offset > self._highest + self._limit
        self._highest = offset if jumped else max(self._highest, offset)
        self._frozen = self._frozen + elapsed if passed <= 0.0 else 0.0
        self._now = now if jumped else max(now, before)
        self._credit = min(self._credit + max(passed, 0.0), 2.0 * period)
        step = min(wish, self._credit + period)
        step = step if step >= 0.25 * period else 0.0
        self._credit -= step
        behind = 0.0
        if elapsed > 2.0 * period and step:
            step = min(step, period)
            behind = max(0.0, min(elapsed, passed) - step)
        paused = 'clock_paused' if self._frozen > self._limit else ''
        return Tick(self._now, step, 'clock_step' if jumped else paused, behind)
