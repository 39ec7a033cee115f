"""RobotSpec: what the package knows about one robot, read from `config/robots/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros import composition, config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.obstacle import check_fixed, Obstacle
from vla_ros.types import Array, Vector3


@dataclass(frozen=True)
class JointLimits:
    """Planning limits of one arm joint, tighter than the hardware's."""

    name: str
    lower: float  # [rad]
    upper: float  # [rad]
    velocity: float  # [rad/s]
    acceleration: float  # [rad/s^2]
    jerk: float  # [rad/s^3]
    velocity_law: tuple[Vector3, Vector3] = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))  # towards the lower
    # and the upper end, c [rad/s], k [rad/s^2], q [rad]: |v| <= -c + sqrt(k |q - end|); k 0: none

    def __post_init__(self) -> None:
        if not self.lower < self.upper:
            raise ConfigError(
                f"joint '{self.name}': lower {self.lower} is not below {self.upper}."
            )
        if not all(x > 0.0 for x in (self.velocity, self.acceleration, self.jerk)):
            raise ConfigError(f"joint '{self.name}': velocity, acceleration, jerk must exceed 0.")


@dataclass(frozen=True)
class Gripper:
    """A gripper driven by one joint; what else moves follows by mimic.

    The joint slides [m] or turns [rad], as the URDF has it, and closes either way: `closed` may
    lie above `open`.
    """

    joint: str
    closed: float  # [m] or [rad] joint position when closed
    open: float  # [m] or [rad] joint position when open
    velocity: float  # [m/s] or [rad/s]
    effort: float  # [N] or [N m]


@dataclass(frozen=True)
class Capsule:
    """A swept sphere that encloses collision geometry of one link."""

    name: str
    link: str
    a: Vector3  # [m] one end of the segment, link frame
    b: Vector3  # [m] other end
    radius: float  # [m]


TRANSPORTS = {  # how pictures come, and what is added to a camera's topic
    'raw': '',  # sensor_msgs/Image
    'compressed': '/compressed',  # sensor_msgs/CompressedImage
}


@dataclass(frozen=True)
class Camera:
    """A camera as it is mounted and published."""

    name: str
    topic: str  # relative topic of the raw pictures
    frame: str  # link that carries the camera
    position: Vector3  # [m] in that link
    look_at: Vector3  # [m] a point on the optical axis, same link
    up: Vector3  # image-up direction, same link
    fovy: float  # [rad] vertical field of view
    width: int = 640  # [px]
    height: int = 480  # [px]
    rate: float = 30.0  # [Hz]
    transport: str = 'raw'  # a word of TRANSPORTS

    def __post_init__(self) -> None:
        if self.transport not in TRANSPORTS:
            raise UnknownNameError(
                'transport', self.transport, TRANSPORTS, f"camera '{self.name}'"
            )
        ending = TRANSPORTS['compressed']
        if self.topic.endswith(ending):
            raise ConfigError(
                f"camera '{self.name}': topic '{self.topic}' ends with '{ending}', expected that "
                'of the raw pictures; write transport: compressed beside it.'
            )

    @property
    def optical_frame(self) -> str:
        """Frame of its pictures: z forward, x right, y down."""
        return f'{self.name}_optical_frame'


MOST_GAIN = 20.0  # [1/s]; beyond, the delay of joint states makes a position loop swing


@dataclass(frozen=True)
class Kind:
    """A kind of controller: what its topic or action takes."""

    type: str  # of the topic or action
    forwarded: bool = False  # it cannot play the stop of each command, or not take one a tick
    velocity: bool = False  # it takes velocities, not positions
    runs_on: bool = False  # its last command moves the arm for ever, should nobody speak any more
    carries: bool = False  # it can take the gripper's joint beside those of the arm


KINDS = {  # of the arm
    'joint_trajectory_controller': Kind('trajectory_msgs/msg/JointTrajectory', carries=True),
    'follow_joint_trajectory': Kind(
        'control_msgs/action/FollowJointTrajectory', forwarded=True, carries=True
    ),
    'forward_position_controller': Kind(
        'std_msgs/msg/Float64MultiArray', forwarded=True, carries=True
    ),
    'forward_velocity_controller': Kind(
        'std_msgs/msg/Float64MultiArray', forwarded=True, velocity=True, runs_on=True
    ),
    'isaac': Kind('sensor_msgs/msg/JointState', forwarded=True, carries=True),
    'moveit_servo': Kind('control_msgs/msg/JointJog', forwarded=True, velocity=True),
}
GRIPPERS = {  # None: the arm's controller takes the gripper's joint as well
    'joint_trajectory_controller': Kind('trajectory_msgs/msg/JointTrajectory'),
    'gripper_command': Kind('control_msgs/action/GripperCommand', forwarded=True),
    'forward_position_controller': Kind('std_msgs/msg/Float64MultiArray', forwarded=True),
    'arm': None,
}


