"""A position loop around a controller that takes velocities."""

from __future__ import annotations

from collections import deque

import numpy as np

from vla_ros.types import Array

HISTORY = 0.5  # [s] of references that are kept: the age of a joint state that is of use
FRESH = 0.1  # [s] older measurements correct nothing


class VelocityLoop:
    """v = v_ref + k (q_ref - q), within the limits; q_ref is that of the instant of q.

    Without it, rounding, lost messages and a controller's own limits would add up to a drift.
    Stamps are on the ROS clock. Not thread-safe.
    """

    def __init__(self, gain: float, limit: Array) -> None:
        """Begin without a reference.

        Args:
            gain: k [1/s].
            limit: Largest speed of each joint (n,) [rad/s].
        """
        self._gain, self._limit = gain, limit
        self._references: deque[tuple[float, Array]] = deque()  # due [s], place [rad]
        self._measured = -np.inf  # [s] stamp of the newest measurement
        self._error = np.zeros(len(limit))  # [rad] there

    def refer(self, due: float, place: Array) -> None:
        """Note that the joints are to be at a place (n,) [rad] at a time [s]."""
        references = self._references
        if references and due <= references[-1][0]:
            references.clear()  # the clock went back, or the stream began anew
        references.append((due, place))
        while references[0][0] < due - HISTORY:
            references.popleft()

    def measure(self, stamp: float, place: Array) -> None:
        """Take joints (n,) [rad] that were measured at a time [s]."""
        if not self._references or not np.isfinite(place).all():
            return
        times = [due for due, _ in self._references]
        i = int(np.searchsorted(times, stamp))
        if i == 0 or i == len(times):
            reference = self._references[min(i, len(times) - 1)][1]
        else:
            (t0, q0), (t1, q1) = self._references[i - 1], self._references[i]
            reference = q0 + (stamp - t0) / (t1 - t0) * (q1 - q0)
        self._measured, self._error = stamp, reference - place

    def velocity(self, reference: Array) -> Array:
        """Return the velocity (n,) [rad/s] to command, for that of the reference (n,)."""
        newest = self._references[-1][0] if self._references else np.inf
        fresh = newest - self._measured <= FRESH
        wanted = reference + self._gain * self._error if fresh else reference
        return np.clip(wanted, -self._limit, self._limit)
