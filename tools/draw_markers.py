"""Draws what `vla/markers` shows over a picture of the simulator: the figure of docs/markers.md.

python tools/draw_markers.py docs/images/markers.png

Starts simulator, safety filter and markers node, reports obstacles, sends the arm towards one and,
when the filter intervenes, paints the very messages that a viewer would get.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path
import random
import sys
import time

import cv2
import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros import graph, paths, supervisor
from vla_ros.cli.session import free_domain
from vla_ros.mark import Form, Mark
from vla_ros.nodes.client import Client
from vla_ros.obstacle import Obstacle
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import sample_episode
from vla_ros.types import Trajectory

WIDTH, HEIGHT = 1440, 1000  # [px]
LOOK_AT, DISTANCE, AZIMUTH, ELEVATION = (0.28, 0.05, 0.35), 2.05, 142.0, -18.0  # [m], [deg]
FACETS = 24  # of a round thing
LIMIT = 60.0  # [s] of every wait
SEED = 3
OBSTACLES = (
    Obstacle('column', 'cylinder', [0.5, 0.05], [0.40, 0.34, 0.25]),
    Obstacle('crate', 'box', [0.20, 0.24, 0.16], [0.62, -0.30, 0.08], [0.0, 0.0, 0.26, 0.966]),
    Obstacle(
        'ball', 'sphere', [0.07], [0.15, -0.45, 0.45], linear_velocity=[0.0, -0.12, 0.0],
        uncertainty=0.02,
    ),
)  # fmt: skip
TURN, DURATION = 1.2, 2.0  # [rad], [s] of the first joint, through the column


def main(target: Path) -> None:
    """Run the cell, wait for an intervention and paint it."""
    domain = str(free_domain(random.Random()))
    os.environ.update(ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST', ROS_DOMAIN_ID=domain)
    robot = load_robot(paths.find('robots', 'panda'))
    started = supervisor.commands(robot, {'seed': SEED, 'markers': True}, without=('policy',))
    with supervisor.Supervisor(started, lambda name, line: print(name, line)), Client() as client:
        marks, joints = intervention(client, robot)
    picture = paint(robot, marks, joints)
    cv2.imwrite(str(target), picture[..., ::-1])


def intervention(client: Client, robot: RobotSpec) -> tuple[tuple[Mark, ...], np.ndarray]:
    """Return the marks of an instant at which the filter holds the arm back, and its joints."""
    shown: list[tuple[Mark, ...]] = []
    joints: list[np.ndarray] = []
    client.listen(graph.MARKERS, lambda m: shown.append(convert.marks_from_msg(m)[0]))
    client.listen(
        graph.JOINT_STATES,
        lambda m: joints.append(convert.joint_state_from_msg(m, robot.joint_names).position),
    )
    client.until(lambda: client.safety and shown and joints, LIMIT, 'the cell')
    out = {
        topic: client.node.create_publisher(interface(topic.type), topic.name, profile(topic.qos))
        for topic in (graph.OBSTACLES, graph.OVERRIDE)
    }

    def report() -> bool:
        message = convert.obstacles_to_msg(OBSTACLES, time.time(), robot.base_frame)
        out[graph.OBSTACLES].publish(message)
        return any(mark.space == 'obstacles' for mark in shown[-1])

    client.until(report, LIMIT, 'the obstacles')
    share = np.linspace(0.0, 1.0, 41)[1:]
    positions = np.tile(np.append(robot.home, robot.gripper.open), (len(share), 1))
    positions[:, 0] += TURN * share**2 * (3.0 - 2.0 * share)
    plan = Trajectory(time.time(), DURATION * share, positions)
    out[graph.OVERRIDE].publish(convert.trajectory_to_msg(plan, robot.joint_names))

    def instant() -> tuple[tuple[Mark, ...], np.ndarray] | None:
        report()
        marks = shown[-1]
        held = any(mark.space == 'arm' and mark.colour[3] > 0.5 for mark in marks)
        moving = any(mark.space == 'motion' for mark in marks)
        return (marks, joints[-1]) if held and moving else None

    return client.until(instant, LIMIT, 'an intervention')


def paint(robot: RobotSpec, marks: tuple[Mark, ...], joints: np.ndarray) -> np.ndarray:
    """Return the simulator's picture (h, w, 3) with the marks over it."""
    table = Tabletop(robot, robot.urdf_path)
    table.reset(sample_episode('reach', SEED), joints[: robot.dof], float(joints[-1]))
    model, data = table.world.model, table.world.data
    model.vis.global_.offwidth, model.vis.global_.offheight = WIDTH, HEIGHT
    camera = mujoco.MjvCamera()
    camera.lookat[:] = LOOK_AT
    camera.distance, camera.azimuth, camera.elevation = DISTANCE, AZIMUTH, ELEVATION
    with mujoco.Renderer(model, HEIGHT, WIDTH) as renderer:
        renderer.update_scene(data, camera)
        image = renderer.render().astype(np.float64) / 255.0
        view = View(renderer.scene.camera, np.deg2rad(model.vis.global_.fovy))
        renderer.enable_depth_rendering()
        renderer.update_scene(data, camera)
        depth = renderer.render().astype(np.float64)
    solid = [m for m in marks if m.form not in (Form.LINES, Form.TEXT)]
    layers = [view.layer([m for m in solid if m.space == s]) for s in {m.space for m in solid}]
    order = np.argsort([-layer[0] for layer in layers], axis=0)
    for rank in range(len(layers)):  # the farthest of each pixel first
        for number, (near, colour) in enumerate(layers):
            seen = (order[rank] == number) & (near < depth + 0.004)
            share = colour[..., 3:] * seen[..., None]
            image = image * (1.0 - share) + colour[..., :3] * share
    return view.annotate((255.0 * image).astype(np.uint8), marks)


