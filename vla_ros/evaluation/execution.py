"""Strategies of chunk execution compared: the same episodes under injected inference delays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.actions.executor import Executor
from vla_ros.actions.strategies import make_strategy
from vla_ros.errors import UnknownNameError
from vla_ros.evaluation.log import EpisodeLog
from vla_ros.evaluation.metrics import Outcome, paired, rate
from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.rollout import Rollout
from vla_ros.evaluation.runner import make_policy
from vla_ros.evaluation.seams import Seams
from vla_ros.evaluation.suite import load_suite
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.spec import PolicySpec

SYNCHRONOUS = 'synchronous'


@dataclass(frozen=True)
class Way:
    """One way to execute a policy's chunks."""

    strategy: str  # a name of vla_ros.actions.strategies
    options: tuple[tuple[str, Any], ...] = ()
    replan_steps: int | None = None  # None: the policy file's


WAYS = {
    'latest': Way('latest'),
    'crossfade': Way('crossfade'),
    'ensemble': Way('ensemble', replan_steps=1),  # it averages over answers: one a step
    'weighted': Way('weighted'),
    'bid': Way('bid'),
    'rtc': Way('rtc'),
    'rtc identity': Way('rtc', (('jacobian', 'identity'),)),
    'rtc trained': Way('rtc', (('jacobian', 'trained'),)),
}


@dataclass(frozen=True)
class Bench:
    """What is to be measured."""

    robot: str
    policy: str
    safety: str
    suite: str
    episodes: int  # in each cell
    seed: int
    ways: tuple[str, ...]  # words of WAYS, or 'synchronous'; none: all that the policy offers
    delays: tuple[float, ...]  # [s]

    def __post_init__(self) -> None:
        for way in self.ways:
            if way not in (*WAYS, SYNCHRONOUS):
                raise UnknownNameError('strategy', way, (*WAYS, SYNCHRONOUS))


@dataclass(frozen=True)
class Cell:
    """One way at one delay."""

    name: str
    way: Way
    delay: float  # [s]


@dataclass(frozen=True)
class Played:
    """One episode of one cell."""

    index: int
    name: str  # of the cell
    delay: float  # [s] of the cell
    outcome: Outcome
    seams: Seams


class Player:
    """Plays episodes in every cell."""

    def __init__(self, bench: Bench) -> None:
        """Load everything that the bench names.

        Raises:
            UnknownNameError: There is no such file.
            RobotPolicyMismatch: The policy does not offer what a strategy needs.
        """
        robot = load_robot(paths.find('robots', bench.robot))
        guard = SafetyFilter(robot, load_safety(paths.find('safety', bench.safety)))
        policy = make_policy(bench.policy, robot)
        self._spec, self._rollout = policy.spec, Rollout(robot, policy, guard)
        self._offers = policy.offers
        self._episodes = load_suite(bench.suite).episodes(bench.episodes, bench.seed)
        urdf = robot.urdf_path
        self._executors = {
            cell: Executor(Codec(robot, urdf, self._spec_of(cell)), policy.offers)
            for cell in self._cells(bench)
        }

    def _cells(self, bench: Bench) -> Iterator[Cell]:
        chunk = self._spec.horizon
        names = bench.ways or (*filter(self._offered, WAYS), SYNCHRONOUS)
        for delay in bench.delays:
            for name in names:
                if name == SYNCHRONOUS:  # at several horizons, of which the best counts
                    for steps in sorted({max(1, round(chunk * k / 4)) for k in range(1, 5)}):
                        way = Way(SYNCHRONOUS, replan_steps=steps)
                        yield Cell(f'{SYNCHRONOUS} {steps}', way, delay)
                else:
                    yield Cell(name, WAYS[name], delay)

    def _offered(self, name: str) -> bool:
        way = WAYS[name]
        return make_strategy(way.strategy, dict(way.options), name).needs in {'', *self._offers}

    @property
    def cells(self) -> list[Cell]:
        """Every way at every delay."""
        return list(self._executors)

    def _spec_of(self, cell: Cell) -> PolicySpec:
        way = cell.way
        return replace(
            self._spec,
            strategy=way.strategy,
            strategy_options=dict(way.options),
            replan_steps=way.replan_steps or self._spec.replan_steps,
        )

    def play(self, index: int, names: Sequence[tuple[str, float]]) -> list[Played]:
        """Play one episode in cells by name and delay.

        Raises:
            HorizonError: A delay is longer than the policy's chunk can bear.
        """
        played = []
        for cell, executor in self._executors.items():
            if (cell.name, cell.delay) not in names:
                continue
            self._rollout.follow(executor, cell.delay)
            seams = Seams(self._rollout.guard.config.period)
            outcome = self._rollout.run(self._episodes[index], seams=seams)
            seams.end()
            played.append(Played(index, cell.name, cell.delay, outcome, seams))
        return played


