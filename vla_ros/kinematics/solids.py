"""What a link is made of: the triangles of its meshes and primitives, in its own frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import coal
import numpy as np
import pinocchio as pin

from vla_ros.errors import KinematicsError
from vla_ros.kinematics.model import read_model
from vla_ros.types import Array

SIDES = 48  # of the prism around a cylinder; it is 0.2 % wider
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
FACES = np.array([  # of a box, by the numbers of its corners
    [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
    [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
])  # fmt: skip


class Solid(NamedTuple):
    """Triangles, each of which stands for every point within a radius of it."""

    triangles: Array  # (T, 3, 3) [m]
    radius: Array  # (T,) [m] 0 for a mesh; a sphere is one point with a radius

    def moved(self, turn: Array, place: Array) -> Solid:
        """Return it turned by (3, 3), then shifted by (3,) [m]."""
        return Solid(self.triangles @ turn.T + place, self.radius)


def joined(solids: Sequence[Solid]) -> Solid:
    """Return several solids of one frame as one."""
    return Solid(
        np.concatenate([np.zeros((0, 3, 3)), *(s.triangles for s in solids)]),
        np.concatenate([np.zeros(0), *(s.radius for s in solids)]),
    )


def solid_of(shape: coal.CollisionGeometry) -> Solid:
    """Return a shape of coal as triangles; those of a cylinder enclose it.

    Raises:
        KinematicsError: The shape is none that a URDF can hold, or is an empty mesh.
    """
    if isinstance(shape, coal.Box):
        triangles = (CORNERS * shape.halfSide)[FACES]
    elif isinstance(shape, coal.Cylinder):
        triangles = _prism(shape.radius, shape.halfLength)
    elif isinstance(shape, coal.Sphere):
        return Solid(np.zeros((1, 3, 3)), np.array([shape.radius]))
    elif isinstance(shape, coal.Capsule):
        ends = np.array([[0.0, 0.0, z * shape.halfLength] for z in (-1, 1, 1)])
        return Solid(ends[None], np.array([shape.radius]))
    elif isinstance(shape, coal.BVHModelBase):
        corners = [[t[0], t[1], t[2]] for t in map(shape.tri_indices, range(shape.num_tris))]
        triangles = shape.vertices()[np.array(corners, int).reshape(-1, 3)]
    else:
        raise KinematicsError(
            f'a shape is a {type(shape).__name__}, expected mesh, box, cylinder, sphere, capsule.'
        )
    if not len(triangles) or not np.isfinite(triangles).all():
        raise KinematicsError('a mesh has no triangles, or corners that are not finite.')
    return Solid(triangles, np.zeros(len(triangles)))


def _prism(radius: float, half: float) -> Array:
    """Return the triangles of a prism around a cylinder along z."""
    angle = 2.0 * np.pi * np.arange(SIDES) / SIDES
    corner = radius / np.cos(np.pi / SIDES) * np.column_stack((np.cos(angle), np.sin(angle)))
    low, high = (np.column_stack((corner, np.full(SIDES, z))) for z in (-half, half))
    next_low, next_high = np.roll(low, -1, axis=0), np.roll(high, -1, axis=0)
    sides = [np.stack((low, next_low, high), 1), np.stack((next_low, next_high, high), 1)]
    caps = [
        np.stack((np.broadcast_to(ring[0], (SIDES - 2, 3)), ring[1:-1], ring[2:]), 1)
        for ring in (low, high)
    ]
    return np.concatenate((*sides, *caps))


def link_solids(urdf: Path, package_dirs: Sequence[Path] = ()) -> dict[str, Solid]:
    """Return what every link is made of, in its frame: its collision shapes, else its visuals.

    Args:
        urdf: The robot description.
        package_dirs: Folders that hold the packages of `package://` addresses.

    Raises:
        KinematicsError: The URDF or a mesh cannot be read; the message names it.
    """
    folders = [str(folder) for folder in package_dirs]
    model = read_model(urdf)
    try:
        shapes = [
            pin.buildGeomFromUrdf(model, str(urdf), kind, package_dirs=folders)
            for kind in (pin.GeometryType.COLLISION, pin.GeometryType.VISUAL)
        ]
    except (ValueError, RuntimeError) as error:
        raise KinematicsError(f'cannot read the shapes of {urdf}: {error}.') from error
    solids: dict[str, Solid] = {}
    for geometry in shapes:
        found: dict[str, list[Solid]] = {}
        for item in geometry.geometryObjects:
            frame = model.frames[item.parentFrame]
            place = frame.placement.actInv(item.placement)
            try:
                solid = solid_of(item.geometry)
            except KinematicsError as error:
                raise KinematicsError(
                    f"{Path(urdf).name}, link '{frame.name}': {error}"
                ) from error
            found.setdefault(frame.name, []).append(solid.moved(place.rotation, place.translation))
        solids = {**{link: joined(parts) for link, parts in found.items()}, **solids}
    return solids
