"""The tabletop suite in simulation: episodes, the judge's view and pictures."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from vla_ros.robot import RobotSpec
from vla_ros.sim.hazards import Hazard
from vla_ros.sim.layout import SHAPES
from vla_ros.sim.scene import ObjectSpec, TABLETOP
from vla_ros.sim.tasks import Episode, SceneState, succeeded, surface_distance
from vla_ros.sim.world import World
from vla_ros.types import Array, Image

PLATE = 'plate'
PLATE_COLOUR = 'white'
EGG_COLOURS = ('purple', 'orange')  # which no object has


class Tabletop:
    """One world that plays any tabletop episode, one after another."""

    def __init__(
        self, robot: RobotSpec, urdf: Path, hazard: Hazard | None = None, eggs: int = 0
    ) -> None:
        """Compile the world.

        Args:
            robot: The arm.
            urdf: Its description.
            hazard: What is in the way.
            eggs: How many a layout may have.
        """
        self.robot = robot
        clutter = [ObjectSpec(f'egg{k}', 'egg', EGG_COLOURS[k % 2]) for k in range(eggs)]
        self.world = World(robot, urdf, (*TABLETOP, *clutter), hazard)
        self.episode: Episode | None = None

    def reset(self, episode: Episode, arm: Array | None = None, gripper: ArrayLike | None = None):
        """Lay the table for an episode.

        Args:
            episode: What is asked, over which layout.
            arm: Joint positions (dof,) [rad]; None = home.
            gripper: Gripper joints (g,) [m] or [rad]; None = open.
        """
        self.episode = episode
        layout = episode.layout
        poses = {o.shape: (*o.position, o.yaw) for o in layout.objects}
        poses[PLATE] = (*layout.plate, 0.0)
        poses |= {f'egg{k}': pose for k, pose in enumerate(layout.eggs)}
        colours = {o.shape: o.colour for o in layout.objects} | {PLATE: PLATE_COLOUR}
        self.world.reset(arm, gripper, poses, colours)

    def state(self) -> SceneState:
        """Return the truth now, of the first arm; without a gripper it counts as open."""
        world, arm = self.world, self.robot.arms[0]
        opening, gripper, column = 1.0, arm.gripper, self.robot.grip_column(arm)
        if gripper is not None:
            finger = float(world.joint_state().position[column])
            opening = (finger - gripper.closed) / (gripper.open - gripper.closed)
        return SceneState(
            tool=world.tool_pose(arm.name)[1],
            opening=opening,
            objects=np.array([world.object_position(name) for name in SHAPES]),
            plate=world.object_position(PLATE)[:2],
        )

    def success(self) -> bool:
        """Tell whether the episode's request is fulfilled at this instant."""
        return self.episode is not None and succeeded(self.episode, self.state())

    def surface_distances(self) -> Array:
        """Return the tool's distance (3,) [m] to the surface of each object, by SHAPES."""
        state = self.state()
        return np.array(
            [surface_distance(s, c, state.tool) for s, c in zip(SHAPES, state.objects)]
        )

    def square(self, camera: str, size: int, oversampling: int = 2) -> Image:
        """Return the central square (size, size, 3) of a camera's picture.

        MuJoCo's field of view is vertical, so a square picture is the central square of the
        4:3 picture that the camera publishes; drawing it larger and averaging stands in for
        the reduction from the published size.
        """
        big = self.world.render(camera, size * oversampling, size * oversampling)
        every = range(oversampling)  # whole pictures are added faster than blocks are averaged
        total = np.zeros((size, size, 3), np.uint32)
        for i, j in product(every, every):
            total += big[i::oversampling, j::oversampling]
        return (total / oversampling**2).round().astype(np.uint8)