def player_of(bench: Bench) -> Callable[[int, Sequence[tuple[str, float]]], list[Played]]:
    """Return what plays a bench's episodes."""
    return Player(bench).play


def run(
    bench: Bench, player: Player, workers: int, log: Path | None, done: Callable[[Played], None]
) -> dict[str, Any]:
    """Play a bench and return its figures.

    Args:
        bench: What is to be measured.
        player: Of this bench; plays where there is one worker.
        workers: Processes.
        log: Gets a line for each episode as it ends; those that it holds are not played again.
        done: Called for each episode, also for those from the log.

    Raises:
        ConfigError: The log is of another bench.
        HorizonError: A delay is longer than the policy's chunk can bear.
    """
    kept = EpisodeLog(log, asdict(bench))
    played = [_from_entry(entry) for entry in kept.entries]
    for one in played:
        done(one)
    have = {(one.index, one.name, one.delay) for one in played}
    cells = [(cell.name, cell.delay) for cell in player.cells]
    work = []
    for index in range(bench.episodes):
        missing = [cell for cell in cells if (index, *cell) not in have]
        if missing:
            work.append((index, missing))
    for _, some in spread(player_of, bench, work, workers, player.play):
        played += some
        kept.add(map(_entry, some))
        for one in some:
            done(one)
    return figures(bench, played)


def _entry(one: Played) -> dict[str, Any]:
    return {
        'index': one.index,
        'name': one.name,
        'delay': one.delay,
        'outcome': asdict(one.outcome),
        'seams': one.seams.as_dict(),
    }


def _from_entry(entry: dict[str, Any]) -> Played:
    outcome, seams = Outcome(**entry['outcome']), Seams.from_dict(entry['seams'])
    return Played(**{**entry, 'outcome': outcome, 'seams': seams})


def figures(bench: Bench, played: Sequence[Played]) -> dict[str, Any]:
    """Return what `vla bench execution` reports: a cell for each way and delay."""
    cells: dict[tuple[str, float], list[Played]] = {}
    for one in sorted(played, key=lambda one: one.index):
        cells.setdefault((one.name, one.delay), []).append(one)
    least = min(bench.delays)
    rows = []
    for (name, delay), some in cells.items():
        seams = Seams(1.0)
        for one in some:
            seams.add(one.seams)
        base = cells[name, least]
        seconds = sum(one.outcome.seconds for one in some) / len(some)
        first = sum(one.outcome.seconds for one in base) / len(base)
        kept = rate([one.outcome.success for one in some])
        rows.append({
            'strategy': name,
            'delay_ms': 1e3 * delay,
            'success_rate': kept['rate'],
            'wilson_95': kept['wilson_95'],
            'against_least_delay': paired(
                [one.outcome.success for one in some], [one.outcome.success for one in base]
            ),
            'episode_seconds': seconds,
            'time_ratio': seconds / first,
            'stall_seconds': sum(one.outcome.stall_seconds for one in some) / len(some),
            **seams.figures(),
        })  # fmt: skip
    return {
        'suite': bench.suite,
        'policy': bench.policy,
        'safety': bench.safety,
        'robot': bench.robot,
        'seed': bench.seed,
        'episodes': bench.episodes,
        'cells': _with_best(rows),
        'outcomes': [
            {'index': one.index, 'strategy': one.name, 'delay_ms': 1e3 * one.delay,
             **vars(one.outcome)} for one in played
        ],
    }  # fmt: skip


def _with_best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mark, for each delay, the horizon at which synchronous execution is at its best."""
    for delay in {row['delay_ms'] for row in rows}:
        some = [
            row for row in rows
            if row['delay_ms'] == delay and row['strategy'].startswith(SYNCHRONOUS)
        ]  # fmt: skip
        if some:
            best = min(some, key=lambda row: (-row['success_rate'], row['episode_seconds']))
            best['best_synchronous'] = True
    return rows
