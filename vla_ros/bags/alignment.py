"""What a bag recorded at many rates, as rows at one: t_k = t0 + k / rate, by header stamps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_ros.bags.reference import held, reference
from vla_ros.types import Array, Trajectory

ROUNDING = 1e-6  # [s] of stamps: floats of today's times have steps of 0.24 us
Index = NDArray[np.intp]


class Period(NamedTuple):
    """A stretch of time."""

    start: float  # [s]
    end: float  # [s]


@dataclass(frozen=True)
class Commands:
    """What one controller was sent, in the order of the bag."""

    columns: Index  # (k,) of its joints among the n
    sent: Sequence[Trajectory]
    held: bool = False  # a gripper's, which is never between two points


@dataclass(frozen=True)
class Tracks:
    """What a bag says of one robot of n joints, the grippers' last; on the clock of headers."""

    pictures: Mapping[str, Array]  # camera -> (N,) [s] stamps in the order of the bag
    stamps: Array  # (M,) [s] of the joint states, in the order of the bag
    positions: Array  # (M, n) [rad] or [m] measured
    grippers: int = 1  # how many of the n columns are of grippers
    commands: Sequence[Commands] = ()
    tasks: Sequence[tuple[Period, str]] | None = None  # with a sentence in force; None: not said
    interventions: Sequence[Period] = ()  # of the safety filter or of a human


@dataclass(frozen=True)
class Settings:
    """How rows are made."""

    rate: int = 10  # [Hz]
    max_age: float = 0.2  # [s] of a picture or a joint state that still stands for a row
    shortest: float = 1.0  # [s] of an episode that is kept

    @property
    def least(self) -> int:
        """Rows of the shortest episode that is kept."""
        return max(2, round(self.shortest * self.rate))


@dataclass(frozen=True)
class Episode:
    """Rows of one task at one rate, without a gap. K rows, n joints."""

    task: str
    stamps: Array  # (K,) [s]
    state: Array  # (K, n) [rad] or [m] measured
    action: Array  # (K, n) [rad] or [m] commanded, or measured one row later
    intervention: NDArray[np.bool_]  # (K,)
    pictures: Mapping[str, Index]  # camera -> (K,) which of its pictures, never decreasing

    def __len__(self) -> int:
        return len(self.stamps)


@dataclass(frozen=True)
class Aligned:
    """Episodes, and what was left out of them."""

    episodes: tuple[Episode, ...]
    stale: Mapping[str, int]  # source -> rows dropped since it had nothing recent enough
    short: int  # episodes dropped since too little of them was left
    backward: Mapping[str, int]  # source -> messages passed over: their stamp did not rise


def align(tracks: Tracks, settings: Settings, task: str) -> Aligned:
    """Cut a tracks into episodes and fill their rows.

    A row takes of each camera the newest picture at or before its time; the arm's joints are
    interpolated, the gripper's is held. A row for which a source has nothing within `max_age` is
    dropped, and the episode ends before it: an episode has no gap.

    Args:
        tracks: What was read.
        settings: Rate and bounds.
        task: Sentence where the tracks has none.
    """
    cameras = {name: rising(stamps) for name, stamps in tracks.pictures.items()}
    joints = rising(tracks.stamps)
    stamps = {name: tracks.pictures[name][kept] for name, kept in cameras.items()}
    stamps['joint_states'] = tracks.stamps[joints]
    lost = {
        name: len(all_) - len(stamps[name])
        for name, all_ in (*tracks.pictures.items(), ('joint_states', tracks.stamps))
    }
    backward = {name: count for name, count in lost.items() if count}
    stale = dict.fromkeys(stamps, 0)
    if not all(len(times) for times in stamps.values()):
        return Aligned((), stale, 0, backward)
    span = Period(max(t[0] for t in stamps.values()), stamps['joint_states'][-1])
    tasks = [(span, task)] if tracks.tasks is None else tracks.tasks
    cuts: list[tuple[str, Array]] = []
    short = 0
    for period, sentence in tasks:
        times = grid(max(period.start, span.start), min(period.end, span.end), settings.rate)
        fresh = np.ones(len(times), dtype=bool)
        for name, own in stamps.items():
            recent = is_recent(own, times, settings.max_age)
            if name == 'joint_states':  # they are interpolated, so one must follow as well
                recent &= is_recent(-own[::-1], -times, settings.max_age)
            stale[name] += int(np.count_nonzero(~recent))
            fresh &= recent
        found = runs(fresh)
        kept = [run for run in found if run.stop - run.start >= settings.least]
        short += len(found) - len(kept)
        cuts += [(sentence, times[run]) for run in kept]
    places = tracks.positions[joints]
    rows = _Rows(stamps['joint_states'], places, 1.0 / settings.rate, tracks.grippers)
    every = np.concatenate([np.empty(0), *(times for _, times in cuts)])
    state, action = rows.measured(every), rows.action(tracks, every)
    episodes, done = [], 0
    for sentence, times in cuts:
        part = slice(done, done + len(times))
        pictures = {name: own[newest(stamps[name], times)] for name, own in cameras.items()}
        marked = inside(tracks.interventions, times)
        episodes.append(Episode(sentence, times, state[part], action[part], marked, pictures))
        done = part.stop
    return Aligned(tuple(episodes), stale, short, backward)


