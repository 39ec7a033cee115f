"""How late a chunk arrives, and how many of its steps are executed before the next."""

from __future__ import annotations

from collections import deque
import math
from statistics import median_high

from vla_ros.errors import HorizonError, ShapeError

WINDOW = 10  # delays that count, the newest
FUZZ = 1e-4  # [steps] less than this over a whole number is rounding, not a step more


class Delay:
    """Measured delays of inference, in policy steps of plan time."""

    def __init__(self) -> None:
        self._measured: deque[float] = deque(maxlen=WINDOW)  # [steps]
        self._warm = False
        self.expected = 0.0  # [steps] that count before any is measured

    def reset(self) -> None:
        """Forget what was measured; the next delay is a warm-up again."""
        self._measured.clear()
        self._warm = False

    def add(self, steps: float) -> None:
        """Take one delay; the first is left out: a policy is slow when it warms up.

        Args:
            steps: Plan time from the observation to the arrival of its chunk [steps].

        Raises:
            ShapeError: It is negative or not finite.
        """
        if not -FUZZ < steps < math.inf:
            raise ShapeError(f'a delay is {steps} steps, expected 0 or more.')
        if self._warm:
            self._measured.append(steps)
        self._warm = True

    @property
    def steps(self) -> int:
        """The largest of the newest delays, rounded up: d."""
        return _whole(max(self._measured, default=self.expected))

    @property
    def usual(self) -> int:
        """The median of the newest delays, rounded up."""
        return _whole(median_high(self._measured) if self._measured else self.expected)


def _whole(steps: float) -> int:
    return max(0, math.ceil(steps - FUZZ))


def execution_horizon(wanted: int, delay: int, horizon: int) -> int:
    """Return s = clip(wanted, max(1, d), H - d), the steps between two observations.

    d <= s: the next chunk is not asked for before this one is there; s <= H - d: the plan
    lasts until the next one is. Source: Black, Galliker, Levine 2025 (arXiv 2506.07339).

    Args:
        wanted: Steps that the policy file asks for.
        delay: d, steps that run before a chunk can arrive.
        horizon: H, steps of a chunk.

    Raises:
        HorizonError: There is no such s.
    """
    least, most = max(1, delay), horizon - delay
    if least > most:
        raise HorizonError(
            f'delay is {delay} steps of plan time, chunk has {horizon}: no execution horizon s '
            'with d <= s <= H - d; make inference faster, the chunk longer or the steps longer.'
        )
    return min(max(wanted, least), most)
