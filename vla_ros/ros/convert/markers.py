"""Marks for RViz and Foxglove."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
import numpy as np
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from vla_ros.mark import Form, Key, Mark
from vla_ros.ros.convert.basics import header, split
from vla_ros.types import Array


def marks_to_msg(
    marks: Iterable[Mark], gone: Iterable[Key], stamp: float, frame: str, lifetime: float
) -> MarkerArray:
    """Return a message that draws marks and takes away those that are gone.

    Args:
        marks: To draw, in place of those of the same key.
        gone: Keys of those to take away.
        stamp: Time of what they show [s].
        frame: Of their positions.
        lifetime: After this time without a newer one a viewer takes a mark away itself [s].
    """
    above, seconds = header(stamp, frame), split(lifetime)
    until = Duration(sec=seconds[0], nanosec=seconds[1])
    array = MarkerArray()
    array.markers = [
        Marker(header=above, ns=space, id=number, action=Marker.DELETE) for space, number in gone
    ]
    for mark in marks:
        x, y, z, w = (float(v) for v in mark.orientation)
        array.markers.append(
            Marker(
                header=above,
                ns=mark.space,
                id=mark.number,
                type=int(mark.form),
                action=Marker.ADD,
                pose=Pose(
                    position=_point(mark.position), orientation=Quaternion(x=x, y=y, z=z, w=w)
                ),
                scale=Vector3(**dict(zip('xyz', map(float, mark.size)))),
                color=ColorRGBA(**dict(zip('rgba', map(float, mark.colour)))),
                lifetime=until,
                points=_points(mark.points.tobytes()),
                text=mark.text,
            )
        )
    return array


def marks_from_msg(msg: MarkerArray) -> tuple[tuple[Mark, ...], tuple[Key, ...]]:
    """Return the marks to draw and the keys of those to take away."""
    drawn = [m for m in msg.markers if m.action == Marker.ADD]
    gone = tuple((m.ns, m.id) for m in msg.markers if m.action == Marker.DELETE)
    return tuple(_mark(m) for m in drawn), gone


def _mark(msg: Marker) -> Mark:
    turn, colour = msg.pose.orientation, msg.color
    return Mark(
        space=msg.ns,
        number=msg.id,
        form=Form(msg.type),
        colour=(colour.r, colour.g, colour.b, colour.a),
        size=_vector(msg.scale),
        position=_vector(msg.pose.position),
        orientation=np.array([turn.x, turn.y, turn.z, turn.w]),
        points=np.array([_vector(p) for p in msg.points]).reshape(-1, 3),
        text=msg.text,
    )


@lru_cache(maxsize=256)
def _points(data: bytes) -> list[Point]:
    """Return points from the bytes of (k, 3); the surfaces of things at rest come every time."""
    return [_point(p) for p in np.frombuffer(data).reshape(-1, 3)]


def _point(value: Array) -> Point:
    x, y, z = value.tolist()
    return Point(x=x, y=y, z=z)


def _vector(msg: Point | Vector3) -> Array:
    return np.array([msg.x, msg.y, msg.z])
