"""Hazards: what may stand in the way of an arm, or move into it.

A hazard is one body or several, each made of upright solids. All but the hand stand free on the
table and give way to a push; the hand moves as it likes and nothing stops it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from vla_ros.obstacle import Obstacle
from vla_ros.types import Array

LEVELS = 2  # 1 easier: farther, lower, slower; 2 harder
HAZARD = 'hazard'  # bodies are hazard0, hazard1, ...
ACCELERATION = 1.0  # [m/s^2] of a hand that starts or stops
FOREARM = 0.24  # [m] behind the hand
LOWEST = 0.13  # [m] height of a hand's centre, at least: above the things on the table

Body = tuple[Obstacle, ...]


@dataclass(frozen=True)
class Motion:
    """In along a line, a pause, and back, at even speed with even starts and stops."""

    direction: Array  # (3,) unit vector
    length: float  # [m]
    speed: float  # [m/s]
    begin: float  # [s]; before 0: it is under way when the episode begins
    pause: float  # [s]

    @property
    def way(self) -> float:
        """Time in one direction [s]."""
        return self.length / self.speed + self.speed / ACCELERATION

    @property
    def end(self) -> float:
        """When it is back [s]."""
        return self.begin + 2.0 * self.way + self.pause

    def at(self, now: float) -> tuple[float, float]:
        """Return how far in [m] it is at a time [s], and its speed inwards [m/s]."""
        since = now - self.begin
        if since <= self.way + self.pause:
            return self._inwards(min(since, self.way))
        place, speed = self._inwards(2.0 * self.way + self.pause - since)
        return place, -speed

    def _inwards(self, since: float) -> tuple[float, float]:
        rise, left = self.speed / ACCELERATION, self.way - since
        if since <= 0.0 or left <= 0.0:
            return (0.0 if since <= 0.0 else self.length), 0.0
        if since < rise:
            return ACCELERATION * since**2 / 2.0, ACCELERATION * since
        if left < rise:
            return self.length - ACCELERATION * left**2 / 2.0, ACCELERATION * left
        return self.speed * (since - rise / 2.0), self.speed


@dataclass(frozen=True)
class Hazard:
    """What is in the way of one episode."""

    kind: str  # a key of THINGS
    level: int  # 1 easier, 2 harder
    bodies: tuple[Body, ...]  # at rest, or of a hand when it is not yet in
    free: float  # [m] between it and what was swept without it; negative on the path
    motion: Motion | None = None  # of all bodies

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its bodies."""
        return tuple(f'{HAZARD}{i}' for i in range(len(self.bodies)))

    @property
    def end(self) -> float:
        """When it no longer moves [s]."""
        return self.motion.end if self.motion is not None else 0.0

    def at(self, now: float) -> Body:
        """Return all its solids as they are at a time [s], unless they were pushed."""
        solids = sum(self.bodies, ())
        if self.motion is None:
            return solids
        place, speed = self.motion.at(now)
        direction, bound = self.motion.direction, 0.0 if now >= self.end else ACCELERATION
        return tuple(
            replace(
                solid,
                position=solid.position + place * direction,
                linear_velocity=speed * direction,
                acceleration=bound,
            )
            for solid in solids
        )


@dataclass(frozen=True)
class Spot:
    """A place on the way, where something is put."""

    centre: Array  # (2,) [m] of what is put there
    tool: Array  # (3,) [m] when the arm passes without it
    heading: float  # [rad] of the tool, seen from above
    time: float  # [s] when it passes


Thing = tuple[tuple[Body, ...], Motion | None]


def thing(spot: Spot, level: int, height: tuple[float, float], rng: np.random.Generator) -> Thing:
    """Draw a box, a cylinder or a ball on a post, standing on the table."""
    widths = ((0.05, 0.07), (0.06, 0.10))[level - 1]  # [m]
    width, high, centre = rng.uniform(*widths), rng.uniform(*height), spot.centre
    shape = str(rng.choice(('box', 'cylinder', 'ball')))
    if shape == 'box':
        size, yaw = (width, rng.uniform(*widths), high), rng.uniform(-np.pi, np.pi)
        return ((_solid('box', 'box', size, centre, high / 2.0, yaw),),), None
    if shape == 'cylinder':
        body = (_solid('cylinder', 'cylinder', (high, width / 2.0), centre, high / 2.0),)
        return (body,), None
    ball, post = high - width / 2.0, high - width
    parts = (
        _solid('ball', 'sphere', (width / 2.0,), centre, ball),
        _solid('post', 'cylinder', (post, 0.012), centre, post / 2.0),
        _solid('foot', 'cylinder', (0.012, 0.03), centre, 0.006),
    )
    return (parts,), None


