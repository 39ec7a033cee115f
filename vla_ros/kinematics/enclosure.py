"""The proof that capsules enclose a solid, which knows nothing of how they were fitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vla_ros.kinematics.solids import Solid
from vla_ros.types import Array

DEEPEST = 40  # halvings of a triangle before it counts as its corners say
KNOWN = 1e-6  # [m]


class Fit(NamedTuple):
    """A capsule in the frame of a link."""

    a: Array  # (3,) [m] one end of the segment
    b: Array  # (3,) [m] other end
    radius: float  # [m]

    @property
    def volume(self) -> float:
        """Return pi r^2 |b - a| + 4/3 pi r^3 [m^3]."""
        length = float(np.linalg.norm(self.b - self.a))
        return float(np.pi * self.radius**2 * (length + 4.0 / 3.0 * self.radius))


def distance_to_segment(points: Array, a: Array, b: Array) -> Array:
    """Return the distances of points (..., 3) from the segment between a and b (3,) [m]."""
    way = b - a
    square = float(way @ way)
    share = np.clip((points - a) @ way / square, 0.0, 1.0) if square > 0.0 else np.zeros(1)
    return np.linalg.norm(points - a - share[..., None] * way, axis=-1)


def sticks_out(solid: Solid, capsules: Sequence[Fit]) -> float:
    """Return a bound of how far any point of a solid is outside of every capsule [m].

    At most 0 is a proof of enclosure. A capsule is convex: a triangle whose corners it holds lies
    in it, and no point of a triangle is further out than its furthest corner. What is not held is
    halved along its longest edge until each piece has one capsule to itself, or is known within
    `KNOWN` of the furthest point.
    """
    if not capsules:
        return np.inf
    pending, radius = solid.triangles, solid.radius
    bound = furthest = -np.inf
    for depth in range(DEEPEST + 1):
        each = np.array([distance_to_segment(pending, c.a, c.b) - c.radius for c in capsules])
        beyond = each.max(axis=2).min(axis=0) + radius  # (T,) at most
        furthest = max(furthest, float((each.min(axis=0).max(axis=1) + radius).max()))
        done = (beyond <= max(0.0, furthest + KNOWN)) | (depth == DEEPEST)
        bound = max(bound, float(np.max(beyond, where=done, initial=-np.inf)))
        pending, radius = _halves(pending[~done]), np.repeat(radius[~done], 2)
        if not len(pending):
            break
    return bound


def _halves(triangles: Array) -> Array:
    """Return both halves (2 T, 3, 3) of triangles (T, 3, 3), cut at the middle of an edge."""
    edges = np.linalg.norm(triangles - np.roll(triangles, -1, axis=1), axis=2)
    order = (np.argmax(edges, axis=1)[:, None] + np.arange(3)) % 3
    p, q, r = np.take_along_axis(triangles, order[:, :, None], axis=1).transpose(1, 0, 2)
    middle = 0.5 * (p + q)
    return np.stack((np.stack((p, middle, r), 1), np.stack((middle, q, r), 1)), 1).reshape(
        -1, 3, 3
    )
