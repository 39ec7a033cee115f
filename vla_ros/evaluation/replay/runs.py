"""Many replays in one command: bags, policies, safety settings and latencies, each judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.replay import drawing, open_loop, shadow
from vla_ros.evaluation.replay.comparison import compare
from vla_ros.evaluation.replay.episode import load_track
from vla_ros.evaluation.replay.injection import Injection
from vla_ros.evaluation.replay.thresholds import judge, load_thresholds
from vla_ros.evaluation.replay.track import Track
from vla_ros.nodes.loading import load, Loaded
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety
from vla_ros.safety.sources import load_scene
from vla_ros.spec import PolicySpec

MODES = ('open', 'shadow', 'both')
STAGES = ('preprocess', 'inference', 'decode')  # of a recorded chunk: the model's time

Progress = Callable[[str, float], None]  # what is done, and its share


@dataclass(frozen=True)
class Runs:
    """What is to be replayed: every bag with every policy, safety setting and latency."""

    bags: tuple[str, ...]
    policies: tuple[str, ...]
    safeties: tuple[str, ...]
    latencies: tuple[float | None, ...]  # [s] of the model; None: as recorded
    robot: str
    scene: str
    thresholds: str
    mode: str  # a word of MODES
    jitter: float = 0.0  # [s]
    drop: float = 0.0
    reorder: float = 0.0
    seed: int | None = None  # of the policy side; None: the recording's
    instruction: str = ''
    pictures: bool = False  # draw for the report

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownNameError('mode', self.mode, MODES)
        if not (self.bags and self.policies and self.safeties and self.latencies):
            raise ConfigError('nothing to replay: give at least one bag and one policy.')


@dataclass(frozen=True)
class Run:
    """One replay, judged."""

    bag: str
    policy: str
    safety: str
    injection: Mapping[str, float]
    figures: Mapping[str, Any]
    verdicts: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    pictures: tuple[tuple[str, str], ...]  # caption, PNG as base64

    @property
    def passed(self) -> bool:
        """Whether no threshold was crossed."""
        return all(verdict['passed'] for verdict in self.verdicts)

    @property
    def name(self) -> str:
        """What was replayed, in a few words."""
        name = f'{Path(self.bag).name} · {self.policy}'
        if not self.safety:  # open loop
            return name
        return f'{name} · {self.safety} · {1e3 * self.injection["latency"]:.0f} ms'

    def as_dict(self) -> dict[str, Any]:
        """Return it by the keys of `vla replay --json`."""
        return {
            'bag': self.bag, 'policy': self.policy, 'safety': self.safety,
            'injection': dict(self.injection), 'passed': self.passed, **self.figures,
            'verdicts': [dict(verdict) for verdict in self.verdicts], 'notes': list(self.notes),
        }  # fmt: skip


class Player:
    """Replays bags; a policy is loaded when it is first needed, and kept."""

    def __init__(self, runs: Runs, progress: Progress = lambda what, share: None) -> None:
        """Check every name.

        Raises:
            VlaError: A file is missing or cannot be used.
        """
        self._runs, self._progress = runs, progress
        self._robot = load_robot(paths.find('robots', runs.robot))
        self._scene = load_scene(paths.find('scenes', runs.scene))
        self._limits = load_thresholds(paths.find('thresholds', runs.thresholds))
        self._safeties = {name: load_safety(paths.find('safety', name)) for name in runs.safeties}
        self._specs = {
            name: config.load(paths.find('policies', name), PolicySpec) for name in runs.policies
        }
        self._loaded: dict[str, Loaded] = {}

    def play(self, bag: str, policy: str) -> list[Run]:
        """Replay one bag with one policy, as often as there are settings."""
        runs = self._runs
        self._progress(f'{Path(bag).name}: reading', 0.0)
        track = load_track(Path(bag), self._robot, runs.instruction)
        loaded = self._load(policy)
        figures: dict[str, Any] = {}
        pictures: list[tuple[str, str]] = []
        notes = list(track.notes)
        if runs.mode != 'shadow':
            answers = open_loop.answer(
                track, loaded, runs.seed, progress=self._tell(bag, policy, 'open loop')
            )
            self._progress(f'{Path(bag).name}: comparing', 1.0)
            figures = compare(track, loaded, answers)
            if runs.pictures:
                pictures = drawing.of_answers(track, answers)
        if runs.mode == 'open':
            return [self._judged(bag, policy, '', Injection(), figures, pictures, notes)]
        found = []
        for safety in runs.safeties:
            for latency in runs.latencies:
                recorded = model_times(track) if latency is None else ()
                if latency is None:
                    took = [seconds for _, seconds in recorded] or [Injection().latency]
                    latency = float(np.median(took))
                injection = Injection(
                    latency, runs.jitter, runs.drop, runs.reorder, runs.seed or 0, recorded
                )
                seen, more = self._shadow(track, bag, policy, safety, injection)
                both = {**figures, **seen}
                found.append(
                    self._judged(bag, policy, safety, injection, both, pictures + more, notes)
                )
        return found

    def _shadow(
        self, track: Track, bag: str, policy: str, safety: str, injection: Injection
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        begin = perf_counter()
        found = shadow.replay(
            track, self._load(policy), self._safeties[safety], self._scene, injection,
            self._runs.seed, self._tell(bag, policy, safety),
        )  # fmt: skip
        seconds = perf_counter() - begin
        figures = {**found.figures, 'shadow_real_time_factor': track.seconds / seconds}
        return figures, drawing.of_shadow(track, found) if self._runs.pictures else []

    def _judged(
        self, bag: str, policy: str, safety: str, injection: Injection,
        figures: Mapping[str, Any], pictures: list[tuple[str, str]], notes: list[str],
    ) -> Run:  # fmt: skip
        verdicts = tuple(asdict(verdict) for verdict in judge(self._limits, figures))
        return Run(
            bag, policy, safety, injection.figures(), figures, verdicts, tuple(notes),
            tuple(pictures),
        )  # fmt: skip

    def _load(self, policy: str) -> Loaded:
        if policy not in self._loaded:
            self._progress(f'{policy}: loading', 0.0)
            self._loaded[policy] = load(self._specs[policy], self._robot)
        return self._loaded[policy]

    def _tell(self, bag: str, policy: str, what: str) -> Callable[[float], None]:
        return lambda share: self._progress(f'{Path(bag).name} · {policy}: {what}', share)


def model_times(track: Track) -> tuple[tuple[float, float], ...]:
    """Return the stamp of each recorded observation and what the model took for it [s]."""
    times = [
        (chunk.trajectory.stamp, sum(chunk.provenance.timings.get(s, 0.0) for s in STAGES))
        for chunk in track.chunks
        if chunk.provenance is not None
    ]
    return tuple((stamp, took) for stamp, took in times if took > 0.0)


def player_of(runs: Runs) -> Callable[[str, str], list[Run]]:
    """Return what replays one bag with one policy."""
    return Player(runs).play


def play(runs: Runs, workers: int, done: Callable[[Run], None], progress: Progress) -> list[Run]:
    """Replay everything, here or in several processes.

    Args:
        runs: What is to be replayed.
        workers: Processes; 1 replays in this one.
        done: Called for each replay as it ends.
        progress: Called meanwhile, where it is this process that replays.
    """
    player = Player(runs, progress)  # the check of every name
    jobs = [(bag, policy) for bag in runs.bags for policy in runs.policies]
    found: dict[tuple[Any, ...], list[Run]] = {}
    for job, some in spread(player_of, runs, jobs, workers, player.play):
        found[job] = some
        for one in some:
            done(one)
    return [one for job in jobs for one in found[job]]
