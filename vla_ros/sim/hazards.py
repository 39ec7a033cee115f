"""Hazards: one thing that stands beside or on the path that an expert takes without it.

An episode is played once without a hazard; what the arm swept then says where a hazard goes. The
same episode and seed give the same hazard, so that cells of a table compare pair by pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.sim.layout import HALF_WIDTH, PLATE_RADIUS
from vla_ros.sim.tasks import Episode
from vla_ros.types import Array

KINDS = ('none', 'beside', 'on')
BESIDE = (0.04, 0.08)  # [m] free between the hazard and all that was swept
DEPTH = 0.02  # [m] that a hazard on the path reaches into what was swept, at least
ROOM = 0.03  # [m] free at least at the start and wherever the arm works
WORK_RADIUS = 0.025  # [m] beside the start or a working point, seen from above: the arm works
WORK_HEIGHT = 0.06  # [m] tool height below which the arm works
ASIDE = 0.01  # [m] free between the hazard and the things on the table
REGION = np.array([[0.28, 0.75], [-0.38, 0.38]])  # [m] x and y of the centre
NEAREST = 0.20  # [m] from the base's axis to the centre, at least
HEIGHTS = {'beside': (0.10, 0.35), 'on': (0.12, 0.25)}  # [m]
SPREAD = {'beside': 0.25, 'on': 0.04}  # [m] of the centre about the tool's way
TRIES = 200
START = np.array([[0.33, 0.66], [-0.36, 0.36], [0.14, 0.22]])  # [m] of the tool
FAR = 0.32  # [m] from the start to the target, at least, seen from above
CORNER = 1.42  # radius of a ball about an object, in half widths
SPACING = 0.012  # [m] between the balls that stand for a capsule


@dataclass(frozen=True)
class Sweep:
    """What an arm and the object it handled swept, as balls, at T instants."""

    tool: Array  # (T, 3) [m]
    centres: Array  # (T, N, 3) [m]
    radii: Array  # (N,) [m]


@dataclass(frozen=True)
class Hazard:
    """One thing at rest on the table, made of solids."""

    kind: str  # a word of KINDS
    solids: tuple[Obstacle, ...]
    free: float  # [m] between it and what was swept; negative on the path


def start(episode: Episode) -> tuple[float, float, float]:
    """Return where (3,) [m] the tool starts: so far away that a hazard fits in between."""
    rng = np.random.default_rng([episode.seed, len(KINDS)])
    target = np.array(episode.layout.objects[episode.target].position)
    while True:
        tool = rng.uniform(START[:, 0], START[:, 1])
        if np.linalg.norm(tool[:2] - target) >= FAR:
            return float(tool[0]), float(tool[1]), float(tool[2])


def sweep(
    robot: RobotSpec, kinematics: Kinematics, joints: Array, shape: str, target: Array
) -> Sweep:
    """Return what the capsules of an arm and its target swept.

    Args:
        robot: Names the capsules.
        kinematics: Of this robot.
        joints: (T, dof) [rad].
        shape: Of the target.
        target: (T, 3) [m] centre of the target.
    """
    tool = np.array([kinematics.fk(q)[1] for q in joints])
    centres, radii = [], []
    for capsule in robot.capsules:
        a, b = np.array(capsule.a), np.array(capsule.b)
        count = 2 + int(np.linalg.norm(b - a) / SPACING)
        local = a + np.linspace(0.0, 1.0, count)[:, None] * (b - a)
        poses = [kinematics.frame_pose(q, capsule.link) for q in joints]
        centres.append(np.array([local @ rotation.T + origin for rotation, origin in poses]))
        radii.append(np.full(count, capsule.radius))
    centres.append(target[:, None])
    radii.append(np.array([CORNER * HALF_WIDTH[shape]]))
    return Sweep(tool, np.concatenate(centres, axis=1), np.concatenate(radii))


def distance(solid: Obstacle, points: Array) -> Array:
    """Return the signed distance (...) [m] of points (..., 3) from an upright solid.

    A box is turned about z only. Inside, the distance to the nearest face, negative.
    """
    offset = points - solid.position
    if solid.shape == 'sphere':
        return np.asarray(np.linalg.norm(offset, axis=-1) - solid.size[0])
    if solid.shape == 'cylinder':
        radial = np.hypot(offset[..., 0], offset[..., 1]) - solid.size[1]
        beyond = np.stack((radial, np.abs(offset[..., 2]) - solid.size[0] / 2.0), axis=-1)
    else:
        c, s = 1.0 - 2.0 * solid.orientation[2] ** 2, 2.0 * np.prod(solid.orientation[2:])
        turned = offset @ np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        beyond = np.abs(turned) - solid.size / 2.0
    outside = np.linalg.norm(np.maximum(beyond, 0.0), axis=-1)
    return np.asarray(outside + np.minimum(beyond.max(axis=-1), 0.0))


def clearance(solids: tuple[Obstacle, ...], swept: Sweep) -> Array:
    """Return the distance (T,) [m] between solids and what was swept at each instant."""
    gaps = [(distance(solid, swept.centres) - swept.radii).min(axis=1) for solid in solids]
    return np.min(gaps, axis=0)


def place(kind: str, episode: Episode, swept: Sweep) -> Hazard | None:
    """Return the hazard of an episode, None where it has no room for one.

    Beside the path it leaves BESIDE free to all that was swept. On the path it reaches into it,
    but nowhere near the start and the places where the arm works.
    """
    rng = np.random.default_rng([episode.seed, KINDS.index(kind)])
    working = _working(episode, swept)
    passing = swept.tool[np.flatnonzero(~working)] if kind == 'on' else swept.tool
    for _ in range(TRIES if len(passing) else 0):
        tool = passing[rng.integers(len(passing))]
        centre = tool[:2] + rng.uniform(-SPREAD[kind], SPREAD[kind], 2)
        height = rng.uniform(*HEIGHTS[kind])
        solids = _thing(centre, height, rng)
        if not _stands_free(episode, centre, solids):
            continue
        gaps = clearance(solids, swept)
        free = float(gaps.min())
        if kind == 'beside' and BESIDE[0] <= free <= BESIDE[1]:
            return Hazard(kind, solids, free)
        if kind == 'on' and free <= -DEPTH and gaps[working].min() >= ROOM:
            return Hazard(kind, solids, free)
    return None


def _working(episode: Episode, swept: Sweep) -> NDArray[np.bool_]:
    """Return where (T,) the arm starts or works: there a hazard would make a task impossible."""
    points = [swept.tool[0, :2], np.array(episode.layout.objects[episode.target].position)]
    if episode.task == 'place':
        points.append(np.array(episode.layout.plate))
    near = np.linalg.norm(swept.tool[:, None, :2] - np.array(points), axis=2) < WORK_RADIUS
    return np.asarray(near.any(axis=1) | (swept.tool[:, 2] < WORK_HEIGHT), bool)


def _stands_free(episode: Episode, centre: Array, solids: tuple[Obstacle, ...]) -> bool:
    low, high = REGION.T
    if not ((low <= centre) & (centre <= high)).all() or np.linalg.norm(centre) < NEAREST:
        return False
    layout = episode.layout
    things = [(*o.position, CORNER * HALF_WIDTH[o.shape]) for o in layout.objects]
    things.append((*layout.plate, PLATE_RADIUS))
    for x, y, radius in things:
        base = np.array([x, y, 0.02])
        if min(float(distance(solid, base)) for solid in solids) < radius + ASIDE:
            return False
    return True


def _thing(centre: Array, height: float, rng: np.random.Generator) -> tuple[Obstacle, ...]:
    """Draw a box, a cylinder or a ball on a post, 6 to 10 cm wide, standing on the table."""
    width = float(rng.uniform(0.06, 0.10))
    kind = str(rng.choice(('box', 'cylinder', 'ball')))
    if kind == 'box':
        yaw = float(rng.uniform(-np.pi, np.pi))
        size = (width, float(rng.uniform(0.06, 0.10)), height)
        return (_solid('box', 'box', size, centre, height / 2.0, yaw),)
    if kind == 'cylinder':
        return (_solid('cylinder', 'cylinder', (height, width / 2.0), centre, height / 2.0),)
    ball, post = height - width / 2.0, height - width
    return (
        _solid('ball', 'sphere', (width / 2.0,), centre, ball),
        _solid('post', 'cylinder', (post, 0.012), centre, post / 2.0),
        _solid('foot', 'cylinder', (0.012, 0.03), centre, 0.006),
    )


def _solid(
    name: str, shape: str, size: tuple[float, ...], centre: Array, z: float, yaw: float = 0.0
) -> Obstacle:
    return Obstacle(
        name=f'hazard_{name}',
        shape=shape,
        size=np.array(size),
        position=np.array([*centre, z]),
        orientation=np.array([0.0, 0.0, np.sin(yaw / 2.0), np.cos(yaw / 2.0)]),
        linear_velocity=np.zeros(3),
        angular_velocity=np.zeros(3),
    )
