"""Where a hazard goes: beside or on the path that an expert takes without it.

An episode is played once without a hazard; what the arm swept then says where one goes. The same
episode, kind and level give the same hazard, so that cells of a table compare pair by pair.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vla_ros.obstacle import Obstacle
from vla_ros.sim.hazards import Hazard, Motion, Spot, THINGS
from vla_ros.sim.layout import HALF_WIDTH, PLATE_RADIUS
from vla_ros.sim.swept import clearance, CORNER, distance, Sweep
from vla_ros.sim.tasks import Episode
from vla_ros.types import Array

ON = (-math.inf, -0.02)  # [m] between what was swept and a hazard that reaches into it
FREE = {  # (kind, level) -> [m] between the hazard and all that was swept, least and most
    ('beside', 1): (0.08, 0.14),
    ('beside', 2): (0.04, 0.08),
    ('on', 1): (-0.06, -0.01),
    ('tower', 1): (0.03, 0.06),
}
SPREAD = 0.25  # [m] of a centre beside the path about the tool's way
SPREAD_ON = 0.04  # [m] of one on it
ROOM = 0.03  # [m] free at least at the start and wherever the arm works
WORK_RADIUS = 0.025  # [m] beside the start or a working point, seen from above: the arm works
WORK_HEIGHT = 0.06  # [m] tool height below which the arm works
ASIDE = 0.01  # [m] free between the hazard and the things on the table
REGION = np.array([[0.28, 0.75], [-0.38, 0.38]])  # [m] x and y of the centre
NEAREST = 0.20  # [m] from the base's axis to the centre, at least
TRIES = 100
THIN = 5  # every so many instants
STAGES = 9  # places of a hand on its way at which room is looked for
START = np.array([[0.33, 0.66], [-0.36, 0.36], [0.14, 0.22]])  # [m] of the tool
FAR = 0.32  # [m] from the start to the target, at least, seen from above
START_STREAM = 3  # of random numbers; hazards have more words after the seed


def start(episode: Episode) -> tuple[float, float, float]:
    """Return where (3,) [m] the tool starts: so far away that a hazard fits in between."""
    rng = np.random.default_rng([episode.seed, START_STREAM])
    target = np.array(episode.layout.objects[episode.target].position)
    while True:
        tool = rng.uniform(START[:, 0], START[:, 1])
        if np.linalg.norm(tool[:2] - target) >= FAR:
            return float(tool[0]), float(tool[1]), float(tool[2])


def place(kind: str, level: int, episode: Episode, swept: Sweep) -> Hazard | None:
    """Return the hazard of an episode, None where it has no room for one.

    Beside the path it leaves FREE to all that was swept. On the path it reaches into it, but
    comes nowhere near the start and the places where the arm works.
    """
    rng = np.random.default_rng([episode.seed, *kind.encode(), level])
    working = _working(episode, swept)
    least, most = FREE.get((kind, level), ON)
    spread = SPREAD if least > 0.0 else SPREAD_ON
    passing = np.arange(len(working)) if least > 0.0 else np.flatnonzero(~working)
    coarse = swept.thinned(THIN)  # most places are refused at a look at fewer instants
    for _ in range(TRIES if len(passing) else 0):
        spot = _spot(swept, int(rng.choice(passing)), spread, rng)
        bodies, motion = THINGS[kind](spot, level, rng)
        there = _stages(Hazard(kind, level, bodies, 0.0, motion))
        if not _inside(spot.centre) or not _stands_free(episode, there[-1]):
            continue
        gaps = clearance(there[-1], coarse)
        if gaps.min() < least or gaps[working[::THIN]].min() < ROOM:
            continue
        free = float(clearance(there[-1], swept).min())
        if not least <= free <= most:
            continue
        if all(clearance(solids, swept)[working].min() >= ROOM for solids in there):
            return Hazard(kind, level, bodies, free, motion)
    return None


def _spot(swept: Sweep, index: int, spread: float, rng: np.random.Generator) -> Spot:
    tool = swept.tool[index]
    way = swept.tool[min(index + 3, len(swept.tool) - 1)] - swept.tool[max(index - 3, 0)]
    centre = tool[:2] + rng.uniform(-spread, spread, 2)
    return Spot(centre, tool, math.atan2(way[1], way[0]), float(swept.times[index]))


def _stages(hazard: Hazard) -> list[tuple[Obstacle, ...]]:
    """Return its solids in every place that they take, the farthest in last."""
    motion: Motion | None = hazard.motion
    if motion is None:
        return [hazard.at(0.0)]
    return [hazard.at(motion.begin + share * motion.way) for share in np.linspace(0, 1, STAGES)]


def _working(episode: Episode, swept: Sweep) -> NDArray[np.bool_]:
    """Return where (T,) the arm starts or works: there a hazard would make a task impossible."""
    points = [swept.tool[0, :2], np.array(episode.layout.objects[episode.target].position)]
    if episode.task == 'place':
        points.append(np.array(episode.layout.plate))
    if episode.support is not None:
        points.append(np.array(episode.layout.objects[episode.support].position))
    near = np.linalg.norm(swept.tool[:, None, :2] - np.array(points), axis=2) < WORK_RADIUS
    return np.asarray(near.any(axis=1) | (swept.tool[:, 2] < WORK_HEIGHT), bool)


def _inside(centre: Array) -> bool:
    low, high = REGION.T
    return bool(((low <= centre) & (centre <= high)).all() and np.linalg.norm(centre) >= NEAREST)


def _stands_free(episode: Episode, solids: tuple[Obstacle, ...]) -> bool:
    """Tell whether solids keep ASIDE from the things on the table."""
    layout = episode.layout
    things = [(*o.position, CORNER * HALF_WIDTH[o.shape]) for o in layout.objects]
    things.append((*layout.plate, PLATE_RADIUS))
    for x, y, radius in things:
        base = np.array([x, y, 0.02])
        if min(float(distance(solid, base)) for solid in solids) < radius + ASIDE:
            return False
    return True
