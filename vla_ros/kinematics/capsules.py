"""Fits a few capsules of little volume around a solid.

One capsule: over the direction and place of its axis and its radius, the two ends follow in closed
form. Several: the triangles are cut by a plane, each side gets a capsule of its own, and both
pieces of a cut triangle lie in the capsules of their sides, so that no point is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.spatial import ConvexHull, QhullError

from vla_ros.errors import KinematicsError
from vla_ros.kinematics.enclosure import distance_to_segment, Fit, sticks_out
from vla_ros.kinematics.solids import Solid
from vla_ros.types import Array

MOST = 3  # capsules of one link, if not told otherwise
GAIN = 0.15  # share of the volume that one more capsule must save, if not told otherwise
GRAIN = 1e-4  # [m] to which a capsule is rounded
LAP = 2e-5  # [m] by which a capsule reaches beyond what it encloses
CUTS = (0.2, 0.35, 0.5, 0.65, 0.8)  # of the extent along a normal, where planes are tried
TRIED = 2  # cuts that look best, which are worked out
WIDER = np.array([1.0, 1.03, 1.1, 1.25, 1.5])  # radii that are tried, times the least
FIRST_STEPS = (0.1, 0.1, 0.05, 0.05, 0.1)  # of the search: turns, shifts, widening
STEPS = 200  # of the search for one axis
CELLS = 40  # of the grid of the search, along the longest side


def fit_capsules(solid: Solid, most: int = MOST, gain: float = GAIN) -> tuple[Fit, ...]:
    """Return capsules whose union holds every point of a solid, proven.

    Args:
        solid: Triangles, and what is within their radius.
        most: Number of capsules; fewer where one more would save too little.
        gain: Share of the volume that one more must save.

    Raises:
        KinematicsError: The proof fails, which no solid of finite size should bring about.
    """
    parts = [_part(solid, _coarse(solid))]
    while len(parts) < most:
        ways = [[*parts[:i], *_cut(parts[i]), *parts[i + 1 :]] for i in range(len(parts))]
        way = min(ways, key=_volume)
        if _volume(way) > (1.0 - gain) * _volume(parts):
            break
        parts = way
    fits = tuple(_rounded(part) for part in parts)
    beyond = sticks_out(solid, fits)
    if beyond > 0.0:
        raise KinematicsError(
            f'{len(fits)} capsules leave {1e3 * beyond:.3f} mm of a solid outside: report it.'
        )
    return fits


class _Part(NamedTuple):
    """A piece of a solid, what stands for it in the search, and the capsule of that."""

    solid: Solid
    coarse: Solid
    fit: Fit


def _part(solid: Solid, coarse: Solid) -> _Part:
    return _Part(solid, coarse, _least(coarse))


def _volume(parts: list[_Part]) -> float:
    return sum(part.fit.volume for part in parts)


def _coarse(solid: Solid) -> Solid:
    """Return a solid with its corners on a grid, and no triangle twice."""
    cell = float(np.ptp(solid.triangles, axis=(0, 1)).max()) / CELLS or 1.0
    rows = np.column_stack((np.rint(solid.triangles.reshape(-1, 9) / cell) * cell, solid.radius))
    rows = np.unique(rows, axis=0)
    return Solid(rows[:, :9].reshape(-1, 3, 3), rows[:, 9])


def _rounded(part: _Part) -> Fit:
    """Return the capsule in round numbers, as wide as the piece of the solid itself needs."""
    a, b = (np.round(end / GRAIN) * GRAIN for end in (part.fit.a, part.fit.b))
    reach = distance_to_segment(part.solid.triangles, a, b).max(axis=1) + part.solid.radius
    return Fit(a, b, float(np.ceil((reach.max() + LAP) / GRAIN) * GRAIN))


def _cut(part: _Part) -> list[_Part]:
    """Return both sides of the plane that leaves the least volume; the whole, if none cuts it."""
    points, _ = _extremes(part.coarse)
    looks = []
    for normal in (*_principal(points), *np.eye(3)):
        along = points @ normal
        for share in CUTS:
            offset = along.min() + share * np.ptp(along)
            sides = split(part.coarse, normal, offset)
            if all(len(side.triangles) for side in sides):
                looks.append((sum(_rough(side) for side in sides), normal, offset, sides))
    looks.sort(key=lambda look: look[0])
    ways = []
    for _, normal, offset, sides in looks[:TRIED]:
        whole = split(part.solid, normal, offset)
        if all(len(side.triangles) for side in whole):
            ways.append([_part(*both) for both in zip(whole, sides)])
    return min(ways, key=_volume, default=[part])


def split(solid: Solid, normal: Array, offset: float) -> tuple[Solid, Solid]:
    """Cut a solid by the plane n.x = offset [m]; a triangle across it becomes three."""
    height = solid.triangles @ normal - offset  # (T, 3)
    below, above = (height <= 0.0).all(axis=1), (height >= 0.0).all(axis=1) & (height > 0.0).any(1)
    across = ~below & ~above
    high, radius = height[across] > 0.0, solid.radius[across]
    up = high.sum(axis=1) == 1  # one corner above; else one is below
    lone = np.where(up, high.argmax(axis=1), (~high).argmax(axis=1))
    order = (lone[:, None] + np.arange(3)) % 3
    p, q, r = np.take_along_axis(
        solid.triangles[across], order[:, :, None], axis=1
    ).transpose(1, 0, 2)  # fmt: skip
    h = np.take_along_axis(height[across], order, axis=1)
    x = p + (h[:, 0] / (h[:, 0] - h[:, 1]))[:, None] * (q - p)
    y = p + (h[:, 0] / (h[:, 0] - h[:, 2]))[:, None] * (r - p)
    tip, rest = np.stack((p, x, y), 1), (np.stack((x, q, r), 1), np.stack((x, r, y), 1))
    sides = []
    for whole, mine in ((below, ~up), (above, up)):
        pieces = solid.triangles[whole], tip[mine], *(piece[~mine] for piece in rest)
        radii = solid.radius[whole], radius[mine], radius[~mine], radius[~mine]
        sides.append(Solid(np.concatenate(pieces), np.concatenate(radii)))
    return sides[0], sides[1]


def _extremes(solid: Solid) -> tuple[Array, Array]:
    """Return points (N, 3) [m] and radii (N,) [m] whose balls span the solid."""
    points, radii = [], []
    for radius in np.unique(solid.radius):
        mine = solid.triangles[solid.radius == radius].reshape(-1, 3)
        try:
            mine = mine[ConvexHull(mine).vertices]
        except (QhullError, ValueError):  # flat, or too few
            mine = np.unique(mine, axis=0)
        points.append(mine)
        radii.append(np.full(len(mine), radius))
    return np.concatenate(points), np.concatenate(radii)


def _principal(points: Array) -> Array:
    """Return the three principal axes (3, 3) of points, one a row."""
    return np.asarray(np.linalg.svd(points - points.mean(axis=0), full_matrices=True)[2])


def _ends(along: Array, off: Array, radii: Array, radius: Array) -> tuple[Array, Array]:
    """Return where on an axis a capsule of a radius (...) begins and ends to hold balls (..., N).

    A ball at height h and distance d from the axis is inside where the segment comes as near as
    h -+ sqrt((R - r)^2 - d^2).
    """
    slack = np.sqrt(np.maximum((radius[..., None] - radii) ** 2 - off**2, 0.0))
    low, high = (along + slack).min(axis=-1), (along - slack).max(axis=-1)
    middle = 0.5 * (low + high)
    return np.minimum(low, middle), np.maximum(high, middle)  # a sphere, where low > high


def _starts(points: Array, radii: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Return axes (6, 3), points of them (6, 3) and the best radius, begin and end on each (6,).

    The axes go through the centre of the smallest circle around what is seen along them, nearly
    (Badoiu and Clarkson 2003).
    """
    axes = np.concatenate((_principal(points), np.eye(3)))
    along = axes @ points.T  # (6, N)
    flat = points - along[..., None] * axes[:, None]
    centre = 0.5 * (flat.min(axis=1) + flat.max(axis=1))
    each = np.arange(len(axes))
    for step in range(3, 15):
        off = np.linalg.norm(flat - centre[:, None], axis=2) + radii
        centre += (flat[each, off.argmax(axis=1)] - centre) / step
    off = np.linalg.norm(flat - centre[:, None], axis=2)
    radius = (off + radii).max(axis=1) * WIDER[:, None]  # (W, 6)
    low, high = _ends(along, off, radii, radius)
    best = _capsule_volume(high - low, radius).argmin(axis=0)
    return axes, centre, radius[best, each], low[best, each], high[best, each]


