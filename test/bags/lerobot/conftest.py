"""Bags of a made-up arm, written with rosbags' own writer and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

from vla_ros import graph, paths
from vla_ros.bags.definitions import installed
from vla_ros.robot import load_robot, RobotSpec

T0 = 1_764_000_000.0  # [s]
DELAY = 0.004  # [s] from the stamp to the log
SHAPES = {'scene': (48, 64), 'wrist': (32, 32)}  # camera -> (H, W)
RATES = {'scene': 30.0, 'wrist': 20.0}  # [Hz]


@dataclass(frozen=True)
class Arm:
    """What happened, as functions of the time since T0."""

    robot: RobotSpec
    seconds: float
    said: tuple[tuple[float, str], ...] = ((0.5, 'reach the ball'), (3.5, ''))
    filtered: tuple[tuple[float, float], ...] = ((1.5, 2.0),)
    damaged: tuple[int, ...] = ()  # numbers of pictures that lack bytes
    reported: tuple[tuple[float, int, str], ...] = ()  # time, id, instruction by the policy
    streamed: str = ''  # topic of positions for a streaming controller, in place of trajectories
    log: Callable[[float], float] = lambda t: t + DELAY  # log time of what happened at t

    def measured(self, t: float) -> np.ndarray:
        """Return joints (n,): the arm along a line, so that interpolation is exact."""
        arm = np.array(self.robot.home) + 0.05 * t * np.linspace(-1.0, 1.0, self.robot.dof)
        return np.append(arm, 0.04 if t < 1.0 else 0.01)

    def commanded(self, t: float) -> np.ndarray:
        """Return what was commanded: 0.1 s ahead of what is measured."""
        return self.measured(t + 0.1)

    def picture(self, camera: str, number: int) -> np.ndarray:
        """Return a picture that says which it is: its number in bands of black and white."""
        height, width = SHAPES[camera]
        bits = [(number >> k) & 1 for k in range(8)]
        row = np.repeat(np.array(bits, np.uint8) * 200 + 20, width // 8)
        return np.broadcast_to(row[None, :, None], (height, width, 3)).copy()


def number_of(picture: np.ndarray) -> int:
    """Return which picture it is."""
    width = picture.shape[1]
    bands = picture[:, :, 1].mean(0).reshape(8, width // 8).mean(1)
    return int(sum(1 << k for k, level in enumerate(bands) if level > 120))


class Pen:
    """Writes messages of a bag with rosbags' types."""

    def __init__(self, writer: Writer, log: Callable[[float], float]) -> None:
        self._writer, self._log = writer, log
        self._store = get_typestore(Stores.LATEST)
        for kind in ('vla_ros_msgs/msg/SafetyStatus', 'vla_ros_msgs/msg/PolicyStatus'):
            types = get_types_from_msg(installed(kind), kind)
            self._store.register(
                {k: v for k, v in types.items() if k not in self._store.fielddefs}
            )
        self._connections: dict[str, Any] = {}

    def make(self, kind: str, **given: Any) -> Any:
        """Return a message; what is not given is zero or empty."""
        values = {}
        for name, (node, arg) in self._store.fielddefs[kind][1]:
            if name in given:
                values[name] = given[name]
            elif int(node) == 1:
                text = arg[0] if isinstance(arg, tuple) else arg
                values[name] = '' if text == 'string' else False if text == 'bool' else 0
            elif int(node) == 2:
                values[name] = self.make(arg)
            else:
                inner = arg[0][1]
                base = inner[0] if isinstance(inner, tuple) else ''
                size = arg[1] if int(node) == 3 else 0
                values[name] = np.zeros(size, base) if base not in ('', 'string') else []
        return self._store.types[kind](**values)

    def header(self, t: float) -> Any:
        sec, nanosec = divmod(round((T0 + t) * 1e9), 10**9)
        stamp = self.make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
        return self.make('std_msgs/msg/Header', stamp=stamp, frame_id='')

    def put(self, topic: str, kind: str, t: float, **given: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=self._store
            )
        data = self._store.serialize_cdr(self.make(kind, **given), kind)
        self._writer.write(self._connections[topic], round((T0 + self._log(t)) * 1e9), data)

    def trajectory(self, topic: str, t: float, names: Any, due: float, q: np.ndarray) -> None:
        wait = self.make('builtin_interfaces/msg/Duration', sec=0, nanosec=round(due * 1e9))
        point = self.make(
            'trajectory_msgs/msg/JointTrajectoryPoint', positions=q, time_from_start=wait
        )
        self.put(
            topic, 'trajectory_msgs/msg/JointTrajectory', t, header=self.header(t),
            joint_names=list(names), points=[point],
        )  # fmt: skip


