"""Marks: what RViz and Foxglove draw in three dimensions, as plain values in the base frame."""

from __future__ import annotations

from dataclasses import dataclass, field
import enum

import numpy as np

from vla_ros.types import Array, frozen

Colour = tuple[float, float, float, float]  # red, green, blue, opacity; each in [0, 1]
Key = tuple[str, int]  # what a later mark of the same space and number replaces


class Form(enum.IntEnum):
    """What is drawn; the numbers are those of visualization_msgs/Marker."""

    ARROW = 0  # from the first to the second of two points
    BOX = 1
    CYLINDER = 3  # along z
    LINES = 5  # each two points are the ends of one
    SPHERES = 7  # around each of the points
    TEXT = 9  # faces the viewer
    TRIANGLES = 11  # each three points are one


def _none() -> Array:
    return np.zeros((0, 3))


def _identity() -> Array:
    return np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Mark:
    """One thing to draw."""

    space: str  # marks of one kind; a viewer shows and hides them together
    number: int  # unique in its space
    form: Form
    colour: Colour
    # (3,) [m] BOX: edges. CYLINDER: width, width, height. SPHERES: widths. ARROW: width of shaft
    # and head, length of the head. LINES: width. TEXT: third, height of a capital letter.
    # TRIANGLES: ones.
    size: Array
    position: Array = field(default_factory=lambda: np.zeros(3))  # (3,) [m]
    orientation: Array = field(default_factory=_identity)  # (4,) quaternion xyzw
    points: Array = field(default_factory=_none)  # (k, 3) [m] in the mark's own frame
    text: str = ''

    def __post_init__(self) -> None:
        label = f"mark '{self.space}' {self.number}"
        shapes = {'size': (3,), 'position': (3,), 'orientation': (4,), 'points': (None, 3)}
        for name, shape in shapes.items():
            value = frozen(getattr(self, name), shape, f'{label}: {name}')
            object.__setattr__(self, name, value)

    @property
    def key(self) -> Key:
        """What tells it from others."""
        return self.space, self.number
