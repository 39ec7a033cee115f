"""What this machine lacks: versions, rendering, ROS, messages, files; each with its cure."""

from __future__ import annotations

from collections.abc import Callable
import ctypes.util
from importlib import metadata, util
import sys

from vla_ros import config, paths
from vla_ros.errors import VlaError
from vla_ros.fit import check
from vla_ros.preflight.finding import bad, Finding, ok
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.spec import PolicySpec

PYTHON = ((3, 10), (3, 13))  # oldest and newest that is supported
# distribution -> what cannot be done without it
PACKAGES = {
    'numpy': 'anything',
    'pin': 'kinematics',
    'daqp': 'the safety filter',
    'numba': 'the safety filter',
    'mujoco': 'the simulator',
    'imageio-ffmpeg': 'video',
    'torch': 'learned policies',
    'transformers': 'learned policies',
}
READABLE, CORRECT = 'a file that can be read', 'correct the file'


def examine() -> list[Finding]:
    """Look at everything; no finding stops the next."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        _python, _packages, _rendering, _ros, _files,
    )  # fmt: skip
    return [finding for look in looks for finding in look()]


def _python() -> list[Finding]:
    version = sys.version_info[:2]
    found = '.'.join(map(str, sys.version_info[:3]))
    if PYTHON[0] <= version <= PYTHON[1]:
        return [ok('python', found)]
    expected = ' to '.join('.'.join(map(str, end)) for end in PYTHON)
    return [bad('python', found, expected, f'use Python {expected}')]


def _packages() -> list[Finding]:
    found = []
    for name, purpose in PACKAGES.items():
        try:
            found.append(ok(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append(bad(name, f'missing, needed for {purpose}', 'a package', 'make setup'))
    return found


def _rendering() -> list[Finding]:
    library = ctypes.util.find_library('EGL')
    if library is not None:
        return [ok('egl', library)]
    cure = 'apt-get install libegl1 libgl1-mesa-dri'
    return [bad('egl', 'libEGL was not found', 'a library to draw with', cure)]


def _ros() -> list[Finding]:
    cures = {
        'rclpy': 'make setup, or source a ROS 2 distribution',
        'vla_ros_msgs': 'make setup, or build msg/ with colcon and source its workspace',
    }
    return [
        ok(name, 'found')
        if util.find_spec(name)
        else bad(name, 'cannot be imported', 'a package', cure)
        for name, cure in cures.items()
    ]


def _files() -> list[Finding]:
    """Read every robot, policy and checkpoint folder, and see that each policy fits."""
    found: list[Finding] = []
    robots: list[RobotSpec] = []
    folder = paths.share() / 'config'
    for file in sorted((folder / 'robots').glob('*.yaml')):
        try:
            robots.append(load_robot(file))
            found.append(ok(f'robot {file.stem}', f'{robots[-1].dof} joints'))
        except VlaError as error:
            found.append(bad(f'robot {file.stem}', str(error), READABLE, CORRECT))
    for file in sorted((folder / 'policies').glob('*.yaml')):
        try:
            policy = config.load(file, PolicySpec)
        except VlaError as error:
            found.append(bad(f'policy {file.stem}', str(error), READABLE, CORRECT))
            continue
        fits = [robot.name for robot in robots if not check(robot, policy)]
        if not fits:
            cure = f'vla check ROBOT {file.stem}'
            found.append(bad(f'policy {file.stem}', 'fits no robot', 'one that it fits', cure))
            continue
        detail = f'fits {", ".join(fits)}'
        if policy.checkpoint and not (paths.share() / policy.checkpoint).is_dir():
            detail += f'; its checkpoint {policy.checkpoint} is not here'  # large ones are not
        found.append(ok(f'policy {file.stem}', detail))
    return found
