"""What an arm swept on its way, and how far from it upright solids are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.sim.layout import HALF_WIDTH
from vla_ros.types import Array

CORNER = 1.42  # radius of a ball about an object, in half widths
SPACING = 0.012  # [m] between the balls that stand for a capsule


@dataclass(frozen=True)
class Sweep:
    """What an arm and the object it handled swept, as balls, at T instants."""

    tool: Array  # (T, 3) [m]
    centres: Array  # (T, N, 3) [m]
    radii: Array  # (N,) [m]
    times: Array  # (T,) [s]

    def thinned(self, every: int) -> Sweep:
        """Return every so many of its instants, the first among them."""
        return Sweep(self.tool[::every], self.centres[::every], self.radii, self.times[::every])


def sweep(
    robot: RobotSpec,
    kinematics: Kinematics,
    times: Array,
    joints: Array,
    shape: str,
    target: Array,
) -> Sweep:
    """Return what the capsules of an arm and its target swept.

    Args:
        robot: Names the capsules.
        kinematics: Of this robot.
        times: (T,) [s].
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
    return Sweep(tool, np.concatenate(centres, axis=1), np.concatenate(radii), times)


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
