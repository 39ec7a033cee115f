"""A robot file in numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from vla_ros import graph, paths
from vla_ros.robot import Arm, load_robot, RobotSpec


def describe(name: str) -> dict[str, Any]:
    """Return joints, limits, home and the pose of the tool there, of each tool of several arms."""
    from vla_ros.kinematics import Kinematics

    robot = load_robot(paths.find('robots', name))

    def pose(arm: Arm) -> dict[str, Any]:
        kinematics = Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame)
        rotation, position = kinematics.fk(np.array(arm.home))
        return {'position': position.tolist(), 'quaternion': _quaternion(rotation)}

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
        'tool_pose': _of_each(robot, pose),
        'cameras': [camera.name for camera in robot.cameras],
    }


def describe_fully(name: str) -> dict[str, Any]:
    """Return that, and frames, gripper, driver, cameras and capsules."""
    robot = load_robot(paths.find('robots', name))
    return {
        'name': robot.name,
        'urdf': robot.urdf,
        'frames': {'base': robot.base_frame, 'tool': _of_each(robot, lambda arm: arm.tool_frame)},
        **describe(name),
        'gripper': _of_each(robot, _gripper),
        'driver': _of_each(robot, _driver),
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


def _of_each(robot: RobotSpec, what: Callable[[Arm], Any]) -> Any:
    """Return something of the only arm, or of each of several by its name."""
    each = {arm.name: what(arm) for arm in robot.arms}
    return each if len(each) > 1 else next(iter(each.values()))


def _gripper(arm: Arm) -> dict[str, Any] | None:
    if arm.gripper is None:
        return None
    return {key: getattr(arm.gripper, key) for key in ('joint', 'closed', 'open', 'velocity')}


def _driver(arm: Arm) -> dict[str, Any]:
    driver = arm.driver
    return {'kind': driver.kind, 'arm': driver.arm_topic, 'gripper': driver.gripper_topic}


def table(entry: dict[str, Any]) -> RenderableType:
    """Return it as tables for a console."""
    lines = [f'{entry["name"]}: {entry["urdf"]}, joints from {entry["frames"]["base"]}']
    tools = entry['frames']['tool']
    parts = entry['tool_pose'], entry['gripper'], entry['driver']
    if isinstance(tools, str):
        lines += _arm_lines('', tools, *parts)
    else:
        for name in tools:
            lines += _arm_lines(f'{name}: ', tools[name], *(part[name] for part in parts))
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


def _arm_lines(
    head: str, tool: str, pose: Any, gripper: dict[str, Any] | None, driver: dict[str, Any]
) -> list[str]:
    place = ' '.join(f'{v:.4f}' for v in pose['position'])
    turn = ' '.join(f'{v:.4f}' for v in pose['quaternion'])
    lines = [f'{head}{tool} at home: position {place} m, quaternion (xyzw) {turn}']
    if gripper is not None:
        ends = f'closed {gripper["closed"]}, open {gripper["open"]}, speed {gripper["velocity"]}'
        lines.append(f'{head}gripper: {gripper["joint"]}, {ends}')
    told = f'{driver["kind"]}, arm {driver["arm"]}, gripper {driver["gripper"] or "none"}'
    return [*lines, f'{head}driver: {told}']


def _rows(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    made = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        made.add_row(*(f'{v:.4g}' if isinstance(v, float) else str(v) for v in row))
    return made


def _quaternion(rotation: Any) -> list[float]:
    from scipy.spatial.transform import Rotation

    xyzw = Rotation.from_matrix(rotation).as_quat()
    return [float(v) for v in (xyzw if xyzw[3] >= 0.0 else -xyzw)]  # one sign of the two
