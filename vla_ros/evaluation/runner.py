"""An evaluation: the same episodes in every cell, in this process or in several.

A cell is a policy, a mode of the safety filter and a trial of the suite. Every cell plays the same
episodes, so cells compare pair by pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.log import EpisodeLog
from vla_ros.evaluation.metrics import Outcome
from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.rollout import Condition, Rollout
from vla_ros.evaluation.scenes import hazard_scene, plain_scenes, Scene
from vla_ros.evaluation.scripted import NAME as EXPERT
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.suite import (
    LATENCY,
    load_suite,
    other_instruction,
    other_scene,
    Trial,
)
from vla_ros.policies.base import Policy
from vla_ros.policies.registry import create
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety.config import load_safety, MODES
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.perturbation import AXES, Perturbation
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode
from vla_ros.spec import PolicySpec

# Name of a control -> the condition that it puts an episode under.
CONTROLS: dict[str, Callable[[Episode], Condition]] = {
    'images of another episode': lambda episode: Condition(seen=other_scene(episode)),
    'instruction of another object': lambda episode: Condition(told=other_instruction(episode)),
}
ALL = 'all'


class Cell(NamedTuple):
    """Who plays, behind which filter, under what."""

    policy: str
    mode: str
    trial: Trial


@dataclass(frozen=True)
class Evaluation:
    """What is to be measured."""

    robot: str
    policies: tuple[str, ...]  # the first is compared with the others
    safety: str
    suite: str
    episodes: int  # in each cell
    seed: int
    control_episodes: int = 0  # of each control; 0 = none
    modes: tuple[str, ...] = ()  # of the safety filter; none: what its file says
    axes: tuple[str, ...] = ()  # of the suite's trials; none: all
    severities: tuple[int, ...] = ()  # of perturbations or hazards; none: all of the suite

    def __post_init__(self) -> None:
        for mode in self.modes:
            if mode not in MODES:
                raise UnknownNameError('mode', mode, MODES)
        suite = load_suite(self.suite)
        known = {trial.axis for trial in suite.trials}
        for axis in self.axes:
            if axis not in known:
                raise UnknownNameError('axis', axis, known, f'suite {suite.name}')
        for severity in self.severities:
            if severity not in suite.severities:
                raise ConfigError(
                    f'suite {suite.name} has no severity {severity}, expected some of '
                    f'{suite.severities}.'
                )
        if self.control_episodes and (suite.hazards or suite.sequences):
            raise ConfigError(
                f'suite {suite.name} has no controls: they exchange what a plain episode shows '
                'and says; choose another suite or no controls.'
            )

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every policy in every mode under every trial, the reference first."""
        modes = self.modes or (load_safety(paths.find('safety', self.safety)).mode,)
        trials = load_suite(self.suite).trials
        chosen = [trial for i, trial in enumerate(trials) if i == 0 or self._chosen(trial)]
        return tuple(Cell(p, m, t) for p in self.policies for m in modes for t in chosen)

    @property
    def controls(self) -> tuple[Cell, ...]:
        """Each control, by the first policy and by the expert, which is its measure of chance."""
        if not self.control_episodes:
            return ()
        first = self.cells[0]
        who = dict.fromkeys((first.policy, EXPERT))
        return tuple(Cell(policy, first.mode, Trial(name)) for name in CONTROLS for policy in who)

    def _chosen(self, trial: Trial) -> bool:
        if self.severities and trial.level not in self.severities:
            return False
        return not self.axes or trial.axis in self.axes


@dataclass(frozen=True)
class Played:
    """One episode of one cell."""

    index: int
    cell: Cell
    outcome: Outcome
    # What it cost, which differs each time: processor time of each of STAGES [s], pictures shown.
    spent: dict[str, float] = field(default_factory=dict, compare=False)
    frames: int = field(default=0, compare=False)

    def entry(self) -> dict[str, Any]:
        """Return it as a line of a log."""
        (policy, mode, trial), outcome = self.cell, asdict(self.outcome)
        return {
            'index': self.index, 'policy': policy, 'mode': mode, 'axis': trial.axis,
            'level': trial.level, 'outcome': outcome, 'spent': self.spent, 'frames': self.frames,
        }  # fmt: skip

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Played:
        """Return what a line of a log says."""
        trial = Trial(entry['axis'], entry['level'])
        cell = Cell(entry['policy'], entry['mode'], trial)
        spent, frames = entry.get('spent', {}), entry.get('frames', 0)  # not in older logs
        return cls(entry['index'], cell, Outcome(**entry['outcome']), spent, frames)


