"""`vla show robots|policies|suites`: what is there."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import yaml

from vla_ros import config, paths
from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output, plain


@click.command()
@click.argument('kind', type=click.Choice(('robots', 'policies', 'suites')))
@json_option
def verb(kind: str, output: Output) -> None:
    """List the robots, policies or suites that config/ describes."""
    describe = {'robots': _robot, 'policies': _policy, 'suites': _suite}[kind]
    files = sorted((paths.share() / 'config' / kind).glob('*.yaml'))
    entries = {file.stem: describe(file.stem) for file in files}
    text = yaml.safe_dump(plain(entries), sort_keys=False, default_flow_style=None, width=100)
    output.console.print(text, end='', markup=False, soft_wrap=True)
    output.write({kind: entries})


def _robot(name: str) -> dict[str, Any]:
    from vla_ros.kinematics import Kinematics
    from vla_ros.robot import load_robot

    robot = load_robot(paths.find('robots', name))
    poses = {}
    for arm in robot.arms:
        kinematics = Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame)
        rotation, position = kinematics.fk(np.array(arm.home))
        poses[arm.name] = {'position': position.tolist(), 'quaternion': _quaternion(rotation)}
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
        'tool_pose': poses if len(poses) > 1 else next(iter(poses.values())),
        'cameras': [camera.name for camera in robot.cameras],
    }


def _quaternion(rotation: Any) -> list[float]:
    from scipy.spatial.transform import Rotation

    xyzw = Rotation.from_matrix(rotation).as_quat()
    return [float(v) for v in (xyzw if xyzw[3] >= 0.0 else -xyzw)]  # one sign of the two


def _policy(name: str) -> dict[str, Any]:
    from vla_ros.spec import PolicySpec

    policy = config.load(paths.find('policies', name), PolicySpec)
    return {
        'adapter': policy.adapter,
        'images': {image.camera: image.size for image in policy.images},
        'state': [part.kind for part in policy.state],
        'action': [f'{part.kind} ({part.relative_to})' for part in policy.action],
        'step': policy.step,
        'horizon': policy.horizon,
        'checkpoint': policy.checkpoint,
    }


def _suite(name: str) -> dict[str, Any]:
    from vla_ros.evaluation.suite import load_suite
    from vla_ros.sim.tasks import TASKS

    suite = load_suite(name)
    return {'tasks': {task: TASKS[task].time_limit for task in suite.tasks}}
