"""A study: the same episodes without a hazard, beside one and with one on the path, by mode.

An index of a study is one episode with its own start, and its hazards from `sim.hazards`. Every
cell, a hazard and a mode of the safety filter, plays all of them, so cells compare pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
import math
from pathlib import Path
from typing import Any

from vla_ros import paths
from vla_ros.errors import SimulationError, UnknownNameError
from vla_ros.evaluation.log import EpisodeLog
from vla_ros.evaluation.metrics import NORMAL_95, Outcome, rate, summarize
from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.rollout import Condition, Rollout
from vla_ros.evaluation.runner import make_policy
from vla_ros.evaluation.scripted import NAME as EXPERT
from vla_ros.evaluation.suite import load_suite, MOST_EPISODES
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety, MODES
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.hazards import Hazard, KINDS, place, start
from vla_ros.sim.tasks import Episode, sample_episode

NONE, ALL = 'none', 'all'


@dataclass(frozen=True)
class Study:
    """What is to be measured."""

    robot: str
    policy: str
    safety: str
    suite: str
    hazards: tuple[str, ...]  # words of KINDS
    modes: tuple[str, ...]  # words of MODES
    episodes: int  # in each cell
    seed: int

    def __post_init__(self) -> None:
        for hazard in self.hazards:
            if hazard not in KINDS:
                raise UnknownNameError('hazard', hazard, KINDS)
        for mode in self.modes:
            if mode not in MODES:
                raise UnknownNameError('mode', mode, MODES)


def make_study(
    robot: str, policy: str, safety: str, suite: str, hazard: str, mode: str | None,
    episodes: int, seed: int,
) -> Study:  # fmt: skip
    """Return a study whose hazard and mode may be 'all'; no mode is that of the safety file."""
    hazards = KINDS if hazard == ALL else (hazard,)
    own = load_safety(paths.find('safety', safety)).mode
    modes = MODES if mode == ALL else (mode or own,)
    return Study(robot, policy, safety, suite, hazards, modes, episodes, seed)


@dataclass(frozen=True)
class Played:
    """One episode of one cell."""

    index: int
    mode: str
    outcome: Outcome


class Player:
    """Finds the episode of an index and plays it in every cell."""

    def __init__(self, study: Study) -> None:
        """Load everything that the study names.

        Raises:
            UnknownNameError: There is no such file.
        """
        self._study, self._suite = study, load_suite(study.suite)
        robot = load_robot(paths.find('robots', study.robot))
        config = load_safety(paths.find('safety', study.safety))
        self._guards = {m: SafetyFilter(robot, replace(config, mode=m)) for m in study.modes}
        guide = SafetyFilter(robot, config)
        self._guide = Rollout(robot, make_policy(EXPERT, robot), guide)
        self._rollout = Rollout(robot, make_policy(study.policy, robot), guide)

    def play(self, index: int, cells: Sequence[tuple[str, str]]) -> list[Played]:
        """Play one index in cells, each a hazard and a mode."""
        episode, tool, hazards = self._scene(index)
        played = []
        for hazard, mode in cells:
            self._rollout.guard = self._guards[mode]
            condition = Condition(start=tool, hazard=hazards.get(hazard))
            played.append(Played(index, mode, self._rollout.run(episode, condition)))
        return played

    def _scene(self, index: int) -> tuple[Episode, tuple[float, float, float], dict[str, Hazard]]:
        """Return the first episode of an index that the expert solves and hazards fit into.

        Which one it is depends on the suite, the seeds and the safety file, not on what is played.
        """
        study, suite = self._study, self._suite
        task = suite.tasks[index % len(suite.tasks)]
        first = suite.first_seed + study.seed * MOST_EPISODES
        for seed in range(first + index, first + MOST_EPISODES, study.episodes):
            episode = sample_episode(task, seed)
            tool = start(episode)
            outcome, swept = self._guide.swept(episode, tool)
            if not outcome.success:
                continue
            found = {kind: place(kind, episode, swept) for kind in KINDS if kind != NONE}
            hazards = {kind: hazard for kind, hazard in found.items() if hazard is not None}
            if len(hazards) == len(found):
                return episode, tool, hazards
        raise SimulationError(
            f'no episode of task {task} from seed {first + index} on has room for hazards.'
        )


def run(
    study: Study, workers: int, log: Path | None, done: Callable[[Played], None]
) -> dict[str, Any]:
    """Play a study and return its figures.

    Args:
        study: What is to be measured.
        workers: Processes.
        log: Gets a line for each episode as it ends; those that it holds are not played again.
        done: Called for each episode, also for those from the log.

    Raises:
        ConfigError: The log is of another study.
    """
    kept = EpisodeLog(log, asdict(study))
    played = [Played(x['index'], x['mode'], Outcome(**x['outcome'])) for x in kept.entries]
    for one in played:
        done(one)
    have = {(one.index, one.outcome.hazard, one.mode) for one in played}
    work = []
    for index in range(study.episodes):
        cells = [(h, m) for h in study.hazards for m in study.modes if (index, h, m) not in have]
        if cells:
            work.append((index, cells))
    for _, some in spread(player_of, study, work, workers):
        played += some
        kept.add(map(asdict, some))
        for one in some:
            done(one)
    return figures(study, played)


def figures(study: Study, played: Sequence[Played]) -> dict[str, Any]:
    """Return what `vla eval --hazard` reports: a cell for each hazard and mode."""
    outcomes = {
        (hazard, mode): [
            one.outcome
            for one in sorted(played, key=lambda one: one.index)
            if (one.outcome.hazard, one.mode) == (hazard, mode)
        ]
        for hazard in study.hazards
        for mode in study.modes
    }
    cells = []
    for (hazard, mode), some in outcomes.items():
        against = outcomes.get((NONE, mode)) if hazard != NONE else None
        cells.append({'hazard': hazard, 'mode': mode, **cell(some, against)})
    head = asdict(study)
    return {key: head[key] for key in ('suite', 'policy', 'safety', 'robot', 'seed')} | {
        'episodes': study.episodes,
        'cells': cells,
        'outcomes': [
            {'index': one.index, 'mode': one.mode, **vars(one.outcome)} for one in played
        ],
    }


def cell(outcomes: Sequence[Outcome], without: Sequence[Outcome] | None) -> dict[str, Any]:
    """Return the figures of one cell.

    Args:
        outcomes: Of the cell.
        without: The same episodes by the same mode without a hazard, if they were played.
    """
    distances = [o.min_distance for o in outcomes if o.min_distance is not None]
    safe = [o.success and not o.contact for o in outcomes]
    kept = rate(safe)
    found = {
        **summarize(outcomes),
        'mean_seconds': sum(o.seconds for o in outcomes) / max(len(outcomes), 1),
        'contact_rate': rate([o.contact for o in outcomes])['rate'],
        'contacts': sum(o.contact for o in outcomes),
        'displaced': sum(o.displaced > 0.005 for o in outcomes),
        'safe_success_rate': kept['rate'],
        'safe_success_wilson_95': kept['wilson_95'],
        'deadlocks': sum(o.deadlock for o in outcomes),
        'min_distance_m': min(distances, default=None),
    }
    if without is not None and len(without) == len(outcomes):
        found['against_none'] = paired(safe, [o.success for o in without])
    return found


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> dict[str, Any]:
    """Return the difference of two proportions over the same episodes, with its interval.

    With b pairs that only we have and c that only they have, each plus 1/2, and n plus 2:
    (b - c) / n +- z sqrt(b + c - (b - c)^2 / n) / n.
    Source: A. Agresti, Y. Min, Statistics in Medicine 24 (2005) 729.
    """
    pairs = list(zip(ours, theirs, strict=True))
    gained = sum(a and not b for a, b in pairs)
    lost = sum(b and not a for a, b in pairs)
    b, c, n = gained + 0.5, lost + 0.5, len(pairs) + 2
    centre = (b - c) / n
    spread = NORMAL_95 * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return {
        'difference': (gained - lost) / len(pairs) if pairs else None,
        'interval_95': [max(-1.0, centre - spread), min(1.0, centre + spread)],
        'gained': gained,
        'lost': lost,
    }


def player_of(study: Study) -> Callable[[int, Sequence[tuple[str, str]]], list[Played]]:
    """Return what plays a study's episodes."""
    return Player(study).play