@dataclass(frozen=True)
class Driver:
    """How commands reach the controllers of an arm and of its gripper."""

    kind: str  # of the arm's controller, a word of KINDS
    arm_topic: str  # or the name of the action
    gripper_topic: str = ''  # likewise; empty where `gripper` is arm
    gripper: str = 'joint_trajectory_controller'  # kind of its controller, a word of GRIPPERS
    stop: str | None = None  # service (std_srvs/Trigger) that is called once at level S4
    late: float = 0.01  # [s] a command may be late before the forwarder ends the stream
    gain: float = 5.0  # [1/s] of the position loop around a controller that takes velocities

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UnknownNameError('kind', self.kind, KINDS, 'driver')
        if self.gripper not in GRIPPERS:
            raise UnknownNameError('gripper', self.gripper, GRIPPERS, 'driver')
        if self.carries and not self.arm.carries:
            able = ', '.join(name for name, kind in KINDS.items() if kind.carries)
            raise ConfigError(
                f'driver: gripper is arm, but {self.kind} takes no gripper joint; give the '
                f'gripper a controller of its own, or the arm one of {able}.'
            )
        if not self.late > 0.0:
            raise ConfigError(f'driver: late is {self.late} s, expected more than 0.')
        if not 0.0 <= self.gain <= MOST_GAIN:
            raise ConfigError(f'driver: gain is {self.gain} 1/s, expected 0 to {MOST_GAIN}.')

    @property
    def arm(self) -> Kind:
        """What the arm's controller takes."""
        return KINDS[self.kind]

    @property
    def hand(self) -> Kind | None:
        """What the gripper's controller takes; None: the arm's controller drives it."""
        return GRIPPERS[self.gripper]

    @property
    def carries(self) -> bool:
        """Whether the arm's controller takes the gripper's joint as well."""
        return self.hand is None

    @property
    def streams(self) -> bool:
        """Whether the arm's commands go through the forwarder, one after another."""
        return self.arm.forwarded

    @property
    def forwarded(self) -> bool:
        """Whether there is anything that the forwarder does."""
        return self.streams or (self.hand is not None and self.hand.forwarded)


@dataclass(frozen=True)
class Enable:
    """A dead-man switch: the arm moves only while `vla/enable` says true again and again."""

    timeout: float  # [s] of silence after which the switch counts as released

    def __post_init__(self) -> None:
        if not self.timeout > 0.0:
            raise ConfigError(f'enable: timeout is {self.timeout} s, expected more than 0.')


@dataclass(frozen=True)
class Arm:
    """One chain of joints from the base to a tool, its gripper and its controllers."""

    name: str  # by which a policy file means it; '' where it is the only one
    tool_frame: str  # tool centre point, between the finger pads where there are any
    joints: tuple[JointLimits, ...]
    home: tuple[float, ...]  # (dof,) [rad]
    driver: Driver
    gripper: Gripper | None = None

    def __post_init__(self) -> None:
        what = f"arm '{self.name}': " if self.name else ''
        if len(self.home) != len(self.joints):
            raise ConfigError(
                f'{what}home has {len(self.home)} values, expected {len(self.joints)}, one for '
                'each joint.'
            )
        topic, wanted = self.driver.gripper_topic, self.hand is not None
        if bool(topic) != wanted:
            raise ConfigError(
                f"{what}driver: gripper is {self.driver.gripper} and gripper_topic is '{topic}'; "
                'leave the topic out if gripper is arm or there is none, and give it if not.'
            )

    @property
    def dof(self) -> int:
        """Number of joints."""
        return len(self.joints)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of the joints, in order, without the gripper's."""
        return tuple(joint.name for joint in self.joints)

    @property
    def carries(self) -> bool:
        """Whether the arm's controller takes the joint of its gripper as well."""
        return self.gripper is not None and self.driver.carries

    @property
    def hand(self) -> Kind | None:
        """What the gripper's own controller takes; None: there is none."""
        return None if self.gripper is None else self.driver.hand

    @property
    def commanded_joints(self) -> tuple[str, ...]:
        """Names of the joints that the arm's controller takes, in order."""
        carried = (self.gripper.joint,) if self.gripper is not None and self.carries else ()
        return (*self.joint_names, *carried)

    @property
    def forwarded(self) -> bool:
        """Whether there is anything that the forwarder does."""
        return self.driver.streams or (self.hand is not None and self.hand.forwarded)

    def limits(self, what: str) -> Array:
        """Return one planning limit of every joint, shape (dof,)."""
        return np.array([getattr(joint, what) for joint in self.joints])


