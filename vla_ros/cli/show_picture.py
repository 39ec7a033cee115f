"""A robot's collision capsules at home, drawn from three sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_ros.errors import ConfigError
from vla_ros.robot import RobotSpec
from vla_ros.types import Array

SIDES = {'from the front': (1, 2), 'from the side': (0, 2), 'from above': (0, 1)}  # axes x, y, z
FACETS = 24  # of half a circle
SIZE, DOTS = (15.0, 5.5), 100  # [inch], [1/inch]


def draw_robot(robot: RobotSpec, file: Path) -> None:
    """Draw the capsules and the tools of a robot at home, in the base frame.

    Raises:
        ConfigError: The picture cannot be written.
    """
    from matplotlib.figure import Figure

    from vla_ros.kinematics import Kinematics

    tools = [arm.tool_frame for arm in robot.arms]
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, tools[0])
    home = np.array(robot.home)
    figure = Figure(figsize=SIZE)
    links = list(dict.fromkeys(capsule.link for capsule in robot.capsules))
    for axes, (side, seen) in zip(figure.subplots(1, len(SIDES)), SIDES.items()):
        for capsule in robot.capsules:
            rotation, position = kinematics.frame_pose(home, capsule.link)
            a, b = (rotation @ np.array(end) + position for end in (capsule.a, capsule.b))
            outline = stadium(a[list(seen)], b[list(seen)], capsule.radius)
            axes.fill(*outline.T, alpha=0.4, color=f'C{links.index(capsule.link)}')
        for tool in tools:
            axes.plot(*kinematics.frame_pose(home, tool)[1][list(seen)], 'k+')
        if robot.floor_height is not None and seen[1] == 2:
            axes.axhline(robot.floor_height, color='grey')
        axes.set(title=side, xlabel=f'{"xyz"[seen[0]]} [m]', ylabel=f'{"xyz"[seen[1]]} [m]')
        axes.set_aspect('equal')
    figure.suptitle(f'{robot.name}: {len(robot.capsules)} capsules at home')
    figure.tight_layout()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=DOTS)
    except (OSError, ValueError) as error:
        raise ConfigError(f'cannot write the picture {file}: {error}; name a .png.') from error


def stadium(a: Array, b: Array, radius: float) -> Array:
    """Return the outline of a capsule seen from one side, (2 FACETS, 2): a flat one of its own."""
    along = np.arctan2(*(b - a)[::-1])
    turn = np.linspace(0.5 * np.pi, 1.5 * np.pi, FACETS) + along
    arc = radius * np.column_stack([np.cos(turn), np.sin(turn)])
    return np.vstack([a + arc, b - arc])