def beside(spot: Spot, level: int, rng: np.random.Generator) -> Thing:
    """Draw a thing that may be taller than the arm's way."""
    return thing(spot, level, (0.10, 0.35), rng)


def on(spot: Spot, level: int, rng: np.random.Generator) -> Thing:
    """Draw a thing that blocks the way, at level 1 a lower and more slender one."""
    return thing(spot, level, ((0.13, 0.20), (0.12, 0.25))[level - 1], rng)


def tower(spot: Spot, level: int, rng: np.random.Generator) -> Thing:
    """Draw light blocks that stand on each other, at level 2 more and smaller ones."""
    count, widths = ((3, (0.055, 0.065)), (4, (0.045, 0.055)))[level - 1]
    bodies, top = [], 0.0
    for index in range(count):
        width = rng.uniform(*widths)
        size = (width, width, width)
        yaw = rng.uniform(-0.3, 0.3)
        bodies.append((_solid(f'block{index}', 'box', size, spot.centre, top + width / 2.0, yaw),))
        top += width
    return tuple(bodies), None


def shelf(spot: Spot, level: int, rng: np.random.Generator) -> Thing:
    """Draw a board on two posts across the way, at level 2 a higher and wider one."""
    lengths, heights = (((0.13, 0.16), (0.14, 0.18)), ((0.18, 0.22), (0.17, 0.22)))[level - 1]
    length, high, deep, thick = rng.uniform(*lengths), rng.uniform(*heights), 0.06, 0.016
    yaw = spot.heading + np.pi / 2.0 + rng.uniform(-0.4, 0.4)
    along = np.array([np.cos(yaw), np.sin(yaw)])
    parts = [_solid('board', 'box', (length, deep, thick), spot.centre, high - thick / 2.0, yaw)]
    for name, side in (('left', -0.5), ('right', 0.5)):
        foot = spot.centre + side * (length - thick) * along
        size = (thick, deep, high - thick)
        parts.append(_solid(name, 'box', size, foot, (high - thick) / 2.0, yaw))
    return (tuple(parts),), None


def hand(spot: Spot, level: int, rng: np.random.Generator) -> Thing:
    """Draw a hand on a forearm that comes in from the side as the tool would pass."""
    speeds, pauses = (((0.10, 0.15), (0.5, 1.0)), ((0.25, 0.35), (1.0, 2.0)))[level - 1]
    yaw = spot.heading + rng.choice((-0.5, 0.5)) * np.pi + rng.uniform(-0.3, 0.3)
    ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    length = rng.uniform(0.22, 0.30)
    motion = Motion(ahead, length, rng.uniform(*speeds), 0.0, rng.uniform(*pauses))
    motion = replace(motion, begin=spot.time + rng.uniform(-0.6, 0.2) - motion.way)
    high = max(LOWEST, spot.tool[2] + rng.uniform(-0.04, 0.04))
    palm = spot.centre - length * ahead[:2]
    wrist = palm - (0.05 + FOREARM / 2.0) * ahead[:2]
    parts = (
        _solid('palm', 'box', (0.10, 0.085, 0.04), palm, high, yaw),
        _solid('forearm', 'box', (FOREARM, 0.065, 0.065), wrist, high, yaw),
    )
    return (parts,), motion


THINGS: dict[str, Callable[[Spot, int, np.random.Generator], Thing]] = {
    'beside': beside,
    'on': on,
    'hand': hand,
    'tower': tower,
    'shelf': shelf,
}


def _solid(
    name: str, shape: str, size: tuple[float, ...], centre: Array, z: float, yaw: float = 0.0
) -> Obstacle:
    return Obstacle(
        name=f'{HAZARD}_{name}',
        shape=shape,
        size=np.array(size),
        position=np.array([*centre, z]),
        orientation=np.array([0.0, 0.0, np.sin(yaw / 2.0), np.cos(yaw / 2.0)]),
    )
