"""What one cycle of the filter costs, and how that grows with rows and joints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from vla_ros.bench.long_arm import two_in_a_row
from vla_ros.bench.recording import fewer_rows, obstacles_for, record, Recording
from vla_ros.bench.timing import no_collections, Peer, summarise, Timing
from vla_ros.robot import RobotSpec
from vla_ros.safety import SafetyConfig, SafetyFilter
from vla_ros.types import Array

WARM = 200  # first cycles, not counted
SHORT = 2000  # cycles of a point of the growth curves
GROWTH = (10, 30, 100, 300, 1000)  # rows
OWN = 48  # rows of the headline, or the next more that whole obstacles make


class Cost(NamedTuple):
    """One line of the report."""

    rows: int
    dof: int
    obstacles: int
    filtered: float  # share of cycles in which the plan did not pass unchanged
    timing: Timing


def time_filter(recording: Recording) -> Array:
    """Return how long each `SafetyFilter.step` of a recorded stream takes, (T - WARM,) [us]."""
    safety = SafetyFilter(recording.robot, recording.config)
    micros, period = np.zeros(len(recording.ticks)), recording.config.period
    with no_collections():
        for k, (tick, plan) in enumerate(recording.replay(safety)):
            start = perf_counter_ns()
            safety.step(tick.state, plan, tick.world, tick.now, period)
            micros[k] = 1e-3 * (perf_counter_ns() - start)
    return micros[WARM:]


def beside(recording: Recording, cycles: int, peer: Callable[[], Peer]) -> Peer:
    """Run a peer with our filter on the same cycles just before and after it.

    A machine's speed changes from one minute to the next; the ratio of neighbours hardly does.
    """
    before = time_filter(recording)[:cycles]
    found = peer()
    after = time_filter(recording)[:cycles]
    return found._replace(ours_us=float(np.median(np.concatenate([before, after]))))


def cost_of(recording: Recording, obstacles: int) -> Cost:
    """Time the filter on a recording."""
    timing = summarise(time_filter(recording), recording.config.period)
    levels = np.array([seen.level for seen in recording.seen[WARM:]])
    filtered = float((levels > 0).mean())
    return Cost(recording.rows, recording.robot.dof, obstacles, filtered, timing)


def headline(robot: RobotSpec, config: SafetyConfig, ticks: int) -> tuple[Recording, int]:
    """Record the stream of the headline: everything on, at least OWN rows."""
    obstacles = obstacles_for(robot, config, OWN)
    recording = record(robot, config, obstacles, WARM + ticks)
    if recording.rows < OWN:
        obstacles += 1
        recording = record(robot, config, obstacles, WARM + ticks)
    return recording, obstacles


def growth(robot: RobotSpec, config: SafetyConfig, told: Callable[[str], None]) -> list[Cost]:
    """Time scenes of growing size; where a robot has more rows of its own, some are left out."""
    found = []
    own = len(SafetyFilter(robot, config).scene.margins)
    for rows in GROWTH:
        told(f'{rows} rows')
        few = rows < own
        arm = fewer_rows(robot, config, rows) if few else robot
        obstacles = 0 if few else obstacles_for(robot, config, rows)
        found.append(cost_of(record(arm, config, obstacles, WARM + SHORT), obstacles))
    return found


def joints(robot: RobotSpec, config: SafetyConfig, told: Callable[[str], None]) -> list[Cost]:
    """Time the robot and two of it in a row, with about as many rows."""
    found = []
    with TemporaryDirectory() as folder:
        for arm in (robot, two_in_a_row(robot, Path(folder))):
            told(f'{arm.dof} joints')
            own = len(SafetyFilter(arm, config).scene.margins)
            obstacles = obstacles_for(arm, config, max(own, 100))
            found.append(cost_of(record(arm, config, obstacles, WARM + SHORT), obstacles))
    return found
