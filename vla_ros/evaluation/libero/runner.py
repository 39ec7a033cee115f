"""A policy on a suite of LIBERO: chunks done open loop, episodes logged as they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from vla_ros import config, paths
from vla_ros.errors import ConfigError
from vla_ros.evaluation.libero.embodiment import (
    libero_actions,
    libero_robot,
    observation,
    require_libero,
    STEP,
)
from vla_ros.evaluation.libero.link import LiberoProcess, Look
from vla_ros.evaluation.libero.suites import LiberoEvaluation
from vla_ros.evaluation.log import EpisodeLog
from vla_ros.evaluation.processes import spread
from vla_ros.policies.base import chunk_seed, Policy
from vla_ros.policies.registry import create
from vla_ros.spec import PolicySpec

Film = Callable[[Look, str, int], None]  # what is seen, the sentence, steps before


@dataclass(frozen=True)
class LiberoOutcome:
    """What one episode showed."""

    task: int
    name: str  # of the task
    index: int  # of the initial state
    success: bool
    steps: int  # until success or the limit
    chunks: int
    moved: float  # [m] |dx| + |dy| + |dz| that an obstacle was away from its place
    obstacles: int  # that stood in the workspace


class Where(NamedTuple):
    """An evaluation, and the Python that has LIBERO."""

    evaluation: LiberoEvaluation
    python: str


class LiberoPlayer:
    """A policy and a process of LIBERO, which play episodes."""

    def __init__(self, where: Where) -> None:
        """Load the policy and start LIBERO.

        Raises:
            UnknownNameError: There is no such policy file.
            RobotPolicyMismatch: It does not fit LIBERO.
            SimulationError: LIBERO does not start.
            ConfigError: The suite has fewer tasks or initial states than are asked for.
        """
        asked = self.evaluation = where.evaluation
        spec = config.load(paths.find('policies', asked.policy), PolicySpec)
        require_libero(spec)
        self._robot = libero_robot()
        self.world = LiberoProcess(where.python, asked.suite, asked.level)
        try:
            self.jobs = self._jobs()
            self.policy: Policy = create(spec, self._robot)
        except BaseException:
            self.world.close()
            raise

    def play(self, task: int, index: int, film: Film | None = None) -> LiberoOutcome:
        """Play one episode.

        Args:
            task: By number.
            index: Of the initial state.
            film: Called with what the policy sees before each chunk, and with what is seen last.

        Raises:
            PolicyError: The policy does not answer.
            SimulationError: LIBERO does not answer.
        """
        asked, spec, what = self.evaluation, self.policy.spec, self.world.tasks[task]
        look = self.world.begin(task, index, asked.seed + index)
        self.policy.reset(what.sentence, seed=chunk_seed(asked.seed, index))
        steps, chunks, moved, obstacles = 0, 0, 0.0, look.obstacles
        while steps < asked.steps and not look.done:
            if film is not None:
                film(look, what.sentence, steps)
            chunk = self.policy.infer(observation(look.arrays, what.sentence, STEP * steps))
            count = min(spec.replan_steps, asked.steps - steps)
            look = self.world.act(libero_actions(chunk.actions[:count], spec, self._robot))
            steps, chunks, moved = steps + look.steps, chunks + 1, max(moved, look.moved)
        if film is not None:
            film(look, what.sentence, steps)
        return LiberoOutcome(task, what.name, index, look.done, steps, chunks, moved, obstacles)

    def _jobs(self) -> list[tuple[int, int]]:
        """Return task and initial state of every episode."""
        asked, tasks = self.evaluation, self.world.tasks
        chosen = asked.tasks or tuple(range(len(tasks)))
        if not all(0 <= task < len(tasks) for task in chosen):
            raise ConfigError(
                f'tasks {chosen}, expected some of 0 to {len(tasks) - 1} of {asked.suite}.'
            )
        fewest = min(tasks[task].states for task in chosen)
        if asked.episodes > fewest:
            raise ConfigError(f'{asked.episodes} episodes of a task, expected at most {fewest}.')
        return [(task, index) for task in chosen for index in range(asked.episodes)]


def run(
    where: Where,
    workers: int,
    done: Callable[[LiberoOutcome], None],
    log: Path | None,
    player: LiberoPlayer,
) -> list[LiberoOutcome]:
    """Play all episodes and return them in the order of their jobs.

    Args:
        where: What is to be measured, and in which Python.
        workers: Processes, each with one of LIBERO's; 1 plays in this one.
        done: Called for each episode, also for those from the log.
        log: Gets a line for each episode as it ends; those that it holds are not played again.
        player: Of this evaluation.

    Raises:
        ConfigError: The log is of another evaluation.
        LogError: The log cannot be written.
        WorkerError: A worker was killed.
        PolicyError: The policy does not answer.
        SimulationError: LIBERO does not answer.
    """
    kept = EpisodeLog(log, asdict(where.evaluation))
    played: dict[tuple[Any, ...], LiberoOutcome] = {}
    for one in (LiberoOutcome(**entry) for entry in kept.entries):
        played[one.task, one.index] = one
        done(one)
    missing = [job for job in player.jobs if job not in played]
    for job, one in spread(player_of, where, missing, workers, player.play):
        kept.add([asdict(one)])
        played[job] = one
        done(one)
    return [played[job] for job in player.jobs]


def player_of(where: Where) -> Callable[[int, int], LiberoOutcome]:
    """Return what plays an evaluation's episodes."""
    return LiberoPlayer(where).play
