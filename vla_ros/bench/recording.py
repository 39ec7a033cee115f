"""Recorded command streams: what the filter is given, tick by tick, in a scene.

A made-up policy sends a chunk every 100 ms towards a goal that lies near or inside something, so
that a good part of the ticks is filtered. Recorded once, the same stream is given to everyone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
import math
from typing import NamedTuple

import numpy as np

from vla_ros.actions import Plan
from vla_ros.errors import ShapeError
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.safety import SafetyConfig, SafetyFilter, World
from vla_ros.types import Array, JointState, Trajectory

CHUNK = 20  # ticks between two chunks
GOAL = 240  # ticks between two goals
REPORT = 7  # ticks between two reports of the obstacles: 30 Hz
AWAY = 0.9  # [rad] furthest goal from home
PACE = 0.6  # of the velocity limit that the made-up policy asks for
ROOM = 0.03  # [m] barrier at the start
START = 100.0  # [s] ROS time


class Tick(NamedTuple):
    """What goes into one cycle."""

    now: float  # [s] ROS time
    state: JointState
    chunk: Trajectory | None  # arrives before the cycle
    world: World


class Seen(NamedTuple):
    """What came of it, for the peers."""

    position: Array  # (dof,) [rad] reference before the cycle
    velocity: Array  # (dof,) [rad/s]
    acceleration: Array  # (dof,) [rad/s^2] of the cycle before
    wanted: Array  # (dof,) [rad/s] the plan's velocity
    level: int


@dataclass(frozen=True)
class Recording:
    """One stream in one scene."""

    robot: RobotSpec
    config: SafetyConfig
    ticks: tuple[Tick, ...]
    seen: tuple[Seen, ...]
    rows: int  # distances that one cycle computes

    def replay(self, safety: SafetyFilter) -> Iterator[tuple[Tick, Plan]]:
        """Yield each tick with its plan, for a caller that then steps the filter."""
        start, grippers = self.robot.ready, len(self.robot.grippers)
        safety.reset(start)
        plan = Plan(len(start), grippers, accel=self.robot.limits('acceleration'))
        plan.reset(START)
        for tick in self.ticks:
            if tick.chunk is not None:
                plan.accept(tick.chunk, tick.now, tick.state.position)
            yield tick, plan


def record(
    robot: RobotSpec, config: SafetyConfig, obstacles: int, ticks: int, seed: int = 0
) -> Recording:
    """Let the filter follow a made-up policy among solids and note what it was given.

    Raises:
        ShapeError: No free places were found for so many obstacles.
    """
    rng = np.random.default_rng(seed)
    safety = SafetyFilter(robot, config)
    solids = _solids(robot, safety, obstacles, rng)
    n, home = robot.dof, np.array(robot.home)
    position = robot.ready
    safety.reset(position)
    plan = Plan(len(position), len(robot.grippers))
    plan.reset(START)
    noted, seen = [], []
    velocity, acceleration, world = np.zeros(n), np.zeros(n), World()
    for k in range(ticks):
        now = START + (k + 1) * config.period
        if k % REPORT == 0:
            world = _world(solids, now)
        if k % GOAL == 0:
            away = rng.uniform(-AWAY, AWAY, n)
            goal = np.clip(home + away, robot.limits('lower'), robot.limits('upper'))
            begin, since = position, now
        chunk = _towards(begin, goal, now, now - since, robot) if k % CHUNK == 0 else None
        if chunk is not None:
            plan.accept(chunk, now, position)
        state = JointState(now, position, np.zeros(len(position)))
        result = safety.step(state, plan, world, now, config.period)
        assert result.command is not None
        noted.append(Tick(now, state, chunk, world))
        wanted = result.nominal_velocity[:n]
        seen.append(Seen(position[:n], velocity, acceleration, wanted, int(result.level)))
        following = result.filtered_velocity[:n]
        acceleration, velocity = (following - velocity) / config.period, following
        position = result.command.positions[0]
    return Recording(robot, config, tuple(noted), tuple(seen), len(safety.scene.margins))


def fewer_rows(robot: RobotSpec, config: SafetyConfig, rows: int) -> RobotSpec:
    """Return the robot with fewer of its own pairs checked, for `rows` rows without obstacles."""
    own = SafetyFilter(robot, config).scene.model.names
    floor = sum(name.endswith('/floor') for name in own)
    pairs = [tuple(name.split('/')) for name in own if not name.endswith('/floor')]
    dropped = [(a, b) for a, b in pairs[max(rows - floor, 0) :]]
    return replace(robot, ignored_pairs=(*robot.ignored_pairs, *dropped))


def obstacles_for(robot: RobotSpec, config: SafetyConfig, rows: int) -> int:
    """Return how many obstacles bring the rows nearest to `rows`; at least one."""
    model = SafetyFilter(robot, config).scene.model
    return max(1, round((rows - len(model.names)) / len(model.arm.moving)))


def _towards(begin: Array, goal: Array, now: float, since: float, robot: RobotSpec) -> Trajectory:
    """Return the next 0.5 s of a smooth way to a goal (dof,) that began `since` [s] ago."""
    way = goal - begin[: robot.dof]
    fastest = float((np.abs(way) / robot.limits('velocity')).max())
    seconds = max(0.5 * math.pi * fastest / PACE, 0.1)
    times = np.arange(16) / 30.0
    share = np.minimum((since + times) / seconds, 1.0)
    points = np.tile(begin, (len(times), 1))
    points[:, : robot.dof] += np.outer(0.5 - 0.5 * np.cos(math.pi * share), way)
    return Trajectory(now, times, points)


def _solids(
    robot: RobotSpec, safety: SafetyFilter, count: int, rng: np.random.Generator
) -> list[Obstacle]:
    """Draw balls and capsules around the arm, none of them near its home; the first one moves."""
    found: list[Obstacle] = []
    for k in range(100 * count):
        if len(found) == count:
            return found
        radius, angle = rng.uniform(0.45, 0.9), rng.uniform(-math.pi, math.pi)
        centre = np.array([radius * math.cos(angle), radius * math.sin(angle), 0.0])
        centre[2] = rng.uniform(0.1, 0.9)
        if not found:
            centre = np.array([0.55, 0.35, 0.3])
        turn = rng.normal(size=4)
        ball = k % 2 == 0
        size = rng.uniform(0.03, 0.07, 1) if ball else np.array([0.15, rng.uniform(0.02, 0.05)])
        solid = Obstacle(
            f'solid_{len(found)}',
            'sphere' if ball else 'capsule',
            size,
            centre,
            turn / np.linalg.norm(turn),
            uncertainty=0.005,
            acceleration=0.05 if not found else 0.0,
        )
        if _barrier(safety, robot, (solid,)) > ROOM:
            found.append(solid)
    if len(found) == count:
        return found
    raise ShapeError(f'{len(found)} of {count} obstacles found a free place; ask for fewer.')


def _barrier(safety: SafetyFilter, robot: RobotSpec, solids: tuple[Obstacle, ...]) -> float:
    """Return the smallest barrier at home [m]."""
    safety.scene.set_world(World(0.0, solids))
    rows = safety.scene.rows(np.array(robot.home), 0.0)
    return float((rows.clearance - safety.scene.margins).min())


def _world(solids: list[Obstacle], now: float) -> World:
    """Return the obstacles at `now` [s]: the first one swings by 0.1 m at 0.5 rad/s."""
    if not solids:
        return World(now)
    angle = 0.5 * (now - START)
    first = replace(
        solids[0],
        position=solids[0].position + np.array([0.0, 0.1 * math.sin(angle), 0.0]),
        linear_velocity=np.array([0.0, 0.05 * math.cos(angle), 0.0]),
    )
    return World(now, (first, *solids[1:])).prepared()
