"""The way that was executed: where the filter's reference was at each plan time."""

from __future__ import annotations

from bisect import bisect_left

from vla_ros.types import Array

# Plan times that are nearer than this are one instant: stamps are float seconds since 1970, which
# are 2e-7 s apart, and a held channel would otherwise read the step before.
FUZZ = 1e-6  # [s]
MOST = 500  # points that are surely kept: 10 s at the rate of the execution state


class Way:
    """Joints over plan time, linear between points and held outside; the newest MOST or more.

    It stands for an interpolation of every joint over all points; only two of them count.
    """

    def __init__(self) -> None:
        """Begin with nothing executed."""
        self._phis: list[float] = []
        self._joints: list[Array] = []

    def __bool__(self) -> bool:
        return bool(self._phis)

    def clear(self) -> None:
        """Forget it."""
        self._phis.clear()
        self._joints.clear()

    def add(self, phi: float, joints: Array) -> None:
        """Note joints (n,) [rad], [m] at plan time `phi` [s].

        A clock that goes back began anew; while it stands, where the arm is now counts.
        """
        phis = self._phis
        if phis and phi < phis[-1] - FUZZ:
            self.clear()
        elif phis and phi <= phis[-1] + FUZZ:
            phis.pop()
            self._joints.pop()
        elif len(phis) >= 2 * MOST:
            del phis[:MOST], self._joints[:MOST]
        phis.append(phi)
        self._joints.append(joints)

    def at(self, phi: float) -> Array:
        """Return the joints (n,) [rad], [m] at plan time `phi` [s]; there must be some."""
        phis, joints = self._phis, self._joints
        after = bisect_left(phis, phi)
        if after == 0 or after == len(phis):
            return joints[min(after, len(phis) - 1)].copy()
        share = (phi - phis[after - 1]) / (phis[after] - phis[after - 1])
        before = joints[after - 1]
        found: Array = before + share * (joints[after] - before)
        return found
