"""World: what the arm must not touch besides itself and the floor, as one tick sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vla_ros.obstacle import first_problem, Obstacle
from vla_ros.safety.distance import BOX, OTHER, PERSON, PLANE, SEGMENT, Solids, TARGET
from vla_ros.types import Array

CODES = {'person': PERSON, 'target': TARGET}  # of roles; the others are OTHER
FLAT = 4.0 / (3.0 * (4.0 / np.pi - 1.0))  # height / radius below which the box is the smaller body


@dataclass(frozen=True)
class World:
    """All known obstacles, in the base frame, and what the arm holds."""

    stamp: float = 0.0  # [s] ROS time of the poses
    obstacles: tuple[Obstacle, ...] = ()
    refused: str = ''  # why newer obstacles could not be used; '' if there are none

    @cached_property
    def free(self) -> tuple[Obstacle, ...]:
        """Those that the arm does not hold."""
        return tuple(o for o in self.obstacles if not o.attached_to)

    @cached_property
    def held(self) -> tuple[Obstacle, ...]:
        """Those that it holds; their frame is the link `attached_to`."""
        return tuple(o for o in self.obstacles if o.attached_to)

    @cached_property
    def problem(self) -> str:
        """Say why these obstacles cannot be used; '' if they can."""
        return first_problem(self.obstacles)

    @cached_property
    def moves(self) -> bool:
        """Whether any of them may be elsewhere later."""
        return any(o.moves for o in self.obstacles)

    @cached_property
    def bodies(self) -> Solids:
        """The free obstacles as the compiled core takes them; make a copy before you move them."""
        return solids(self.free)

    def prepared(self) -> World:
        """Return this world with all that the control loop asks of it worked out."""
        if not self.problem:
            _ = self.moves, self.held, self.bodies
        return self

    def fault(self, now: float, timeout: float) -> str:
        """Return the fault of these obstacles at ROS time `now` [s], '' for none.

        What stands still never grows too old; what moves does after `timeout` [s].
        """
        if self.problem or self.refused:
            return 'obstacle_invalid'
        return 'obstacle_stale' if self.moves and now - self.stamp > timeout else ''


def solids(obstacles: Sequence[Obstacle]) -> Solids:
    """Return obstacles as the arrays of the compiled core, which knows three kinds.

    A cylinder is enclosed: by round ends beyond its own if it is long, by a box if it is flat.
    """
    count = len(obstacles)
    out = Solids(
        kind=np.zeros(count, np.int64),
        centre=np.zeros((count, 3)),
        turn=np.zeros((count, 3, 3)),
        half=np.zeros((count, 3)),
        radius=np.zeros(count),
        velocity=np.zeros((count, 3)),
        spin=np.zeros((count, 3)),
        swell=np.zeros(count),
        accel=np.zeros(count),
        role=np.zeros(count, np.int64),
        seen_centre=np.zeros((count, 3)),
        seen_radius=np.zeros(count),
    )
    for i, o in enumerate(obstacles):
        out.kind[i], out.half[i], out.radius[i] = _body(o.shape, o.size)
        out.centre[i], out.turn[i] = o.position, rotation(o.orientation)
        out.velocity[i], out.spin[i] = o.linear_velocity, o.angular_velocity
        # |w| r with r the radius of a ball about the centre that holds the solid
        ball = 0.0 if o.shape == 'sphere' else np.linalg.norm(out.half[i]) + out.radius[i]
        out.swell[i] = o.uncertainty_rate + np.linalg.norm(o.angular_velocity) * ball
        out.accel[i] = o.acceleration
        out.role[i] = CODES.get(o.role, OTHER)
        out.radius[i] += o.uncertainty
    out.seen_centre[:], out.seen_radius[:] = out.centre, out.radius
    return out


def _body(shape: str, size: Array) -> tuple[int, Array, float]:
    """Return kind, half lengths (3,) [m] and radius [m] of a shape."""
    if shape == 'box':
        return BOX, size / 2.0, 0.0
    if shape == 'sphere':
        return SEGMENT, np.zeros(3), size[0]
    if shape == 'plane':
        return PLANE, np.zeros(3), 0.0
    height, radius = size
    if shape == 'cylinder' and height < FLAT * radius:
        return BOX, np.array([radius, radius, height / 2.0]), 0.0
    return SEGMENT, np.array([0.0, 0.0, height / 2.0]), radius


def rotation(quaternion: Array) -> Array:
    """Return the matrix (3, 3) of a quaternion xyzw; its length does not matter."""
    x, y, z, w = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(turn: Array) -> Array:
    """Return the quaternion xyzw (4,) of a rotation matrix (3, 3).

    The symmetric matrix built from `turn` has the quaternion as the vector of its largest
    eigenvalue (Bar-Itzhack 2000), also where other formulas divide by zero.
    """
    m = turn
    symmetric = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], 0.0, 0.0, 0.0],
            [m[0, 1] + m[1, 0], m[1, 1] - m[0, 0] - m[2, 2], 0.0, 0.0],
            [m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], m[2, 2] - m[0, 0] - m[1, 1], 0.0],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], np.trace(m)],
        ]
    )
    return np.linalg.eigh(symmetric)[1][:, 3]
