"""A picture of an arm at home from two sides: its shapes, and the capsules around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_ros.importing.body import Body
from vla_ros.importing.fingers import chain_of, pose
from vla_ros.importing.parts import Parts
from vla_ros.kinematics import Kinematics, read_model
from vla_ros.robot import RobotSpec
from vla_ros.types import Array

VIEWS = ((12.0, -90.0), (12.0, -20.0))  # elevation and azimuth [deg]
MOST = 8000  # triangles of one link that are drawn, the largest
ROUND = 20  # sides of a drawn capsule
SHELL, SKIN, TIPS = (0.72, 0.73, 0.75), (0.10, 0.45, 0.85, 0.13), (0.90, 0.45, 0.05, 0.16)


def draw(
    robot: RobotSpec, parts: Parts, body: Body, ends: tuple[float, float] | None, file: Path
) -> None:
    """Write a PNG of a robot at home, its gripper open."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    shapes = _shapes(robot, kinematics, parts, body, ends)
    capsules = _capsules(robot, kinematics)
    points = np.concatenate([c.reshape(-1, 3) for _, c in capsules])
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = 0.5 * (low + high), 0.5 * float((high - low).max())
    figure = Figure(figsize=(12.0, 6.5), layout='constrained')
    for number, view in enumerate(VIEWS, 1):
        axes = figure.add_subplot(1, 2, number, projection='3d')
        _fill(axes, shapes, capsules)
        for k, word in enumerate('xyz'):
            getattr(axes, f'set_{word}lim')(middle[k] - half, middle[k] + half)
            getattr(axes, f'set_{word}label')(f'{word} [m]')
        axes.set_box_aspect((1, 1, 1), zoom=1.15)
        axes.view_init(*view)
    fingers = ' (fingers orange)' if robot.finger_capsules else ''
    figure.suptitle(f'{robot.name} at home: {len(robot.capsules)} capsules{fingers}')
    FigureCanvasAgg(figure).print_png(str(file))


def _fill(axes: object, shapes: list[Array], capsules: list[tuple[bool, Array]]) -> None:
    """Draw everything as one collection, so that what is behind is drawn first."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    light = np.array([0.4, -0.5, 0.75])
    faces, colours = [], []
    for triangles in shapes:
        normal = _normals(triangles)
        normal /= np.maximum(np.linalg.norm(normal, axis=1), 1e-12)[:, None]
        bright = 0.55 + 0.45 * np.abs(normal @ light)
        faces.append(triangles)
        colours.append(np.column_stack((np.outer(bright, SHELL), np.ones(len(bright)))))
    for finger, triangles in capsules:
        faces.append(triangles)
        colours.append(np.tile(TIPS if finger else SKIN, (len(triangles), 1)))
    axes.add_collection3d(  # type: ignore[attr-defined]
        Poly3DCollection(np.concatenate(faces), facecolors=np.concatenate(colours), linewidths=0)
    )


def _shapes(
    robot: RobotSpec,
    kinematics: Kinematics,
    parts: Parts,
    body: Body,
    ends: tuple[float, float] | None,
) -> list[Array]:
    """Return the triangles of every link in the base frame."""
    model = read_model(robot.urdf_path)
    home = np.array(robot.home)
    drawn = []
    for link, solid in body.solids.items():
        triangles = _largest(solid.triangles)
        round_ = [_capsule(t[0], t[1], r) for t, r in zip(solid.triangles, solid.radius) if r]
        triangles = np.concatenate([triangles, *round_])
        if parts.gripper is not None and ends is not None and chain_of(model, parts, link):
            turn, place = pose(model, parts, link, {parts.gripper.name: ends[1]})
            triangles, link = triangles @ turn.T + place, parts.carrier
        turn, place = kinematics.frame_pose(home, link)
        drawn.append(triangles @ turn.T + place)
    return drawn


def _largest(triangles: Array) -> Array:
    return triangles[np.argsort(-np.linalg.norm(_normals(triangles), axis=1))[:MOST]]


def _normals(triangles: Array) -> Array:
    """Return a normal of each triangle (T, 3) [m^2], of twice its area."""
    return np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])


def _capsules(robot: RobotSpec, kinematics: Kinematics) -> list[tuple[bool, Array]]:
    """Return the triangles of every capsule in the base frame, and whether it is of a finger."""
    drawn = []
    for capsule in robot.capsules:
        turn, place = kinematics.frame_pose(np.array(robot.home), capsule.link)
        triangles = _capsule(np.array(capsule.a), np.array(capsule.b), capsule.radius)
        finger = capsule.name in robot.finger_capsules
        drawn.append((finger, triangles @ turn.T + place))
    return drawn


def _capsule(a: Array, b: Array, radius: float) -> Array:
    """Return a capsule as triangles (T, 3, 3)."""
    way = b - a
    length = float(np.linalg.norm(way))
    axis = way / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    across = np.linalg.svd(axis[None])[2][1:]
    rise = np.linspace(-np.pi / 2, np.pi / 2, ROUND // 2 + 1)
    around = np.linspace(0.0, 2.0 * np.pi, ROUND + 1)
    ring = np.cos(around)[:, None] * across[0] + np.sin(around)[:, None] * across[1]
    grid = np.array([
        (a if angle <= 0.0 else b) + radius * (np.sin(angle) * axis + np.cos(angle) * ring)
        for angle in (*rise[rise <= 0.0], *rise[rise >= 0.0] + 1e-12)
    ])  # fmt: skip
    p, q, r, s = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    return np.concatenate((np.stack((p, q, r), -2), np.stack((p, r, s), -2))).reshape(-1, 3, 3)
