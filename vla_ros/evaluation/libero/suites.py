"""The suites of LIBERO and SafeLIBERO, and what is to be measured of one."""

from __future__ import annotations

from dataclasses import dataclass

from vla_ros.errors import ConfigError, UnknownNameError

# Steps after which an episode has failed, as openpi and OpenVLA evaluate. SafeLIBERO's program
# leaves them open: those of the suites that it extends.
LIMITS = {
    'libero_spatial': 220,
    'libero_object': 280,
    'libero_goal': 300,
    'libero_10': 520,
    'libero_90': 400,
    'safelibero_spatial': 220,
    'safelibero_object': 280,
    'safelibero_goal': 300,
    'safelibero_long': 520,
}
MOST_STEPS = 990  # LIBERO ends an episode after 1000, of which 10 pass before it begins
SEED = 7  # of the public evaluations
EPISODES = 50  # of a task: the initial states that every suite has
LEVELS = ('I', 'II')  # SafeLIBERO: the obstacle is near the target, or farther off in the way


@dataclass(frozen=True)
class LiberoEvaluation:
    """What is to be measured."""

    suite: str  # a key of LIMITS
    policy: str
    episodes: int = EPISODES  # of each task: its first initial states
    seed: int = SEED
    tasks: tuple[int, ...] = ()  # by number; none: all of the suite
    level: str | None = None  # a word of LEVELS, of SafeLIBERO only
    limit: int | None = None  # steps after which an episode has failed; None: as LIMITS has it

    def __post_init__(self) -> None:
        if self.suite not in LIMITS:
            raise UnknownNameError('LIBERO suite', self.suite, LIMITS)
        if self.episodes < 1 or self.seed < 0 or not 1 <= self.steps <= MOST_STEPS:
            raise ConfigError(
                f'{self.episodes} episodes with seed {self.seed} and limit {self.steps}: expected '
                f'1 or more, 0 or more, 1 to {MOST_STEPS}.'
            )
        if self.safe and self.level not in LEVELS:
            raise ConfigError(f'{self.suite} has level {self.level}, expected I or II.')
        if not self.safe and self.level is not None:
            raise ConfigError(f'{self.suite} has no levels; only SafeLIBERO has.')

    @property
    def safe(self) -> bool:
        """Whether there are obstacles."""
        return self.suite.startswith('safe')

    @property
    def steps(self) -> int:
        """Steps after which an episode has failed."""
        return LIMITS[self.suite] if self.limit is None else self.limit
