"""Solids near the arm."""

from __future__ import annotations

from collections.abc import Iterable

from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3
from shape_msgs.msg import SolidPrimitive
from vla_ros_msgs import msg as interfaces

from vla_ros.messages.obstacles import FORMS, ROLES
from vla_ros.obstacle import Obstacle
from vla_ros.ros.convert.basics import header
from vla_ros.types import Array


def obstacles_to_msg(
    obstacles: Iterable[Obstacle], stamp: float, frame: str
) -> interfaces.ObstacleArray:
    """Return a message of all known obstacles, given in `frame`."""
    return interfaces.ObstacleArray(
        header=header(stamp, frame), obstacles=[_obstacle_to_msg(o) for o in obstacles]
    )


def _obstacle_to_msg(obstacle: Obstacle) -> interfaces.Obstacle:
    x, y, z, w = (float(v) for v in obstacle.orientation)
    form, kind = FORMS[obstacle.shape]
    return interfaces.Obstacle(
        name=obstacle.name,
        form=form,
        primitive=SolidPrimitive(type=kind, dimensions=[float(v) for v in obstacle.size]),
        pose=Pose(
            position=Point(**_xyz(obstacle.position)), orientation=Quaternion(x=x, y=y, z=z, w=w)
        ),
        twist=Twist(
            linear=Vector3(**_xyz(obstacle.linear_velocity)),
            angular=Vector3(**_xyz(obstacle.angular_velocity)),
        ),
        position_uncertainty=obstacle.uncertainty,
        velocity_uncertainty=obstacle.uncertainty_rate,
        acceleration=obstacle.acceleration,
        margin=obstacle.margin or 0.0,
        attached_to=obstacle.attached_to,
        role=ROLES[obstacle.role],
    )


def _xyz(vector: Array) -> dict[str, float]:
    return dict(zip('xyz', (float(v) for v in vector)))
