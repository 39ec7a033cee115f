"""What this machine lacks: versions, rendering, ROS, messages, files; each with its cure."""

from __future__ import annotations

from collections.abc import Callable
import ctypes.util
from dataclasses import dataclass
from importlib import metadata, util
import os
from pathlib import Path
import sys

from vla_ros import config, paths
from vla_ros.errors import VlaError
from vla_ros.fit import check
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
PROFILE = 'FASTDDS_DEFAULT_PROFILES_FILE'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    detail: str
    cure: str = ''


def examine() -> list[Finding]:
    """Look at everything; no finding stops the next."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        _python, _packages, _rendering, _ros, _profile, _files,
    )  # fmt: skip
    return [finding for look in looks for finding in look()]


def _python() -> list[Finding]:
    version = sys.version_info[:2]
    return [
        Finding(
            'python',
            PYTHON[0] <= version <= PYTHON[1],
            '.'.join(map(str, sys.version_info[:3])),
            f'use Python {PYTHON[0][0]}.{PYTHON[0][1]} to {PYTHON[1][0]}.{PYTHON[1][1]}',
        )
    ]


def _packages() -> list[Finding]:
    found = []
    for name, purpose in PACKAGES.items():
        try:
            found.append(Finding(name, True, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append(Finding(name, False, f'missing, needed for {purpose}', 'make setup'))
    return found


def _rendering() -> list[Finding]:
    library = ctypes.util.find_library('EGL')
    detail = library or 'libEGL was not found'
    return [Finding('egl', library is not None, detail, 'apt-get install libegl1 libgl1-mesa-dri')]


def _ros() -> list[Finding]:
    cures = {
        'rclpy': 'make setup, or source a ROS 2 distribution',
        'vla_ros_msgs': 'make setup, or build msg/ with colcon and source its workspace',
    }
    return [
        Finding(name, True, 'found')
        if util.find_spec(name)
        else Finding(name, False, 'cannot be imported', cure)
        for name, cure in cures.items()
    ]


def _profile() -> list[Finding]:
    value = os.environ.get(PROFILE, '')
    if value and Path(value).is_file():
        return [Finding('dds profile', True, value)]
    detail = f'{PROFILE} names no file ({value})' if value else f'{PROFILE} is not set'
    cure = f'export {PROFILE}=.../config/dds/fastdds.xml, else large pictures are lost'
    return [Finding('dds profile', False, detail, cure)]


def _files() -> list[Finding]:
    """Read every robot, policy and checkpoint folder, and see that each policy fits."""
    found: list[Finding] = []
    robots: list[RobotSpec] = []
    folder = paths.share() / 'config'
    for file in sorted((folder / 'robots').glob('*.yaml')):
        try:
            robots.append(load_robot(file))
            found.append(Finding(f'robot {file.stem}', True, f'{robots[-1].dof} joints'))
        except VlaError as error:
            found.append(Finding(f'robot {file.stem}', False, str(error)))
    for file in sorted((folder / 'policies').glob('*.yaml')):
        try:
            policy = config.load(file, PolicySpec)
        except VlaError as error:
            found.append(Finding(f'policy {file.stem}', False, str(error)))
            continue
        fits = [robot.name for robot in robots if not check(robot, policy)]
        detail = f'fits {", ".join(fits)}' if fits else 'fits no robot'
        cure = f'vla check ROBOT {file.stem}'
        if policy.checkpoint and not (paths.share() / policy.checkpoint).is_dir():
            detail += f'; its checkpoint {policy.checkpoint} is not here'  # large ones are not
        found.append(Finding(f'policy {file.stem}', bool(fits), detail, cure))
    return found
