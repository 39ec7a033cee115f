"""Random tabletop scenes: one cube, one cylinder, one ball and a plate, in distinct colours."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_ros.errors import SimulationError
from vla_ros.types import Array

SHAPES = ('cube', 'cylinder', 'ball')
COLOURS = ('red', 'green', 'blue', 'yellow')
# Half height of each shape [m]: where its centre rests above the table.
REST_HEIGHT = {'cube': 0.022, 'cylinder': 0.025, 'ball': 0.023}
HALF_WIDTH = {'cube': 0.022, 'cylinder': 0.022, 'ball': 0.023}  # [m] seen from above
PLATE_RADIUS = 0.06  # [m]
AREA = np.array([[0.37, 0.63], [-0.21, 0.21]])  # [m] x and y of the centres
SPACING = 0.13  # [m] between centres, so that every object can be grasped alone
PUSH_CLEARANCE = 0.10  # [m] from any other centre to the line that a push sweeps
PUSH_SWEEP = (-0.09, 0.14)  # [m] swept before and beyond the pushed object's centre


@dataclass(frozen=True)
class SceneObject:
    """One free object on the table."""

    shape: str
    colour: str
    position: tuple[float, float]  # [m] base frame
    yaw: float  # [rad]


@dataclass(frozen=True)
class Layout:
    """Where everything stands when an episode begins."""

    objects: tuple[SceneObject, ...]  # in the order of SHAPES
    plate: tuple[float, float]  # [m] centre
    eggs: tuple[tuple[float, float, float], ...] = ()  # [m], [rad] x, y, yaw of what nobody names


def sample_layout(rng: np.random.Generator) -> Layout:
    """Draw a scene whose centres keep SPACING from each other.

    Raises:
        SimulationError: No such layout was found (the area is too small for SPACING).
    """
    for _ in range(1000):
        centres = rng.uniform(AREA[:, 0], AREA[:, 1], size=(len(SHAPES) + 1, 2))
        gaps = np.linalg.norm(centres[:, None] - centres[None], axis=2)
        if (gaps + np.eye(len(centres)) * SPACING >= SPACING).all():
            colours = rng.permutation(COLOURS)
            objects = tuple(
                SceneObject(shape, str(colour), (float(c[0]), float(c[1])), rng.uniform(-0.3, 0.3))
                for shape, colour, c in zip(SHAPES, colours, centres)
            )
            return Layout(objects, (float(centres[-1, 0]), float(centres[-1, 1])))
    raise SimulationError('no layout keeps the spacing: enlarge AREA or lower SPACING.')


def scattered(layout: Layout, distance: float) -> Layout:
    """Return a layout with every centre `distance` [m] farther from the middle of AREA."""
    middle = AREA.mean(axis=1)

    def moved(centre: tuple[float, float]) -> tuple[float, float]:
        away = np.array(centre) - middle
        x, y = centre + distance * away / max(float(np.linalg.norm(away)), 1e-9)
        return float(x), float(y)

    objects = tuple(replace(o, position=moved(o.position)) for o in layout.objects)
    return replace(layout, objects=objects, plate=moved(layout.plate))


def push_is_clear(layout: Layout, target: int, direction: Array) -> bool:
    """Tell whether a push along `direction` (2,) meets nothing but its target."""
    start = np.array(layout.objects[target].position)
    others = [o.position for i, o in enumerate(layout.objects) if i != target]
    for other in np.array([*others, layout.plate]):
        along = np.clip((other - start) @ direction, *PUSH_SWEEP)
        if np.linalg.norm(other - start - along * direction) < PUSH_CLEARANCE:
            return False
    end = start + PUSH_SWEEP[1] * direction
    return bool(abs(end[1]) < 0.30)
