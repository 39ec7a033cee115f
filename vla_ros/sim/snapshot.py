"""Pictures of one instant, drawn while the physics goes on."""

from __future__ import annotations

import mujoco

from vla_ros.robot import Camera
from vla_ros.sim.render import Renderers
from vla_ros.sim.world import World
from vla_ros.types import Image


class Snapshot:
    """A copy of a world's state for a thread that draws: `take` is short, `draw` is not.

    The caller keeps the physics from stepping during `take` only. `draw` and `close` belong to
    one thread, because OpenGL contexts are bound to theirs.
    """

    def __init__(self, world: World) -> None:
        """Make room for the state of a world."""
        self._world = world
        self._data = mujoco.MjData(world.model)
        self._renderers = Renderers(world.model)

    def take(self) -> None:
        """Copy the state."""
        mujoco.mj_copyData(self._data, self._world.model, self._world.data)

    def draw(self, camera: Camera) -> Image:
        """Return the picture (H, W, 3) of a camera at the copied instant."""
        return self._renderers.draw(self._data, camera.name, camera.width, camera.height)

    def close(self) -> None:
        """Free the OpenGL contexts."""
        self._renderers.close()
