"""Capsules that enclose a solid, so that an arm can carry it as part of itself."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.obstacle import Obstacle
from vla_ros.safety.world import rotation
from vla_ros.types import Array

MOST = 4  # capsules side by side in a flat solid
SIDES = 8  # of the prism that stands for a cylinder where corners count


class Hull(NamedTuple):
    """What stands for a solid: capsules that hold all of it, and segments that span it."""

    body: Array  # (c, 2, 3) [m] ends of the capsules
    radius: float  # [m] of the capsules
    excess: float  # [m] no point of them is further than this from the solid
    outline: Array  # (e, 2, 3) [m] segments whose convex hull holds the solid; none if body is it
    slack: float  # [m] radius of the segments


def enclose(obstacle: Obstacle) -> Hull:
    """Return the hull of an obstacle in the frame of its pose, grown by its uncertainty.

    A box is cut along its middle edge into slabs about as wide as thick. In each lies a capsule
    along the longest edge, of half length l - m and radius |(m, w, t)|, with l, w, t the slab's
    half edges and m = min(w, t): it holds the corners, and sticks out by radius - m at its ends
    as at its sides. A cylinder is a ring in place of corners, or a box if it is flat.
    """
    size, shape = obstacle.size, obstacle.shape
    none = np.zeros((0, 2, 3))
    if shape in ('sphere', 'capsule'):
        half = 0.0 if shape == 'sphere' else size[0] / 2.0
        ends, radius, excess = np.array([[[0.0, 0.0, -half], [0.0, 0.0, half]]]), size[-1], 0.0
        outline = none
    elif shape == 'cylinder' and size[0] >= 2.0 * size[1]:
        half, radius = size[0] / 2.0 - size[1], np.sqrt(2.0) * size[1]
        ends, excess = np.array([[[0.0, 0.0, -half], [0.0, 0.0, half]]]), radius - size[1]
        outline = _prism(*size)
    else:
        edges = size if shape == 'box' else np.array([2 * size[1], 2 * size[1], size[0]])
        ends, radius, excess = _slabs(edges / 2.0)
        if shape == 'box':
            outline = _edges(edges / 2.0)
        else:
            outline, excess = _prism(*size), excess + (np.sqrt(2.0) - 1.0) * size[1]
    turn, sure = rotation(obstacle.orientation), obstacle.uncertainty
    return Hull(
        ends @ turn.T + obstacle.position,
        float(radius) + sure,
        float(excess),
        outline @ turn.T + obstacle.position,
        sure,
    )


def _slabs(half: Array) -> tuple[Array, float, float]:
    """Return ends (c, 2, 3), radius and excess of the capsules of a box of half edges (3,)."""
    thin, middle, longest = np.argsort(half, kind='stable')
    count = int(np.clip(round(half[middle] / half[thin]), 1, MOST))
    width = half[middle] / count
    least = min(width, half[thin])
    length, radius = half[longest] - least, float(np.hypot(np.hypot(least, width), half[thin]))
    ends = np.zeros((count, 2, 3))
    ends[:, 0, longest], ends[:, 1, longest] = -length, length
    ends[:, :, middle] = (-half[middle] + width * (2 * np.arange(count) + 1))[:, None]
    return ends, radius, radius - least


def _edges(half: Array) -> Array:
    """Return the four longest edges (4, 2, 3) of a box."""
    thin, middle, longest = np.argsort(half, kind='stable')
    edges = np.zeros((4, 2, 3))
    edges[:, 0, longest], edges[:, 1, longest] = -half[longest], half[longest]
    for k, (u, v) in enumerate(((-1, -1), (-1, 1), (1, -1), (1, 1))):
        edges[k, :, thin], edges[k, :, middle] = u * half[thin], v * half[middle]
    return edges


def _prism(height: float, radius: float) -> Array:
    """Return the long edges (SIDES, 2, 3) of a prism around a cylinder."""
    angle = 2.0 * np.pi * np.arange(SIDES) / SIDES
    corner = radius / np.cos(np.pi / SIDES) * np.array([np.cos(angle), np.sin(angle)])
    edges = np.zeros((SIDES, 2, 3))
    edges[:, :, :2] = corner.T[:, None]
    edges[:, 0, 2], edges[:, 1, 2] = -height / 2.0, height / 2.0
    return edges
