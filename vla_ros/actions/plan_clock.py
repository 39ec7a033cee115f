"""The plan clock: time that passes only as fast as the safety filter lets the arm move."""

from __future__ import annotations

from bisect import bisect_right

HISTORY = 5000  # ticks kept: 5 s at 1 kHz, longer than any observation may be old


class PlanClock:
    """Phi(t) with dPhi/dt = sigma in [0, 1], and its recent history.

    A chunk stamped s is placed at Phi(s), so a chunk that was computed before or during a
    slow-down is entered where the arm really is.
    """

    def __init__(self) -> None:
        self.phi = 0.0  # [s]
        self.rate = 0.0  # sigma of the time before the newest tick
        self._stamps: list[float] = []  # [s] strictly increasing
        self._phis: list[float] = []  # [s]

    @property
    def now(self) -> float | None:
        """ROS time of the newest tick [s], None before the first."""
        return self._stamps[-1] if self._stamps else None

    def advance(self, now: float, rate: float, dt: float) -> float:
        """Let `dt` seconds of plan time pass at a rate and return Phi(now).

        Phi_k+1 = Phi_k + sigma dt, so a paused clock is dt = 0. A `now` that is not later than
        the last one replaces it.

        Args:
            now: ROS time of this tick [s].
            rate: sigma of the time since the last tick, cut to [0, 1].
            dt: Time over which the arm's reference was integrated since the last tick [s].
        """
        self.rate = min(max(rate, 0.0), 1.0)
        if self._stamps:
            self.phi += self.rate * max(dt, 0.0)
        if self._stamps and now <= self._stamps[-1]:
            self._phis[-1] = self.phi
            return self.phi
        self._stamps.append(now)
        self._phis.append(self.phi)
        if len(self._stamps) >= 2 * HISTORY:  # trims rarely, so a tick costs the same
            del self._stamps[:-HISTORY], self._phis[:-HISTORY]
        return self.phi

    def at(self, stamp: float) -> float | None:
        """Return Phi(stamp) by linear interpolation, None where no history is kept.

        A stamp later than the newest tick gets that tick's Phi: what comes after it is unknown.
        """
        index = bisect_right(self._stamps, stamp)
        if index == 0:
            return None
        if index == len(self._stamps):
            return self.phi
        t0, t1 = self._stamps[index - 1], self._stamps[index]
        p0, p1 = self._phis[index - 1], self._phis[index]
        return p0 + (p1 - p0) * (stamp - t0) / (t1 - t0)

    def restart(self, now: float) -> None:
        """Keep Phi and begin a new history at `now` [s]: stamps of before have no place."""
        self._stamps, self._phis, self.rate = [now], [self.phi], 0.0
