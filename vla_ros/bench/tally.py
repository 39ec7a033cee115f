"""What an invariance run saw, and what must not happen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Violation:
    """One thing that must not happen, and where to find it again."""

    seed: int
    episode: int
    tick: int
    what: str
    amount: float  # beyond what is allowed, in the unit of `what`
    level: int  # rung of the ladder
    reason: str  # of the filter's answer
    manner: str  # of the adversary


@dataclass
class Tally:
    """Counts of a run."""

    ticks: int = 0
    episodes: int = 0
    moved: int = 0  # ticks in which a joint moved
    jerked: int = 0  # ticks in S0 and S1 beyond the jerk limit
    looks: int = 0  # distances that the oracle computed
    nearest_m: float = np.inf  # smallest distance seen to anything that stands still
    levels: dict[str, int] = field(default_factory=dict)  # ticks on each rung
    reasons: dict[str, int] = field(default_factory=dict)  # ticks with each reason
    manners: dict[str, int] = field(default_factory=dict)  # ticks under each manner
    violations: list[Violation] = field(default_factory=list)

    def count(self, level: str, reason: str, manner: str) -> None:
        """Note one tick."""
        self.ticks += 1
        self.levels[level] = self.levels.get(level, 0) + 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1
        self.manners[manner] = self.manners.get(manner, 0) + 1

    def add(self, other: Tally) -> None:
        """Add what another run saw."""
        for name in ('ticks', 'episodes', 'moved', 'jerked', 'looks'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.nearest_m = min(self.nearest_m, other.nearest_m)
        for name in ('levels', 'reasons', 'manners'):
            mine = getattr(self, name)
            for key, count in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + count
        self.violations += other.violations