def _capsule_volume(length: Array, radius: Array) -> Array:
    return np.pi * radius**2 * (length + 4.0 / 3.0 * radius)


def _rough(solid: Solid) -> float:
    """Return the volume of the best capsule on one of six axes [m^3]."""
    _, _, radius, low, high = _starts(*_extremes(solid))
    return float(_capsule_volume(high - low, radius).min())


def _least(solid: Solid) -> Fit:
    """Return a capsule of little volume that holds a solid; the search is Nelder and Mead's."""
    points, radii = _extremes(solid)
    axes, centres, radius, low, high = _starts(points, radii)
    size = float(np.ptp(points, axis=0).max() + radii.max())
    found = []
    for k in np.argsort(_capsule_volume(high - low, radius))[:2]:
        across = np.linalg.svd(axes[k][None])[2][1:]  # two directions

        def line(x: Array, k: int = k, across: Array = across) -> tuple[Array, Array, Array]:
            """Return a turned and shifted axis, a point of it, and radius, begin and end."""
            axis, centre = axes[k] + x[:2] @ across, centres[k] + size * (x[2:4] @ across)
            axis /= np.sqrt(axis @ axis)
            local = points - centre
            along = local @ axis
            off = np.sqrt(np.maximum(np.einsum('ij,ij->i', local, local) - along**2, 0.0))
            radius = (off + radii).max() * (1.0 + abs(x[4]))
            return axis, centre, np.array([radius, *_ends(along, off, radii, radius)])

        def volume(x: Array, line: Callable[..., tuple[Array, Array, Array]] = line) -> float:
            radius, low, high = line(x)[2]
            return float(_capsule_volume(high - low, radius))

        simplex = np.zeros((6, 5))
        simplex[1:] = np.diag(FIRST_STEPS)
        answer = minimize(
            volume, np.zeros(5), method='Nelder-Mead',
            options={'maxiter': STEPS, 'initial_simplex': simplex, 'xatol': 1e-4, 'fatol': 0.0},
        )  # fmt: skip
        axis, centre, (r, a, b) = line(answer.x)
        found.append(Fit(centre + a * axis, centre + b * axis, float(r)))
    return min(found, key=lambda fit: fit.volume)