class View:
    """A pinhole camera that rasters triangles."""

    def __init__(self, eyes: Sequence[mujoco.MjvGLCamera], fovy: float) -> None:
        self.eye = np.mean([eye.pos for eye in eyes], axis=0)
        forward, up = np.array(eyes[0].forward), np.array(eyes[0].up)
        self.axes = np.stack([np.cross(forward, up), -up, forward])  # right, down, forward
        self.focal = 0.5 * HEIGHT / np.tan(0.5 * fovy)  # [px]

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return column, row [px] and depth [m] (k, 3) of points (k, 3) [m]."""
        x, y, z = self.axes @ (points - self.eye).T
        z = np.maximum(z, 1e-3)
        half = 0.5 * np.array([[WIDTH], [HEIGHT]])
        return np.concatenate([self.focal * np.stack([x, y]) / z + half, z[None]]).T

    def layer(self, marks: list[Mark]) -> tuple[np.ndarray, np.ndarray]:
        """Return depth (h, w) [m] and colour (h, w, 4) of the nearest surface of marks."""
        depth, colour = np.full((HEIGHT, WIDTH), np.inf), np.zeros((HEIGHT, WIDTH, 4))
        for mark in marks:
            for corners in triangles(mark):
                normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
                size = np.linalg.norm(normal)
                if size > 0.0 and normal @ (corners[0] - self.eye) < 0.0:
                    light = 0.65 + 0.35 * abs(normal @ (0.3, -0.4, 0.87)) / size
                    shade = (*(light * np.array(mark.colour[:3])), mark.colour[3])
                    self._fill(self.project(corners), np.array(shade), depth, colour)
        return depth, colour

    def _fill(
        self, corners: np.ndarray, shade: np.ndarray, depth: np.ndarray, colour: np.ndarray
    ) -> None:
        low = np.clip(np.floor(corners[:, :2].min(axis=0)).astype(int), 0, (WIDTH, HEIGHT))
        high = np.clip(np.ceil(corners[:, :2].max(axis=0)).astype(int), 0, (WIDTH, HEIGHT))
        if (high <= low).any():
            return
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        (ax, ay, _), (bx, by, _), (cx, cy, _) = corners
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if abs(area) < 1e-9:
            return
        u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        w = 1.0 - u - v
        z = 1.0 / (u / corners[0, 2] + v / corners[1, 2] + w / corners[2, 2])
        part = slice(low[1], high[1]), slice(low[0], high[0])
        new = (u >= -1e-9) & (v >= -1e-9) & (w >= -1e-9) & (z < depth[part])
        depth[part][new], colour[part][new] = z[new], shade

    def annotate(self, image: np.ndarray, marks: tuple[Mark, ...]) -> np.ndarray:
        """Draw lines, then words."""
        image = np.ascontiguousarray(image)
        for mark in marks:
            if mark.form is Form.LINES:
                ends = self.project(mark.points)[:, :2].round().astype(int)
                for a, b in zip(ends[::2].tolist(), ends[1::2].tolist()):
                    cv2.line(image, a, b, (0, 0, 0), 7, cv2.LINE_AA)
                    cv2.line(image, a, b, rgb(mark), 3, cv2.LINE_AA)
        for mark in marks:
            if mark.form is Form.TEXT:
                column, row, far = self.project(mark.position[None])[0]
                scale = self.focal * mark.size[2] / far / 22.0  # 22 px: a capital letter at 1
                for i, line in enumerate(mark.text.split('\n')):
                    (wide, _), _ = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
                    place = (int(column - wide / 2), int(row + i * 36.0 * scale))
                    for width, shade in ((6, (0, 0, 0)), (2, rgb(mark))):
                        cv2.putText(
                            image, line, place, cv2.FONT_HERSHEY_SIMPLEX, scale, shade, width,
                            cv2.LINE_AA,
                        )  # fmt: skip
        return image


def rgb(mark: Mark) -> tuple[int, ...]:
    """Return the colour of a mark in bytes."""
    return tuple(int(255 * part) for part in mark.colour[:3])


def triangles(mark: Mark) -> np.ndarray:
    """Return the surface (k, 3, 3) [m] of a mark in the base frame."""
    if mark.form is Form.ARROW:
        return arrow(mark)
    if mark.form is Form.SPHERES:
        return np.concatenate([lathe(BALL) * mark.size / 2.0 + point for point in mark.points])
    local = {
        Form.BOX: lambda: CUBE * mark.size,
        Form.CYLINDER: lambda: lathe(ROD) * mark.size / [2.0, 2.0, 1.0],
        Form.TRIANGLES: lambda: mark.points.reshape(-1, 3, 3),
    }[mark.form]()
    turn = Rotation.from_quat(np.array(mark.orientation)).as_matrix()
    return local @ turn.T + mark.position


def arrow(mark: Mark) -> np.ndarray:
    """Return the surface of an arrow: a rod and a cone."""
    start, end = mark.points
    length = float(np.linalg.norm(end - start))
    shaft, head, tip = mark.size
    neck = length - tip
    turn = Rotation.align_vectors([(end - start) / length], [[0.0, 0.0, 1.0]])[0].as_matrix()
    outline = [(0.0, 0.0), (shaft, 0.0), (shaft, neck), (head, neck), (0.0, length)]
    return lathe(np.array(outline) / [2.0, 1.0]) @ turn.T + start


def lathe(outline: np.ndarray) -> np.ndarray:
    """Return the surface (k, 3, 3) of an outline (radius, z), upwards, turned about z."""
    angle = np.linspace(0.0, 2.0 * np.pi, FACETS + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    grid = np.concatenate(
        [
            outline[:, None, :1] * ring[None],
            np.broadcast_to(outline[:, None, 1:], (len(outline), FACETS + 1, 1)),
        ],
        axis=2,
    )
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, 1:], grid[1:, :-1]
    return np.stack([a, b, c, a, c, d], axis=2).reshape(-1, 3, 3)


ARC = np.linspace(-0.5 * np.pi, 0.5 * np.pi, FACETS // 2 + 1)
BALL = np.stack([np.cos(ARC), np.sin(ARC)], axis=1)  # of radius 1
ROD = np.array([(0.0, -0.5), (1.0, -0.5), (1.0, 0.5), (0.0, 0.5)])  # of radius and height 1
_SIDE = np.array([(1, -1, -1), (1, 1, -1), (1, 1, 1), (1, -1, -1), (1, 1, 1), (1, -1, 1)]) / 2.0
CUBE = np.concatenate(
    [np.roll(_SIDE, axis, axis=1).reshape(-1, 3, 3) for axis in range(3)]
    + [-np.roll(_SIDE, axis, axis=1)[::-1].reshape(-1, 3, 3) for axis in range(3)]
)  # of edge 1

if __name__ == '__main__':
    main(Path(sys.argv[1]))
