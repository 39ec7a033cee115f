"""RobotSpec: what the package knows about one arm, read from `config/robots/NAME.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.obstacle import check_fixed, Obstacle
from vla_ros.types import Array

Vector3 = tuple[float, float, float]


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
        if self.carries == bool(self.gripper_topic):
            raise ConfigError(
                f"driver: gripper is {self.gripper} and gripper_topic is '{self.gripper_topic}'; "
                'leave the topic out if gripper is arm, and give it if not.'
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
class RobotSpec:
    """One arm: joints, limits, frames, gripper, cameras, collision model, driver."""

    name: str
    urdf: str  # file under urdf/; of a robot file elsewhere, first looked for beside it
    base_frame: str
    tool_frame: str  # tool centre point between the finger pads
    joints: tuple[JointLimits, ...]
    gripper: Gripper
    home: tuple[float, ...]  # (arm joints,) [rad]
    cameras: tuple[Camera, ...]
    driver: Driver
    capsules: tuple[Capsule, ...]
    ignored_pairs: tuple[tuple[str, str], ...]  # capsule names that are never checked
    finger_capsules: tuple[str, ...] = ()  # have a margin of their own against the table
    floor_height: float | None = None  # [m] top of the table, z of the base frame
    floor_exempt: tuple[str, ...] = field(default_factory=tuple)  # capsules fixed to the base
    enable: Enable | None = None  # None: there is no dead-man switch
    obstacles: tuple[Obstacle, ...] = ()  # what stands around the arm wherever it is, its pedestal

    def __post_init__(self) -> None:
        if len(self.home) != len(self.joints):
            raise ConfigError(
                f'robot {self.name}: home has {len(self.home)} values, expected '
                f'{len(self.joints)}, one for each joint.'
            )
        check_fixed(self.obstacles, f'robot {self.name}')
        names = {c.name for c in self.capsules}
        for pair in (*self.ignored_pairs, self.finger_capsules, self.floor_exempt):
            for name in pair:
                if name not in names:
                    raise ConfigError(f"robot {self.name}: no capsule is called '{name}'.")

    @property
    def urdf_path(self) -> Path:
        """Return the file of its URDF."""
        return paths.share() / 'urdf' / self.urdf

    @property
    def arm_joints(self) -> tuple[str, ...]:
        """Names of the arm joints, in order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Names of all commanded joints: the arm's, then the gripper's."""
        return (*self.arm_joints, self.gripper.joint)

    @property
    def dof(self) -> int:
        """Number of arm joints."""
        return len(self.joints)

    @property
    def commanded_joints(self) -> tuple[str, ...]:
        """Names of the joints that the arm's controller takes, in order."""
        return self.joint_names if self.driver.carries else self.arm_joints

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

    Raises:
        ConfigError: The file, or the one that it extends, cannot be used.
    """
    data = config.read_extended(path, partial(paths.find, 'robots'))
    robot = config.build(RobotSpec, data, Path(path).name)
    beside = Path(path).resolve().parent / robot.urdf
    return replace(robot, urdf=str(beside)) if beside.is_file() else robot