def events(arm: Arm, pen: Pen, commands: bool, scale: float) -> Iterator[tuple[float, Any]]:
    """Yield what to write when; `scale` is that of the joints' unit."""
    robot, put = arm.robot, pen.put
    for t in np.arange(0.0, arm.seconds, 0.01):
        q = arm.measured(t) * scale
        yield t, lambda t=t, q=q: put(
            '/joint_states', 'sensor_msgs/msg/JointState', t, header=pen.header(t),
            name=list(reversed(robot.joint_names)), position=q[::-1].copy(), velocity=0.0 * q,
        )  # fmt: skip
    for camera, rate in RATES.items():
        height, width = SHAPES[camera]
        for number, t in enumerate(np.arange(0.1, arm.seconds, 1.0 / rate)):
            yield t, lambda t=t, n=number, c=camera, h=height, w=width: put(
                '/' + robot.camera(c).topic, 'sensor_msgs/msg/Image', t, header=pen.header(t),
                height=h, width=w, encoding='rgb8', step=3 * w,
                data=arm.picture(c, n).reshape(-1)[3 * (n in arm.damaged) :],
            )  # fmt: skip
    for t, text in arm.said:
        yield (
            t,
            lambda t=t, text=text: put('/vla/instruction', 'std_msgs/msg/String', t, data=text),
        )
    for t in np.arange(0.0, arm.seconds, 0.05):
        level = int(any(a <= t < b for a, b in arm.filtered))
        yield t, lambda t=t, level=level: put(
            '/vla/safety_status', 'vla_ros_msgs/msg/SafetyStatus', t, header=pen.header(t),
            level=level, intervention='path' if level else '', source='policy',
            nominal_velocity=np.zeros(8), filtered_velocity=np.zeros(8),
        )  # fmt: skip
    for t, number, text in arm.reported:
        yield t, lambda t=t, number=number, text=text: put(
            '/vla/policy_status', 'vla_ros_msgs/msg/PolicyStatus', t, header=pen.header(t),
            state=2, instruction=text, instruction_id=number,
        )  # fmt: skip
    if not commands:
        return
    hand, grip = (topic.name for topic in graph.command_topics(robot))
    for t in np.arange(0.6, arm.seconds, 0.02):
        due = arm.commanded(t + 0.02)
        if arm.streamed:
            yield (
                t,
                lambda t=t: put(
                    arm.streamed, 'std_msgs/msg/Float64MultiArray', t, data=arm.commanded(t)[:-1]
                ),
            )
        else:
            yield (
                t,
                lambda t=t, q=due[:-1]: pen.trajectory('/' + hand, t, robot.arm_joints, 0.02, q),
            )
        yield (
            t,
            lambda t=t, q=due[-1:]: pen.trajectory('/' + grip, t, (robot.gripper.joint,), 0.02, q),
        )


@pytest.fixture(scope='session')
def robot() -> RobotSpec:
    return load_robot(paths.find('robots', 'panda'))


@pytest.fixture(scope='session')
def write_arm(robot: RobotSpec) -> Callable[..., Arm]:
    """Return a function that writes a bag and tells what happened in it."""

    def write(
        folder: Path,
        *,
        seconds: float = 4.0,
        commands: bool = True,
        scale: float = 1.0,
        **what: Any,
    ) -> Arm:
        arm = Arm(robot, seconds, **what)
        with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            for _, act in sorted(
                events(arm, Pen(writer, arm.log), commands, scale), key=lambda event: event[0]
            ):
                act()
        return arm

    return write
