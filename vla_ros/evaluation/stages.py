"""Where the processor time of an episode goes."""

from __future__ import annotations

from collections.abc import Iterable
import time
from typing import Any

STAGES = ('network', 'pictures', 'filter', 'physics', 'judge', 'decoding', 'rest')


class Stages:
    """Books the processor time of this process to the stage that it is in."""

    def __init__(self) -> None:
        """Begin with nothing booked."""
        self.begin()

    def begin(self) -> None:
        """Begin anew, in 'rest'."""
        self._spent = dict.fromkeys(STAGES, 0.0)  # [s]
        self._stage, self._since = 'rest', time.process_time()

    def enter(self, stage: str) -> None:
        """Book what was spent since the last call, and begin a word of STAGES."""
        now = time.process_time()
        self._spent[self._stage] += now - self._since
        self._stage, self._since = stage, now

    def end(self) -> dict[str, float]:
        """Return the processor time of each stage [s]."""
        self.enter('rest')
        return dict(self._spent)


def speed(played: Iterable[tuple[float, int, dict[str, float]]]) -> dict[str, Any] | None:
    """Return how fast episodes were by processor time, which other processes do not change.

    Args:
        played: Of each episode, what was simulated [s], pictures that its policy was shown, and
            what was spent, from `Stages.end`; one without it is left out.
    """
    timed = [one for one in played if one[2]]
    if not timed:
        return None
    spent = {stage: sum(one[2][stage] for one in timed) for stage in STAGES}
    total = sum(spent.values())
    return {
        'times_real_time_per_core': sum(one[0] for one in timed) / total,
        'frames_per_core_second': sum(one[1] for one in timed) / total,
        'shares': {stage: value / total for stage, value in spent.items()},
    }
