"""Solids near the arm."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from geometry_msgs.msg import Point, Pose, Quaternion, Twist, Vector3
import numpy as np
from shape_msgs.msg import SolidPrimitive
from vla_ros_msgs import msg as interfaces

from vla_ros.obstacle import Obstacle
from vla_ros.ros.convert.basics import header
from vla_ros.types import Array

_Form = interfaces.Obstacle
_FORMS = {  # shape -> (form, type of the primitive)
    'box': (_Form.FORM_PRIMITIVE, SolidPrimitive.BOX),
    'sphere': (_Form.FORM_PRIMITIVE, SolidPrimitive.SPHERE),
    'cylinder': (_Form.FORM_PRIMITIVE, SolidPrimitive.CYLINDER),
    'capsule': (_Form.FORM_CAPSULE, SolidPrimitive.CYLINDER),
    'plane': (_Form.FORM_PLANE, 0),
}
_ROLES = {
    'obstacle': _Form.ROLE_OBSTACLE,
    'target': _Form.ROLE_TARGET,
    'support': _Form.ROLE_SUPPORT,
    'person': _Form.ROLE_PERSON,
}


def obstacles_to_msg(
    obstacles: Iterable[Obstacle], stamp: float, frame: str
) -> interfaces.ObstacleArray:
    """Return a message of all known obstacles, given in `frame`."""
    return interfaces.ObstacleArray(
        header=header(stamp, frame), obstacles=[_obstacle_to_msg(o) for o in obstacles]
    )


def obstacles_from_msg(msg: interfaces.ObstacleArray) -> tuple[str, tuple[Obstacle, ...]]:
    """Return the frame of an array and all its obstacles, in that frame.

    Raises:
        ShapeError: A size is wrong.
        UnknownNameError: A shape or a role is none that we know.
    """
    return msg.header.frame_id, tuple(_obstacle_from_msg(o) for o in msg.obstacles)


def _obstacle_to_msg(obstacle: Obstacle) -> interfaces.Obstacle:
    x, y, z, w = (float(v) for v in obstacle.orientation)
    form, kind = _FORMS[obstacle.shape]
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
        role=_ROLES[obstacle.role],
    )


def _obstacle_from_msg(msg: interfaces.Obstacle) -> Obstacle:
    form = (msg.form, 0 if msg.form == _Form.FORM_PLANE else msg.primitive.type)
    shapes = {value: name for name, value in _FORMS.items()}
    roles = {value: name for name, value in _ROLES.items()}
    turn, twist = msg.pose.orientation, msg.twist
    return Obstacle(
        name=msg.name,
        shape=shapes.get(form, f'form {form[0]} of type {form[1]}'),
        size=np.array(msg.primitive.dimensions),
        position=_vector(msg.pose.position),
        orientation=np.array([turn.x, turn.y, turn.z, turn.w]),
        linear_velocity=_vector(twist.linear),
        angular_velocity=_vector(twist.angular),
        uncertainty=msg.position_uncertainty,
        uncertainty_rate=msg.velocity_uncertainty,
        acceleration=msg.acceleration,
        margin=msg.margin if msg.margin != 0.0 else None,
        attached_to=msg.attached_to,
        role=roles.get(msg.role, f'number {msg.role}'),
    )


def _xyz(vector: Array) -> dict[str, float]:
    return dict(zip('xyz', (float(v) for v in vector)))


def _vector(msg: Any) -> Array:
    return np.array([msg.x, msg.y, msg.z])