class Player:
    """Loads a policy when its first episode comes, and plays episodes with it."""

    def __init__(self, evaluation: Evaluation) -> None:
        """Load what the evaluation names.

        Raises:
            UnknownNameError: There is no such file.
        """
        self._evaluation, self._suite = evaluation, load_suite(evaluation.suite)
        self._robot = load_robot(paths.find('robots', evaluation.robot))
        self._safety = load_safety(paths.find('safety', evaluation.safety))
        self._guards: dict[str, SafetyFilter] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._rollout(evaluation.policies[0], self._safety.mode)
        self._plain: Sequence[Scene] = ()
        if not self._suite.hazards:
            self._plain = plain_scenes(self._suite, evaluation.episodes, evaluation.seed)
        self._hindered: dict[tuple[int, Trial], Scene] = {}  # of the newest index

    @property
    def period(self) -> float:
        """Time of a control tick [s]."""
        return self._safety.period

    def play(
        self, index: int, cell: Cell, film: Callable[[Tabletop], None] | None = None
    ) -> Played:
        """Play one episode in one cell.

        Args:
            index: Of the episode.
            cell: Of the evaluation.
            film: See `Rollout.run`.
        """
        trial = cell.trial
        scene = self._scene(index, trial)
        condition = Condition(start=scene.start, hazard=scene.hazard)
        if trial.axis in CONTROLS:
            condition = CONTROLS[trial.axis](scene.episode)
        elif trial.axis == LATENCY:
            condition = Condition(latency=trial.level)
        elif trial.axis in AXES:
            how = Perturbation(trial.axis, int(trial.level), scene.episode.seed)
            condition = Condition(perturbation=how)
        rollout = self._rollout(cell.policy, cell.mode)
        rollout.stages.begin()
        before = rollout.frames
        outcome = rollout.run(scene.episode, condition, film=film)
        return Played(index, cell, outcome, rollout.stages.end(), rollout.frames - before)

    def _scene(self, index: int, trial: Trial) -> Scene:
        if self._plain:
            return self._plain[index]
        if (index, trial) not in self._hindered:
            asked, guide = self._evaluation, self._rollout(EXPERT, self._safety.mode)
            scene = hazard_scene(self._suite, asked.episodes, asked.seed, index, trial, guide)
            kept = {key: old for key, old in self._hindered.items() if key[0] == index}
            self._hindered = {**kept, (index, trial): scene}
        return self._hindered[index, trial]

    def _rollout(self, policy: str, mode: str) -> Rollout:
        if mode not in self._guards:
            self._guards[mode] = SafetyFilter(self._robot, replace(self._safety, mode=mode))
        if policy not in self._rollouts:
            loaded = make_policy(policy, self._robot)
            self._rollouts[policy] = Rollout(self._robot, loaded, self._guards[mode])
        self._rollouts[policy].guard = self._guards[mode]
        return self._rollouts[policy]


def jobs(evaluation: Evaluation) -> list[tuple[int, Cell]]:
    """Return every episode to play, those of one index together."""
    return [
        (index, cell)
        for index in range(evaluation.episodes)
        for cell in (
            *evaluation.cells,
            *(evaluation.controls if index < evaluation.control_episodes else ()),
        )
    ]


def run(
    evaluation: Evaluation,
    workers: int,
    done: Callable[[Played], None],
    log: Path | None = None,
    player: Player | None = None,
    cluster: str | None = None,
) -> list[Played]:
    """Play all episodes and return them in the order of their jobs.

    Args:
        evaluation: What is to be measured.
        workers: Processes; 1 plays in this one.
        done: Called for each episode, also for those from the log.
        log: Gets a line for each episode as it ends; those that it holds are not played again.
        player: Of this evaluation, where there is one already.
        cluster: See `spread`.

    Raises:
        ConfigError: The log is of another evaluation.
        UnknownNameError: There is no such file.
        LogError: The log cannot be written.
        WorkerError: An episode lost its worker too often.
    """
    player = player or Player(evaluation)  # also the check of every name and of the weights
    kept = EpisodeLog(log, asdict(evaluation))
    played = {(one.index, one.cell): one for one in map(Played.read, kept.entries)}
    for one in played.values():
        done(one)
    wanted = jobs(evaluation)
    missing = [job for job in wanted if job not in played]
    for job, one in spread(
        player_of, evaluation, missing, workers, player.play, cluster
    ):
        kept.add([one.entry()])
        played[job[0], job[1]] = one
        done(one)
    return [played[job] for job in wanted]


def player_of(evaluation: Evaluation) -> Callable[[int, Cell], Played]:
    """Return what plays an evaluation's episodes."""
    return Player(evaluation).play


def make_policy(name: str, robot: RobotSpec) -> Policy:
    """Load a policy by the name of its file, or the scripted expert."""
    if name == EXPERT:
        return ScriptedPolicy()
    return create(config.load(paths.find('policies', name), PolicySpec), robot)


def failures(played: Sequence[Played]) -> list[Played]:
    """Return the episodes that failed, controls aside, in which failing is right."""
    return [
        one for one in played if not one.outcome.success and one.cell.trial.axis not in CONTROLS
    ]
