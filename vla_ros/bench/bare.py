"""Plain CBF-QPs on our own kernel: rows and box, no slack, no check, no verified stop.

They are the honest lower bound of what a filter like ours can cost, and an oracle of nothing:
where they have no answer, or a false one, they say so and go on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import NamedTuple

import daqp
import numpy as np

from vla_ros.bench.cost import beside, WARM
from vla_ros.bench.recording import Recording
from vla_ros.bench.timing import no_collections, Peer, summarise
from vla_ros.safety import SafetyFilter
from vla_ros.safety.core import look_in
from vla_ros.types import Array

Solve = Callable[[Array, Array, Array, Array, Array], 'Array | None']  # v_d, lo, hi, G, bound


class Problems(NamedTuple):
    """The programs of a recording, for whoever solves them elsewhere."""

    wanted: Array  # (T, n) [rad/s]
    lower: Array  # (T, n) [rad/s]
    upper: Array  # (T, n) [rad/s]
    rows: Array  # (T, R, n) [m/rad] the first `used` count
    bound: Array  # (T, R) [m/s]
    used: Array  # (T,)
    kernel_us: Array  # (T,) [us] what building it took


def by_daqp(size: int) -> Solve:
    """Return a solver on preallocated arrays that takes DAQP at its word."""
    hessian = np.eye(size)

    def solve(wanted: Array, lo: Array, hi: Array, rows: Array, bound: Array) -> Array | None:
        upper = np.concatenate([hi, np.full(len(bound), 1e30)])
        lower = np.concatenate([lo, bound])
        x, _, flag, _ = daqp.solve(hessian, -wanted, rows, upper, lower)
        return np.asarray(x) if flag == 1 else None

    return solve


def by_quadprog(size: int) -> Solve:
    """Return a solver by Goldfarb and Idnani's method."""
    import quadprog

    eye = np.eye(size)

    def solve(wanted: Array, lo: Array, hi: Array, rows: Array, bound: Array) -> Array | None:
        matrix = np.concatenate([eye, -eye, rows]).T
        limits = np.concatenate([lo, -hi, bound])
        try:
            return np.asarray(quadprog.solve_qp(eye, wanted, matrix, limits)[0])
        except ValueError:  # no point satisfies all
            return None

    return solve


def run_bare(recording: Recording) -> list[Peer]:
    """Time the plain QPs on a recording; quadprog only where it is installed."""
    found = []
    for name, what, make in (
        ('bare_daqp', 'rows and box of our kernel, DAQP taken at its word', by_daqp),
        ('quadprog', 'the same, quadprog', by_quadprog),
    ):
        try:
            solve = make(recording.robot.dof)
        except ImportError:
            found.append(Peer(name, what, None, note='not installed: pip install quadprog'))
            continue
        timed = partial(_run, recording, name, what, solve)
        found.append(beside(recording, len(recording.ticks), timed))
    return found


def _run(recording: Recording, name: str, what: str, solve: Solve) -> Peer:
    micros, failed = time_bare(recording, solve)
    return Peer(name, what, summarise(micros, recording.config.period), failed)


def time_bare(recording: Recording, solve: Solve) -> tuple[Array, int]:
    """Return microseconds of rows, box and solution (T - WARM,), and how many had no answer."""
    micros, failed = np.zeros(len(recording.ticks)), 0
    build = _Builder(recording)
    with no_collections():
        for k in range(len(recording.ticks)):
            build.prepare(k)
            start = perf_counter_ns()
            problem = build.problem(k)
            answer = solve(*problem)
            micros[k] = 1e-3 * (perf_counter_ns() - start)
            failed += answer is None and k >= WARM
    return micros[WARM:], failed


def problems(recording: Recording, first: int, count: int) -> Problems:
    """Return `count` programs from tick `first` on, and what building each took."""
    build, n = _Builder(recording), recording.robot.dof
    most = recording.rows
    out = Problems(
        wanted=np.zeros((count, n)),
        lower=np.zeros((count, n)),
        upper=np.zeros((count, n)),
        rows=np.zeros((count, most, n)),
        bound=np.zeros((count, most)),
        used=np.zeros(count, np.int64),
        kernel_us=np.zeros(count),
    )
    with no_collections():
        for i in range(count):
            build.prepare(first + i)
            start = perf_counter_ns()
            wanted, lo, hi, rows, bound = build.problem(first + i)
            out.kernel_us[i] = 1e-3 * (perf_counter_ns() - start)
            out.wanted[i], out.lower[i], out.upper[i] = wanted, lo, hi
            out.rows[i, : len(rows)], out.bound[i, : len(rows)] = rows, bound
            out.used[i] = len(rows)
    return out


class _Builder:
    """Builds the program of a recorded tick from the filter's own kernel."""

    def __init__(self, recording: Recording) -> None:
        self._recording, self._period = recording, recording.config.period
        self._safety = SafetyFilter(recording.robot, recording.config)

    def prepare(self, k: int) -> None:
        """Take the obstacles of tick k; not timed, as it happens at 30 Hz."""
        self._safety.scene.set_world(self._recording.ticks[k].world)

    def problem(self, k: int) -> tuple[Array, Array, Array, Array, Array]:
        """Return v_d, lo, hi, G, bound of tick k; views."""
        tick, seen, scene = self._recording.ticks[k], self._recording.seen[k], self._safety.scene
        work = scene.work
        count = look_in(
            scene.core, seen.position, seen.velocity, seen.acceleration, self._period,
            scene.age(tick.now),
        )[0]  # fmt: skip
        return seen.wanted, work.lo, work.hi, work.g[:count], work.bound[:count]