def rising(stamps: Array) -> Index:
    """Return where stamps (N,) [s] are beyond all those before."""
    if not len(stamps):
        return np.empty(0, dtype=np.intp)
    before = np.concatenate([[-np.inf], np.maximum.accumulate(stamps)[:-1]])
    return np.flatnonzero(stamps > before)


def grid(start: float, end: float, rate: int) -> Array:
    """Return the times start + k / rate [s] up to the end."""
    count = int(np.floor((end - start + ROUNDING) * rate)) + 1
    return start + np.arange(max(0, count)) / rate


def newest(stamps: Array, times: Array) -> Index:
    """Return which of the rising stamps (N,) is the newest at or before each time; -1: none."""
    return np.searchsorted(stamps, times + ROUNDING, side='right') - 1


def is_recent(stamps: Array, times: Array, max_age: float) -> NDArray[np.bool_]:
    """Return whether the newest stamp at or before each time is no older than `max_age` [s]."""
    index = newest(stamps, times)
    age = times - stamps[np.maximum(index, 0)]
    return np.asarray((index >= 0) & (age <= max_age + ROUNDING))


def runs(flags: NDArray[np.bool_]) -> list[slice]:
    """Return the stretches of rows (K,) that are true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2])]


def inside(periods: Sequence[Period], times: Array) -> NDArray[np.bool_]:
    """Return which times (K,) lie in one of the periods, its end not included."""
    marked = np.zeros(len(times), dtype=bool)
    for start, end in periods:
        marked |= (times >= start - ROUNDING) & (times < end - ROUNDING)
    return marked


class _Rows:
    """Joints at the times of rows, from joint states of rising stamps."""

    def __init__(self, stamps: Array, positions: Array, period: float, grippers: int) -> None:
        self._stamps, self._positions, self._period = stamps, positions, period
        self._arm = positions.shape[1] - grippers

    def measured(self, times: Array) -> Array:
        """Return where the joints were (K, n): the arms between two states, the grippers held."""
        arm = [np.interp(times, self._stamps, q) for q in self._positions[:, : self._arm].T]
        index = np.maximum(newest(self._stamps, times), 0)
        return np.column_stack([*arm, self._positions[index, self._arm :]])

    def action(self, tracks: Tracks, times: Array) -> Array:
        """Return the commands in force; before the first, where the joints are a row later."""
        action = self.measured(times + self._period)
        for one in tracks.commands:
            sent = [c for c in one.sent if len(c.times)] if one.held else one.sent
            if not sent:
                continue
            given = times >= sent[0].stamp - ROUNDING
            if one.held:
                action[np.ix_(given, one.columns)] = held(sent, times[given])
            else:
                begin = self.measured(np.array([sent[0].stamp]))[0, one.columns]
                action[np.ix_(given, one.columns)] = reference(sent, begin, times[given])
        return action
