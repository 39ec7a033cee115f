"""Off-screen pictures of a MuJoCo world, one cached renderer for each size."""

from __future__ import annotations

import mujoco

from vla_ros.errors import SimulationError
from vla_ros.types import Image

_EXPENSIVE = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class Renderers:
    """Draws RGB pictures; must be used and closed in one thread (OpenGL contexts are bound)."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._by_size: dict[tuple[int, int], mujoco.Renderer] = {}

    def draw(self, data: mujoco.MjData, camera: str, width: int, height: int) -> Image:
        """Return the picture (height, width, 3) of a camera.

        Raises:
            SimulationError: No OpenGL context can be made.
        """
        renderer = self._by_size.get((width, height))
        if renderer is None:
            renderer = self._by_size[width, height] = self._make(width, height)
        renderer.update_scene(data, camera)
        return renderer.render()

    def close(self) -> None:
        """Free the OpenGL contexts."""
        for renderer in self._by_size.values():
            renderer.close()
        self._by_size.clear()

    def _make(self, width: int, height: int) -> mujoco.Renderer:
        try:
            renderer = mujoco.Renderer(self._model, height, width)
        except Exception as error:  # the GL back ends raise errors of their own kinds
            raise SimulationError(
                f'cannot draw {width}x{height}: {error}. Install Mesa (apt install libegl1 '
                'libgl1-mesa-dri) and set MUJOCO_GL=egl.'
            ) from error
        for flag in _EXPENSIVE:
            renderer.scene.flags[flag] = 0
        return renderer
