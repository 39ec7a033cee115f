"""The scene: the arm among the obstacles of one tick; clearances, rows and stop checks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.obstacle import Obstacle
from vla_ros.safety.chain import Ints
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.core import make_core, Parts
from vla_ros.safety.distance import clearance, put_at, row_bodies, Solids
from vla_ros.safety.limits import Limits
from vla_ros.safety.margins import margins_of
from vla_ros.safety.model import CollisionModel, with_held
from vla_ros.safety.rows import build_rows
from vla_ros.safety.work import Knobs, knobs_of, make_work
from vla_ros.safety.world import World
from vla_ros.types import Array


class Rows(NamedTuple):
    """Clearances at one pose, and the rows of the program; views, valid until the next tick."""

    clearance: Array  # (K,) [m] h of every row
    matrix: Array  # (r, dof) [m/rad] G
    bound: Array  # (r,) [m/s]
    which: Ints  # (r,) index of each among the K rows


class Near(NamedTuple):
    """One pair of bodies."""

    row: int
    name: str  # such as 'hand/floor'
    distance: float  # [m]
    margin: float  # [m] distance to keep


class Solid(NamedTuple):
    """One obstacle as the core sees it; arrays are views."""

    obstacle: Obstacle
    kind: int  # SEGMENT, BOX or PLANE
    centre: Array  # (3,) [m]
    turn: Array  # (3, 3)
    half: Array  # (3,) [m] half lengths
    radius: float  # [m] with all that is not known
    margin: float  # [m] that a link of the arm must keep


class Scene:
    """Evaluates the compiled core on preallocated buffers; not thread-safe."""

    def __init__(self, model: CollisionModel, limits: Limits, config: SafetyConfig) -> None:
        """Hold a collision model and the limits of its joints."""
        self._empty, self.limits, self._config = model, limits, config
        self._world: World | None = None
        self._grip: tuple[object, ...] = (False, ())  # what the model in use holds
        self.model, self.knobs = model, knobs_of(config, 1.0)
        self.set_world(World())

    def set_world(self, world: World) -> None:
        """Take the obstacles of a tick and what the arm holds; the same object costs nothing.

        Raises:
            UnknownNameError: Something is attached to a link that is not in the hand.
        """
        if world is self._world:
            return
        supports = any(o.role == 'support' for o in world.free)
        grip = (supports and bool(world.held), tuple(_contents(o) for o in world.held))
        fits = self._world is not None and grip == self._grip
        if grip != self._grip:
            self.model, self._grip = with_held(self._empty, world.held, supports), grip
        self._names: dict[int, str] = {}  # of rows with obstacles, as they were asked for
        seen, margins = world.bodies, margins_of(self.model, world.free, self._config)
        self._world = world
        if fits and len(seen.kind) == len(self.bodies.kind):
            for mine, new in zip((*self.bodies, self.margins), (*seen, margins)):
                mine[:] = new
            return
        self._lay_out(seen, margins)

    def _lay_out(self, seen: Solids, margins: Array) -> None:
        """Make the buffers anew, since there are more or fewer rows."""
        model, n = self.model, len(self.limits.accel)
        self.fixed = len(model.names)  # rows that do not come from obstacles
        arms, grippers = len(model.arm.chains), len(self.limits.open)
        work = make_work(n, grippers, arms, len(model.capsules), len(margins))
        knobs = np.array(self.knobs, dtype=np.float64)
        parts = Parts(model.arm, self.limits, seen, margins, knobs, work, work.pose)
        self.core, mine = make_core(parts)
        self.arm, self.bodies, self.margins = mine.arm, mine.solids, mine.margins
        self.work, self.pose, self._numbers = mine.work, mine.pose, mine.knobs

    def broken_by(self, config: SafetyConfig, q: Array, now: float) -> str:
        """Return the row that the margins of other settings would break now, empty for none.

        Args:
            config: The other settings.
            q: (dof,) [rad] where the arm is.
            now: ROS time [s].
        """
        margins = margins_of(self.model, self._world.free if self._world else (), config)
        h = self.rows(q, now).clearance
        broken = np.flatnonzero((h < margins) & (h >= self.margins))
        return self.name(int(broken[0])) if len(broken) else ''

    def tune(self, knobs: Knobs) -> None:
        """Take other numbers for the core."""
        self.knobs = knobs
        self._numbers[:] = knobs

    def set_config(self, config: SafetyConfig) -> None:
        """Take other margins."""
        self._config = config
        self.margins[:] = margins_of(self.model, self._world.free if self._world else (), config)

    def name(self, row: int) -> str:
        """Return the two bodies of a row, such as 'hand/floor'."""
        if row < self.fixed:
            return self.model.names[row]
        if row not in self._names:
            assert self._world is not None
            moving = self.model.arm.moving
            solid, capsule = divmod(row - self.fixed, len(moving))
            part = self.model.capsules[moving[capsule]]
            self._names[row] = f'{part}/{self._world.free[solid].name}'
        return self._names[row]

    def barrier(self, row: int) -> float:
        """Return the clearance of a row less its margin at the last pose [m]."""
        return float(self.work.h[row] - self.margins[row])

    def rows(self, q: Array, now: float) -> Rows:
        """Return clearances and rows at q (dof,) [rad] and ROS time `now` [s]."""
        put_at(self.bodies, self.age(now))
        config, work = self._config, self.work
        count = build_rows(
            self.arm, self.bodies, q, self.margins, self.limits.accel, config.barrier_gain,
            config.row_reach, config.glide, work.pose, work.h, work.g, work.bound, work.which,
            work.scratch,
        )  # fmt: skip
        return Rows(work.h, work.g[:count], work.bound[:count], work.which[:count])

    def nearest(self, count: int) -> list[Near]:
        """Return the pairs of the smallest barriers at the last pose of `rows`, smallest first.

        Rows of one name, such as those of the corners of what is held, are one pair.
        """
        found: dict[str, Near] = {}
        h = self.work.h
        for row in np.argsort(h - self.margins):
            if len(found) == count:
                break
            name = self.name(row)
            if name not in found:
                found[name] = Near(
                    int(row), name, float(self.work.h[row]), float(self.margins[row])
                )
        return list(found.values())

    def witness(self, row: int) -> tuple[Array, Array]:
        """Return the points (3,), (3,) [m] of a pair at the last pose of `rows`.

        One lies on the surface of the moving capsule, the other on that of the other body.
        """
        n, point = np.zeros(3), np.zeros(3)
        arm = self.model.arm
        distance, _ = clearance(arm, self.bodies, self.work.pose, row, n, point)
        surface = point - arm.capsule_radius[row_bodies(arm, row)[0]] * n
        return surface, surface - distance * n

    @property
    def ends(self) -> Array:
        """Ends (m, 2, 3) [m] of every capsule's segment at the last pose of `rows`; a view."""
        return self.work.pose.ends

    def solids(self) -> list[Solid]:
        """Return the obstacles that the arm does not hold, as the last `rows` saw them."""
        if self._world is None or not self._world.free:
            return []
        body, free = self.bodies, self._world.free
        margins = self.margins[self.fixed :].reshape(len(free), -1).max(axis=1)
        return [
            Solid(o, int(body.kind[i]), body.centre[i], body.turn[i], body.half[i],
                  float(body.radius[i]), float(margins[i]))
            for i, o in enumerate(free)
        ]  # fmt: skip

    def age(self, now: float) -> float:
        """Return how old the poses of the obstacles are [s]; never less than 0."""
        return max(now - self._world.stamp, 0.0) if self._world is not None else 0.0


def _contents(held: Obstacle) -> tuple[object, ...]:
    """Return all that the shape of a held solid depends on; equal when nothing has changed."""
    numbers = (held.size, held.position, held.orientation)
    return (held.name, held.shape, held.attached_to, held.uncertainty, *map(tuple, numbers))
