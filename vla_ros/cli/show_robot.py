"""A robot file in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from vla_ros import graph, paths
from vla_ros.robot import load_robot


def describe(name: str) -> dict[str, Any]:
    """Return joints, limits, home and the pose of the tool there."""
    from vla_ros.kinematics import Kinematics

    robot = load_robot(paths.find('robots', name))
    arm = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    rotation, position = arm.fk(np.array(robot.home))
    return {
        'joints': list(robot.joint_names),
        'limits': {
            joint.name: {
                'lower': joint.lower,
                'upper': joint.upper,
                'velocity': joint.velocity,
                'acceleration': joint.acceleration,
                'jerk': joint.jerk,
            }
            for joint in robot.joints
        },
        'home': list(robot.home),
        'tool_pose': {'position': position.tolist(), 'quaternion': _quaternion(rotation)},
        'cameras': [camera.name for camera in robot.cameras],
    }


def describe_fully(name: str) -> dict[str, Any]:
    """Return that, and frames, gripper, driver, cameras and capsules."""
    robot = load_robot(paths.find('robots', name))
    arm, gripper = graph.controller_topics(robot)
    return {
        'name': robot.name,
        'urdf': robot.urdf,
        'frames': {'base': robot.base_frame, 'tool': robot.tool_frame},
        **describe(name),
        'gripper': {
            'joint': robot.gripper.joint,
            'closed': robot.gripper.closed,
            'open': robot.gripper.open,
            'velocity': robot.gripper.velocity,
        },
        'driver': {'kind': robot.driver.kind, 'arm': arm.name, 'gripper': gripper.name},
        'cameras': {
            camera.name: {
                'topic': graph.camera_topics(robot, camera.name)[0].name,
                'size': [camera.width, camera.height],
                'rate': camera.rate,
                'frame': camera.frame,
            }
            for camera in robot.cameras
        },
        'capsules': {
            capsule.name: {
                'link': capsule.link,
                'radius': capsule.radius,
                'length': float(np.linalg.norm(np.subtract(capsule.b, capsule.a))),
            }
            for capsule in robot.capsules
        },
        'ignored_pairs': len(robot.ignored_pairs),
    }


def table(entry: dict[str, Any]) -> RenderableType:
    """Return it as tables for a console."""
    pose = entry['tool_pose']
    place = ' '.join(f'{v:.4f}' for v in pose['position'])
    turn = ' '.join(f'{v:.4f}' for v in pose['quaternion'])
    gripper, driver, frames = entry['gripper'], entry['driver'], entry['frames']
    lines = [
        f'{entry["name"]}: {entry["urdf"]}, {frames["base"]} to {frames["tool"]}',
        f'tool at home: position {place} m, quaternion (xyzw) {turn}',
        f'gripper: {gripper["joint"]}, closed {gripper["closed"]}, open {gripper["open"]} m, '
        f'{gripper["velocity"]} m/s',
        f'driver: {driver["kind"]}, arm {driver["arm"]}, gripper {driver["gripper"]}',
    ]
    joints = [
        (name, home, *limits.values())
        for (name, limits), home in zip(entry['limits'].items(), entry['home'])
    ]
    cameras = [
        (name, c['topic'], 'x'.join(map(str, c['size'])), c['rate'], c['frame'])
        for name, c in entry['cameras'].items()
    ]
    capsules = [(n, c['link'], c['radius'], c['length']) for n, c in entry['capsules'].items()]
    heads = 'joint', 'home', 'lower', 'upper', 'velocity', 'acceleration', 'jerk'
    return Group(
        *lines,
        _rows(heads, joints),
        _rows(('camera', 'topic', 'size', 'rate', 'frame'), cameras),
        _rows(('capsule', 'link', 'radius', 'length'), capsules),
        f'{entry["ignored_pairs"]} pairs of capsules are never checked; rad, m, s, Hz, px',
    )


def _rows(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    made = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*(f'{v:.4g}' if isinstance(v, float) else str(v) for v in row))
    return made


def _quaternion(rotation: Any) -> list[float]:
    from scipy.spatial.transform import Rotation

    xyzw = Rotation.from_matrix(rotation).as_quat()
    return [float(v) for v in (xyzw if xyzw[3] >= 0.0 else -xyzw)]  # one sign of the two
