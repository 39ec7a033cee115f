"""Solids near the arm."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_ros.obstacle import Obstacle
from vla_ros.types import Array

# The numbers are those of Obstacle.msg and of shape_msgs/SolidPrimitive.
PLANE = 2
FORMS = {  # shape -> (form, type of the primitive)
    'box': (0, 1),
    'sphere': (0, 2),
    'cylinder': (0, 3),
    'capsule': (1, 3),
    'plane': (PLANE, 0),
}
ROLES = {'obstacle': 0, 'target': 1, 'support': 2, 'person': 3}


def obstacles_from_msg(msg: Any) -> tuple[str, tuple[Obstacle, ...]]:
    """Return the frame of an array and all its obstacles, in that frame.

    Raises:
        ShapeError: A size is wrong.
        UnknownNameError: A shape or a role is none that we know.
    """
    return msg.header.frame_id, tuple(_obstacle_from_msg(o) for o in msg.obstacles)


def _obstacle_from_msg(msg: Any) -> Obstacle:
    form = (msg.form, 0 if msg.form == PLANE else msg.primitive.type)
    shapes = {value: name for name, value in FORMS.items()}
    roles = {value: name for name, value in ROLES.items()}
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


def _vector(msg: Any) -> Array:
    return np.array([msg.x, msg.y, msg.z])
