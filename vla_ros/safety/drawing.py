"""Marks of solids, lines, arrows and words."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from vla_ros.mark import Colour, Form, Mark
from vla_ros.obstacle import Obstacle
from vla_ros.safety.distance import BOX, PLANE, SEGMENT
from vla_ros.safety.world import quaternion_of
from vla_ros.types import Array

SHEET = (2.0, 2.0, 0.002)  # [m] how much of a plane is drawn, and how thick
LINE = 0.003  # [m] width
ROUND = 2  # steps of a quarter of a circle
STRAIGHT = 1e-9  # [m] a shorter segment is a point


def body(
    space: str, number: int, colour: Colour, kind: int, centre: Array, turn: Array, half: Array,
    radius: float,
) -> list[Mark]:  # fmt: skip
    """Return the marks, two numbers at most, of all points within `radius` of a core solid.

    Args:
        space: Of the marks.
        number: Of the first of them.
        colour: Of all of them.
        kind: SEGMENT, BOX or PLANE.
        centre: (3,) [m].
        turn: (3, 3) rotation; a segment lies along its z, a plane faces that way.
        half: (3,) [m] half edges; of a segment only the third.
        radius: [m]
    """
    if kind == PLANE:
        place = centre + (radius - SHEET[2] / 2.0) * turn[:, 2]
        return [_mark(space, number, Form.BOX, colour, SHEET, place, turn)]
    if kind == BOX and radius == 0.0:
        return [_mark(space, number, Form.BOX, colour, 2.0 * half, centre, turn)]
    if kind == BOX:
        points = rounded(tuple(half.tolist()), radius)
        mark = _mark(space, number, Form.TRIANGLES, colour, np.ones(3), centre, turn)
        return [replace(mark, points=points)]
    reach = half[2] * turn[:, 2]
    return capsule(space, number, colour, centre - reach, centre + reach, radius)


def shape(
    space: str, number: int, colour: Colour, obstacle: Obstacle, centre: Array, turn: Array
) -> list[Mark]:
    """Return the marks, two numbers at most, of an obstacle as it was reported, at a place."""
    size, point = obstacle.size, np.zeros(3)
    if obstacle.shape == 'plane':
        return body(space, number, colour, PLANE, centre, turn, point, 0.0)
    if obstacle.shape == 'box':
        return body(space, number, colour, BOX, centre, turn, size / 2.0, 0.0)
    if obstacle.shape == 'sphere':
        return body(space, number, colour, SEGMENT, centre, turn, point, float(size[0]))
    height, radius = size.tolist()
    if obstacle.shape == 'cylinder':
        edges = (2.0 * radius, 2.0 * radius, height)
        return [_mark(space, number, Form.CYLINDER, colour, edges, centre, turn)]
    half = np.array([0.0, 0.0, height / 2.0])
    return body(space, number, colour, SEGMENT, centre, turn, half, radius)


def capsule(
    space: str, number: int, colour: Colour, a: Array, b: Array, radius: float
) -> list[Mark]:
    """Return a cylinder from a (3,) to b (3,) [m] and the balls at its ends, as two marks."""
    width, length = 2.0 * radius, float(np.linalg.norm(b - a))
    balls = np.stack([a, b]) if length > STRAIGHT else a[None]
    marks = [Mark(space, number + 1, Form.SPHERES, colour, np.full(3, width), points=balls)]
    if length > STRAIGHT:
        size, turn = np.array([width, width, length]), along((b - a) / length)
        marks.append(Mark(space, number, Form.CYLINDER, colour, size, (a + b) / 2.0, turn))
    return marks


def line(space: str, number: int, colour: Colour, a: Array, b: Array) -> Mark:
    """Return a line between two points (3,) [m]."""
    size = np.array([LINE, 0.0, 0.0])
    return Mark(space, number, Form.LINES, colour, size, points=np.stack([a, b]))


def arrow(space: str, number: int, colour: Colour, a: Array, b: Array, width: float) -> Mark:
    """Return an arrow from a (3,) to b (3,) [m]; `width` [m] of its shaft."""
    size = np.array([width, 2.5 * width, min(3.0 * width, 0.5 * float(np.linalg.norm(b - a)))])
    return Mark(space, number, Form.ARROW, colour, size, points=np.stack([a, b]))


def words(space: str, number: int, colour: Colour, place: Array, text: str, height: float) -> Mark:
    """Return words that face the viewer, with capital letters of a height [m]."""
    size = np.array([0.0, 0.0, height])
    return Mark(space, number, Form.TEXT, colour, size, place, text=text)


def along(direction: Array) -> Array:
    """Return the quaternion xyzw (4,) of the shortest turn from z to a unit vector (3,)."""
    x, y, z = direction.tolist()
    rise = 1.0 + z if z > 0.0 else (x * x + y * y) / (1.0 - z)  # 1 + z, without its rounding
    if rise == 0.0:  # half a turn, about any axis across
        return np.array([1.0, 0.0, 0.0, 0.0])
    turn = np.array([-y, x, 0.0, rise])
    return turn / np.sqrt(2.0 * rise)


@lru_cache(maxsize=256)
def rounded(half: tuple[float, float, float], radius: float) -> Array:
    """Return triangles (3 k, 3) [m] around a box: corners on the surface `radius` away from it.

    Each corner of the box carries an eighth of a ball, in steps of 45 degrees; flat stripes and
    sides join them.
    """
    quarter = np.linspace(0.0, np.pi / 2.0, ROUND + 1)
    longitude = np.concatenate([quarter + k * np.pi / 2.0 for k in range(4)])
    latitude = np.concatenate([quarter - np.pi / 2.0, quarter])
    right = np.repeat([[1, 1], [-1, 1], [-1, -1], [1, -1]], ROUND + 1, axis=0)
    up = np.repeat([-1, 1], ROUND + 1)
    grid = np.empty((len(latitude), len(longitude), 3))
    grid[..., 0] = radius * np.cos(latitude)[:, None] * np.cos(longitude) + half[0] * right[:, 0]
    grid[..., 1] = radius * np.cos(latitude)[:, None] * np.sin(longitude) + half[1] * right[:, 1]
    grid[..., 2] = (radius * np.sin(latitude) + half[2] * up)[:, None]
    after = np.roll(grid, -1, axis=1)  # counterclockwise from outside
    squares = [np.stack([grid[:-1], after[:-1], after[1:], grid[1:]], axis=2).reshape(-1, 4, 3)]
    side = grid[:, :: ROUND + 1]  # one of each corner
    squares.append(np.stack([side[0, ::-1], side[-1]]))
    corners = np.concatenate(squares)[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return corners[np.linalg.norm(normal, axis=1) > 1e-12].reshape(-1, 3)


def _mark(
    space: str, number: int, form: Form, colour: Colour, size: ArrayLike, place: Array, turn: Array
) -> Mark:
    return Mark(space, number, form, colour, np.array(size), place, quaternion_of(turn))
