"""Several robots in one: the fields of a RobotSpec from a file that says what stands where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
import hashlib
import os
from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np

from vla_ros import paths
from vla_ros.errors import ConfigError
from vla_ros.obstacle import Obstacle
from vla_ros.types import Array, Quaternion, Vector3
from vla_ros.urdf import Bolted, compose, turn_of

if TYPE_CHECKING:  # robot.py imports this module
    from vla_ros.robot import Arm, Camera, RobotSpec


@dataclass(frozen=True)
class Mount:
    """One robot of several: which, what its names begin with, and where its base is."""

    robot: str  # a name in config/robots or a path
    prefix: str  # before its joints, links, capsules, cameras and obstacles
    position: Vector3 = (0.0, 0.0, 0.0)  # [m] of its base frame
    orientation: Quaternion = (0.0, 0.0, 0.0, 1.0)  # of its base frame, xyzw
    namespace: str | None = None  # of its topics; None: the prefix stands before them too
    home: tuple[float, ...] | None = None  # (dof,) [rad]; None: its own
    cameras: tuple[str, ...] | None = None  # those that are there; None: all of its own

    def __post_init__(self) -> None:
        length = float(np.linalg.norm(self.orientation))
        if not abs(length - 1.0) < 1e-6:
            raise ConfigError(f'orientation {self.orientation} has length {length}, expected 1.')

    @property
    def turn(self) -> Array:
        """Rotation (3, 3) of its base frame."""
        return turn_of(self.orientation)


@dataclass(frozen=True)
class Rig:
    """A robot file whose arms are robots of other files; what it says itself comes first."""

    name: str
    arms: Mapping[str, Mount]
    base_frame: str = 'base'
    urdf: str | None = None  # with the same prefixed names; None: composed of theirs
    cameras: tuple[Any, ...] = ()  # besides theirs
    ignored_pairs: tuple[tuple[str, str], ...] = ()  # besides theirs
    floor_height: float | None = None  # [m]; None: theirs, where they agree
    obstacles: tuple[Obstacle, ...] = ()  # besides theirs
    enable: Any = None


def fields_of(rig: Rig, robots: Mapping[str, RobotSpec]) -> dict[str, Any]:
    """Return the fields of the RobotSpec of a rig.

    Pairs of capsules of one robot are ignored where its own file ignores them; those of two
    robots are all checked.

    Args:
        rig: What stands where.
        robots: Of each name in it.

    Raises:
        ConfigError: A robot has several arms itself, or the floors do not agree.
    """
    mounts = {arm: (mount, robots[mount.robot]) for arm, mount in rig.arms.items()}
    for _, robot in mounts.values():
        if len(robot.arms) > 1:
            raise ConfigError(f'{rig.name}: {robot.name} has several arms; name each of them.')
    both = list(mounts.values())
    return {
        'name': rig.name,
        'urdf': _urdf(rig, both) if rig.urdf is None else rig.urdf,
        'base_frame': rig.base_frame,
        'arms': tuple(_arm(name, *mounted) for name, mounted in mounts.items()),
        'cameras': (*rig.cameras, *(c for mounted in both for c in _cameras(*mounted))),
        'capsules': tuple(
            replace(c, name=m.prefix + c.name, link=m.prefix + c.link)
            for m, robot in both
            for c in robot.capsules
        ),
        'ignored_pairs': (
            *((m.prefix + a, m.prefix + b) for m, robot in both for a, b in robot.ignored_pairs),
            *rig.ignored_pairs,
        ),
        'finger_capsules': tuple(m.prefix + n for m, r in both for n in r.finger_capsules),
        'floor_height': _floor(rig, both) if rig.floor_height is None else rig.floor_height,
        'floor_exempt': tuple(m.prefix + n for m, r in both for n in r.floor_exempt),
        'enable': rig.enable or next((r.enable for _, r in both if r.enable), None),
        'obstacles': (*rig.obstacles, *(o for mounted in both for o in _obstacles(*mounted))),
    }


def _arm(name: str, mount: Mount, robot: RobotSpec) -> Arm:
    arm, prefix = robot.arm(), mount.prefix
    gripper = arm.gripper
    return replace(
        arm,
        name=name,
        tool_frame=prefix + arm.tool_frame,
        joints=tuple(replace(joint, name=prefix + joint.name) for joint in arm.joints),
        home=arm.home if mount.home is None else mount.home,
        driver=replace(
            arm.driver,
            arm_topic=_topic(mount, arm.driver.arm_topic),
            gripper_topic=_topic(mount, arm.driver.gripper_topic),
            stop=_topic(mount, arm.driver.stop) if arm.driver.stop else None,
        ),
        gripper=gripper and replace(gripper, joint=prefix + gripper.joint),
    )


def _topic(mount: Mount, topic: str) -> str:
    """Return a relative topic of a robot, in its namespace or with its prefix."""
    if not topic or topic.startswith('/'):
        return topic
    return mount.prefix + topic if mount.namespace is None else f'{mount.namespace}/{topic}'


def _cameras(mount: Mount, robot: RobotSpec) -> Iterator[Camera]:
    names = [camera.name for camera in robot.cameras] if mount.cameras is None else mount.cameras
    for camera in map(robot.camera, names):
        yield replace(
            camera,
            name=mount.prefix + camera.name,
            topic=_topic(mount, camera.topic),
            frame=mount.prefix + camera.frame,
        )


def _obstacles(mount: Mount, robot: RobotSpec) -> Iterator[Obstacle]:
    """Yield what stands around a robot: a quaternion product and p + R p' for each."""
    x, y, z, w = mount.orientation
    product = np.array([[w, -z, y, x], [z, w, -x, y], [-y, x, w, z], [-x, -y, -z, w]])
    for o in robot.obstacles:
        yield replace(
            o,
            name=mount.prefix + o.name,
            position=mount.turn @ o.position + mount.position,
            orientation=product @ o.orientation,
        )


def _floor(rig: Rig, both: list[tuple[Mount, RobotSpec]]) -> float | None:
    """Return the height of the floor that all robots stand on [m], None where none has one."""
    heights = set()
    for mount, robot in both:
        if robot.floor_height is not None:
            if abs(mount.turn[2, 2] - 1.0) > 1e-9:
                raise ConfigError(f'{rig.name}: {mount.prefix} does not stand: say floor_height.')
            heights.add(mount.position[2] + robot.floor_height)
    if len(heights) > 1:
        raise ConfigError(f'{rig.name}: its floors are at {heights} m: say floor_height.')
    return heights.pop() if heights else None


def _urdf(rig: Rig, both: list[tuple[Mount, RobotSpec]]) -> str:
    """Write the composed URDF once, under a name that tells its content, and return its path."""
    parts = [
        Bolted(r.urdf_path, m.prefix, r.base_frame, rig.base_frame, m.position, m.orientation)
        for m, r in both
    ]
    content = compose(rig.name, parts, rig.base_frame)
    file = paths.cache() / 'urdf' / f'{rig.name}-{hashlib.sha256(content).hexdigest()[:16]}.urdf'
    if not file.exists():
        write_whole(file, content)
    return str(file)


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that whoever reads it meanwhile sees all of it or none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f'.{os.getpid()}')
    draft.write_bytes(content)
    draft.replace(file)
