"""What is counted while the pipeline runs: stalls, ages, latencies, interventions, limits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_ros.actions.timeline import Phase
from vla_ros.evaluation.replay.pipeline import Pipeline
from vla_ros.evaluation.seams import Seams
from vla_ros.robot import RobotSpec
from vla_ros.safety.result import SafetyResult
from vla_ros.types import Array, Provenance, Trajectory

SLACK = 1e-6  # relative, of a limit: rounding
STAGES = ('transport', 'frame_wait', 'inference')  # of a chunk, before it is published
QUANTILES = (50, 95, 99)


@dataclass
class Trace:
    """How a run went, for pictures; a row for each tick that counts."""

    times: list[float] = field(default_factory=list)  # [s]
    references: list[Array] = field(default_factory=list)  # (n,) [rad] or [m]
    levels: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    barriers: list[float] = field(default_factory=list)  # [m]
    rates: list[float] = field(default_factory=list)  # of the plan clock


class Tally:
    """Counts from an instruction's first chunk in use to its end; a Watcher of a pipeline."""

    def __init__(self, robot: RobotSpec, period: float) -> None:
        """Begin with nothing seen.

        Args:
            robot: Its limits are checked.
            period: Of the ticks [s].
        """
        self._period, self._dof = period, robot.dof
        self._limits = {k: robot.limits(k) for k in ('lower', 'upper', 'velocity', 'acceleration')}
        self.seams, self.trace = Seams(period), Trace()
        self.ticks = self.acted = self.chunks = 0
        self.stalled = 0.0  # [s] at the end of the plan, waiting for the next chunk
        self.reasons: Counter[str] = Counter()  # of ticks above S0
        self.violations = dict.fromkeys(('position', 'velocity', 'acceleration'), 0)
        self.refused: Counter[str] = Counter()  # chunks, by the filter's verdict
        self._ages: list[float] = []  # [s] of the chunk in use, at each tick
        self._stages: list[tuple[float, ...]] = []  # STAGES and total, of each chunk [s]
        self._barrier = np.inf
        self._instruction, self._counts = 0, False  # the one in work, and whether it moves
        self._plan: float | None = None  # [s] stamp of the chunk in use
        self._velocity: Array | None = None  # (n,) commanded a tick before
        self._phi = 0.0
        self._refusal: object = None

    def tick(self, pipeline: Pipeline, result: SafetyResult) -> None:
        """See a tick."""
        session, plan = pipeline.inference.session, pipeline.control.plan
        if session.instruction_id != self._instruction or not session.running:
            self._instruction, self._counts = session.instruction_id, False
        joined = plan.stamp is not None and plan.stamp != self._plan
        self._plan = plan.stamp
        if plan.refusal is not None and plan.refusal is not self._refusal:
            self.refused[plan.refusal.verdict.value] += 1
        self._refusal = plan.refusal
        phi, self._phi = self._phi, result.phi
        if joined:
            self.seams.joined(phi, np.zeros(1))
        sample = plan.sample(result.phi)
        self.seams.tick(result.phi, sample.position[: self._dof], sample.phase is Phase.ON)
        self._check(result)
        if session.running and joined:
            self._counts = True
        if self._counts:
            self._count(pipeline.time, result, result.phi >= plan.end, plan.stamp)

    def sent(self, pipeline: Pipeline, trajectory: Trajectory, origin: Provenance | None) -> None:
        """See a trajectory; one without provenance stops the arm."""
        if origin is not None:
            self.chunks += 1
            parts = [origin.timings.get(stage, 0.0) for stage in STAGES]
            self._stages.append((*parts, pipeline.time - trajectory.stamp))

    def _count(self, now: float, result: SafetyResult, over: bool, stamp: float | None) -> None:
        self.ticks += 1
        self.stalled += self._period * over
        self.acted += int(result.level) > 0
        if int(result.level) > 0:
            self.reasons[result.reason] += 1
        if stamp is not None:
            self._ages.append(now - stamp)
        self._barrier = min(self._barrier, result.min_barrier)
        if result.command is not None:
            trace = self.trace
            trace.times.append(now)
            trace.references.append(result.command.positions[0])
            trace.levels.append(int(result.level))
            trace.reasons.append(result.reason)
            trace.barriers.append(result.min_barrier)
            trace.rates.append(result.rate)

    def _check(self, result: SafetyResult) -> None:
        """Count commands outside the robot's limits."""
        if result.command is None:
            self._velocity = None
            return
        limits, before = self._limits, self._velocity
        place, speed = result.command.positions[0, :-1], result.command.velocities[0, :-1]
        self._velocity = speed
        outside = (place < limits['lower'] - SLACK) | (place > limits['upper'] + SLACK)
        self.violations['position'] += bool(outside.any())
        self.violations['velocity'] += bool((np.abs(speed) > over(limits['velocity'])).any())
        if before is not None:
            change = np.abs(speed - before) / self._period
            self.violations['acceleration'] += bool((change > over(limits['acceleration'])).any())

    def figures(self) -> dict[str, Any]:
        """Return what was counted, by the keys of `vla replay --json`."""
        self.seams.end()
        seams = self.seams.figures()
        del seams['mismatch']  # of actions, which do not pass here
        rows = np.array(self._stages) if self._stages else np.zeros((0, len(STAGES) + 1))
        names = (*STAGES, 'total')
        return {
            'chunks': self.chunks,
            'control_ticks': self.ticks,
            'stall_seconds': self.stalled,
            'chunk_age_ms': spread(np.array(self._ages)),
            'latency_ms': {name: spread(column) for name, column in zip(names, rows.T)},
            'intervention_rate': self.acted / self.ticks if self.ticks else None,
            'interventions': {k: n / self.ticks for k, n in self.reasons.most_common()},
            'min_barrier_m': self._barrier if np.isfinite(self._barrier) else None,
            'violations': dict(self.violations),
            'refused_chunks': dict(self.refused),
            **seams,
        }

    @property
    def latencies(self) -> Array:
        """From each chunk's observation to its publication (N,) [s]."""
        return np.array([row[-1] for row in self._stages])


def over(limit: Array) -> Array:
    """Return a limit and what rounding may add."""
    return limit * (1.0 + SLACK) + SLACK


def spread(seconds: Array) -> dict[str, float] | None:
    """Return mean, percentiles and largest of times (N,) [s], in [ms]; None of none."""
    if not len(seconds):
        return None
    percentiles = {f'p{q}': 1e3 * float(np.percentile(seconds, q)) for q in QUANTILES}
    return {'mean': 1e3 * float(seconds.mean()), **percentiles, 'max': 1e3 * float(seconds.max())}