@dataclass(frozen=True)
class RobotSpec:
    """One robot: arms, frames, cameras, collision model.

    Wherever its joints stand in a row they are n = dof + grippers: the joints of every arm, one
    arm after the other, then the gripper joint of every arm that has one.
    """

    name: str
    urdf: str  # file under urdf/; of a robot file elsewhere, first looked for beside it
    base_frame: str
    arms: tuple[Arm, ...]
    cameras: tuple[Camera, ...]
    capsules: tuple[Capsule, ...]
    ignored_pairs: tuple[tuple[str, str], ...]  # capsule names that are never checked
    finger_capsules: tuple[str, ...] = ()  # have a margin of their own against the table
    floor_height: float | None = None  # [m] top of the table, z of the base frame
    floor_exempt: tuple[str, ...] = field(default_factory=tuple)  # capsules fixed to the base
    enable: Enable | None = None  # None: there is no dead-man switch
    obstacles: tuple[Obstacle, ...] = ()  # what stands around the arm wherever it is, its pedestal

    def __post_init__(self) -> None:
        what = f'robot {self.name}'
        if not self.arms:
            raise ConfigError(f'{what} has no arm, expected one or more.')
        called = [arm.name for arm in self.arms]
        if len(called) > 1 and ('' in called or len(set(called)) < len(called)):
            raise ConfigError(f'{what}: its arms are called {called}, expected different names.')
        if len(self.arms) > 1 and self.forwarded:
            raise ConfigError(
                f'{what}: of several arms each needs controllers that take trajectories by topic; '
                'the forwarder serves one arm. Name a file that extends it with another driver.'
            )
        twice = sorted({n for n in self.joint_names if self.joint_names.count(n) > 1})
        if twice:
            raise ConfigError(f'{what} has joints of one name: {", ".join(twice)}.')
        check_fixed(self.obstacles, what)
        names = {c.name for c in self.capsules}
        for pair in (*self.ignored_pairs, self.finger_capsules, self.floor_exempt):
            for name in pair:
                if name not in names:
                    raise ConfigError(f"{what}: no capsule is called '{name}'.")

    @property
    def urdf_path(self) -> Path:
        """Return the file of its URDF."""
        return paths.share() / 'urdf' / self.urdf

    # What is cached here is asked for in every tick.

    @cached_property
    def joints(self) -> tuple[JointLimits, ...]:
        """Joints of every arm, one arm after the other."""
        return tuple(joint for arm in self.arms for joint in arm.joints)

    @cached_property
    def arm_joints(self) -> tuple[str, ...]:
        """Names of the joints of every arm, in order."""
        return tuple(joint.name for joint in self.joints)

    @cached_property
    def grippers(self) -> tuple[Gripper, ...]:
        """Grippers, by the order of the arms."""
        return tuple(arm.gripper for arm in self.arms if arm.gripper is not None)

    @cached_property
    def joint_names(self) -> tuple[str, ...]:
        """Names of all n commanded joints: the arms', then the grippers'."""
        return (*self.arm_joints, *(gripper.joint for gripper in self.grippers))

    @cached_property
    def dof(self) -> int:
        """Number of arm joints."""
        return len(self.joints)

    @property
    def home(self) -> tuple[float, ...]:
        """Home of every arm, (dof,) [rad]."""
        return tuple(q for arm in self.arms for q in arm.home)

    @property
    def ready(self) -> Array:
        """All joints (n,) with the arms at home and the grippers open [rad], [m]."""
        return np.array([*self.home, *(gripper.open for gripper in self.grippers)])

    @property
    def streams(self) -> bool:
        """Whether the commands of the arms go through the forwarder, one after another."""
        return any(arm.driver.streams for arm in self.arms)

    @property
    def forwarded(self) -> bool:
        """Whether there is anything that the forwarder does."""
        return any(arm.forwarded for arm in self.arms)

    def columns(self, arm: Arm) -> slice:
        """Return where the joints of an arm stand among all."""
        first = sum(other.dof for other in self.arms[: self.arms.index(arm)])
        return slice(first, first + arm.dof)

    def grip_column(self, arm: Arm) -> int | None:
        """Return where the gripper of an arm stands among all joints; None: it has none."""
        before = self.arms[: self.arms.index(arm)]
        mine = self.dof + sum(other.gripper is not None for other in before)
        return None if arm.gripper is None else mine

    def every_column(self, arm: Arm) -> list[int]:
        """Return the columns of an arm and of its gripper, the gripper's last."""
        columns, grip = self.columns(arm), self.grip_column(arm)
        return [*range(columns.start, columns.stop), *([] if grip is None else [grip])]

    @property
    def controlled(self) -> list[list[int]]:
        """Columns of every controller's joints: of each arm, then of its gripper's own."""
        found = []
        for arm in self.arms:
            columns = self.every_column(arm)
            found.append(columns[: len(arm.commanded_joints)])
            if arm.hand is not None:
                found.append(columns[arm.dof :])
        return found

    def part(self, arm: Arm) -> RobotSpec:
        """Return the robot with one of its arms alone, for what serves one arm at a time."""
        return self if len(self.arms) == 1 else replace(self, arms=(arm,))

    def arm(self, name: str | None = None) -> Arm:
        """Return an arm by its name, or the only one.

        Raises:
            UnknownNameError: There is no arm of this name.
            ConfigError: No name is given, and there are several.
        """
        if name is None and len(self.arms) > 1:
            names = ', '.join(arm.name for arm in self.arms)
            raise ConfigError(f'robot {self.name} has several arms: say which of {names}.')
        for arm in self.arms:
            if name is None or arm.name == name:
                return arm
        raise UnknownNameError('arm', str(name), (a.name for a in self.arms), self.name)

    def with_arm(self, name: str | None = None, **changes: Any) -> RobotSpec:
        """Return the robot with other fields of one arm; `name` as in `arm`."""
        old = self.arm(name)
        new = replace(old, **changes)
        return replace(self, arms=tuple(new if arm is old else arm for arm in self.arms))

    @property
    def tool_frame(self) -> str:
        """Tool frame of the only arm."""
        return self.arm().tool_frame

    @property
    def driver(self) -> Driver:
        """Driver of the only arm."""
        return self.arm().driver

    @property
    def gripper(self) -> Gripper:
        """Gripper of the only arm; ConfigError where it has none."""
        gripper = self.arm().gripper
        if gripper is None:
            raise ConfigError(f'robot {self.name} has no gripper.')
        return gripper

    @property
    def commanded_joints(self) -> tuple[str, ...]:
        """Names of the joints that the only arm's controller takes, in order."""
        return self.arm().commanded_joints

    def limits(self, what: str) -> Array:
        """Return one planning limit of every arm joint, shape (dof,)."""
        return np.array([getattr(joint, what) for joint in self.joints])

    def camera(self, name: str) -> Camera:
        """Return a camera by its name.

        Raises:
            UnknownNameError: The robot file has no such camera.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise UnknownNameError('camera', name, (c.name for c in self.cameras), self.name)


def load_robot(path: Path) -> RobotSpec:
    """Read a robot file; one that `extends` another takes from it every key that it lacks.

    A file of one arm says the arm's fields at its top level. One of several has `arms`, by name:
    each an arm with fields of its own, or, in all of them, a `robot` that stands there.

    Raises:
        ConfigError: The file, or one that it names, cannot be used.
    """
    data = config.read_extended(path, partial(paths.find, 'robots'))
    robot = build_robot(data, Path(path).name)
    beside = Path(path).resolve().parent / robot.urdf
    return replace(robot, urdf=str(beside)) if beside.is_file() else robot


def build_robot(data: Any, where: str) -> RobotSpec:
    """Return the robot that plain mappings, lists and scalars describe.

    Args:
        data: What a YAML reader returned.
        where: Its place, for messages.

    Raises:
        ConfigError: It is no robot.
    """
    if isinstance(data, Mapping) and 'arms' not in data:
        mine = [f.name for f in fields(Arm) if f.name != 'name']
        known = [*(f.name for f in fields(RobotSpec) if f.name != 'arms'), *mine]
        for key in data:
            if key not in known:
                raise UnknownNameError('key', str(key), known, where)
        own = {key: data[key] for key in mine if key in data}
        arm = config.build(Arm, {'name': '', **own}, where)
        data = {key: value for key, value in data.items() if key not in mine} | {'arms': [arm]}
    elif isinstance(data, Mapping) and isinstance(data['arms'], Mapping):
        arms = data['arms']
        if any(isinstance(arm, Mapping) and 'robot' in arm for arm in arms.values()):
            rig = config.build(composition.Rig, data, where)
            names = {mount.robot for mount in rig.arms.values()}
            robots = {name: load_robot(paths.find('robots', name)) for name in names}
            return config.build(RobotSpec, composition.fields_of(rig, robots), where)
        named = [{'name': name, **arm} if isinstance(arm, Mapping) else arm
                 for name, arm in arms.items()]  # fmt: skip
        data = {**data, 'arms': named}
    return config.build(RobotSpec, data, where)
