"""What a world looks like: cameras, lights and colours of its model, changed and put back."""

from __future__ import annotations

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.sim.perturbation import Look, Perturbation
from vla_ros.sim.scene import FLOOR, look_at, TABLE_TOP
from vla_ros.sim.world import World


class Dressing:
    """Changes the looks of one world and nothing that its physics knows."""

    def __init__(self, world: World) -> None:
        """Remember a world as it was built."""
        self._world, model = world, world.model
        light = model.vis.headlight
        self._fields = (
            model.cam_pos, model.cam_quat, model.light_dir, model.light_diffuse, model.geom_rgba,
            light.ambient, light.diffuse,
        )  # fmt: skip
        self._built = [field.copy() for field in self._fields]

    def wear(self, perturbation: Perturbation | None) -> None:
        """Look as a perturbation has it, None as built; `World.reset` then shows it."""
        for field, built in zip(self._fields, self._built):
            field[:] = built
        if perturbation is None:
            return
        model = self._world.model
        for camera in self._world.robot.cameras:
            carried = model.body_weldid[model.camera(camera.name).bodyid[0]] != 0
            moved = perturbation.camera(camera, bool(carried))
            if moved == camera:  # what does not move is not rounded anew
                continue
            rotation, position = look_at(moved)
            index, quaternion = model.camera(camera.name).id, np.empty(4)
            mujoco.mju_mat2Quat(quaternion, rotation.ravel())
            model.cam_pos[index], model.cam_quat[index] = position, quaternion
        self._lit(perturbation.look())

    def _lit(self, look: Look) -> None:
        model, headlight = self._world.model, self._world.model.vis.headlight
        if look == Look():
            return
        axis = look.slant * np.array([np.cos(look.about), np.sin(look.about), 0.0])
        model.light_dir[:] = Rotation.from_rotvec(axis).apply(model.light_dir)
        for light in (model.light_diffuse, headlight.diffuse, headlight.ambient):
            light[:] = np.clip(light * look.brightness, 0.0, 1.0)
        model.light_diffuse[:] = np.clip(model.light_diffuse * look.tint, 0.0, 1.0)
        for name, colour in ((TABLE_TOP, look.table), (FLOOR, look.floor)):
            rgb = model.geom(name).rgba[:3]
            rgb[:] = (1.0 - look.paint) * rgb + look.paint * np.array(colour)
