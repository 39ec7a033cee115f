"""An episode of a LeRobot data set as a bag, to look at it or to replay it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.typesys import get_typestore, Stores

from vla_ros import graph
from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.lerobot_reader import DataSet
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import BagError
from vla_ros.robot import RobotSpec
from vla_ros.types import Array, Image

START = 1.0  # [s] of the first row where a data set has no stamps: 0 would mean none
_JOINTS, _PATH = graph.JOINT_STATES.type, 'trajectory_msgs/msg/JointTrajectory'


class _Messages:
    """Makes messages of the standard types as CDR, without ROS."""

    def __init__(self) -> None:
        self._store = get_typestore(Stores.LATEST)

    def joint_state(self, stamp: float, names: tuple[str, ...], q: Array, speed: Array) -> bytes:
        return self._cdr(
            _JOINTS,
            header=self._header(stamp),
            name=list(names),
            position=np.ascontiguousarray(q),
            velocity=np.ascontiguousarray(speed),
            effort=np.empty(0),
        )

    def trajectory(self, stamp: float, names: tuple[str, ...], q: Array) -> bytes:
        empty = np.empty(0)
        point = self._make(
            'trajectory_msgs/msg/JointTrajectoryPoint',
            positions=np.ascontiguousarray(q),
            velocities=empty,
            accelerations=empty,
            effort=empty,
            time_from_start=self._make('builtin_interfaces/msg/Duration', **_split(0.0)),
        )
        header = self._header(stamp)
        return self._cdr(_PATH, header=header, joint_names=list(names), points=[point])

    def picture(self, stamp: float, frame: str, image: Image) -> bytes:
        height, width, _ = image.shape
        return self._cdr(
            'sensor_msgs/msg/Image',
            header=self._header(stamp, frame),
            height=height,
            width=width,
            encoding='rgb8',
            is_bigendian=0,
            step=3 * width,
            data=np.ascontiguousarray(image).reshape(-1),
        )

    def text(self, text: str) -> bytes:
        return self._cdr(graph.INSTRUCTION.type, data=text)

    def _header(self, stamp: float, frame: str = '') -> Any:
        time = self._make('builtin_interfaces/msg/Time', **_split(stamp))
        return self._make('std_msgs/msg/Header', stamp=time, frame_id=frame)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._store.types[kind](**fields)

    def _cdr(self, kind: str, **fields: Any) -> bytes:
        return bytes(self._store.serialize_cdr(self._make(kind, **fields), kind))


def write_bag(
    data: DataSet,
    episode: int,
    folder: Path,
    robot: RobotSpec,
    metadata: Mapping[str, str],
    told: Callable[[int], None],
) -> dict[str, int]:
    """Write an episode as a bag of this package's topics.

    Rows become pictures, joint states, commands that are due at the row's time, and the sentence.

    Args:
        data: The data set.
        episode: Its number, from 0.
        folder: Of the bag; it must not be there.
        robot: Names joints, cameras and topics.
        metadata: Texts that explain the bag, by name.
        told: Hears how many rows are written.

    Returns:
        Messages by topic.

    Raises:
        BagError: The joints are not this robot's, or the bag cannot be written.
        UnknownNameError: The data set has a camera that the robot has not.
    """
    names = tuple(data.features[fmt.STATE].get('names') or ())
    if names != robot.joint_names:
        raise BagError(
            f'{data.folder} is of joints {", ".join(map(str, names)) or "without names"}, but '
            f'{robot.name} has {", ".join(robot.joint_names)}: name its robot file with --robot.'
        )
    state = data.column(episode, fmt.STATE).astype(np.float64)
    action = data.column(episode, fmt.ACTION).astype(np.float64)
    speed = np.gradient(state, 1.0 / data.rate, axis=0) if len(state) > 1 else np.zeros_like(state)
    stamps = START + data.column(episode, 'timestamp').astype(np.float64)
    if fmt.STAMP in data.features:
        stamps = data.column(episode, fmt.STAMP)
    cameras = [
        (graph.Topic(robot.camera(name).topic, 'sensor_msgs/msg/Image', graph.CAMERA), name)
        for name in data.cameras
    ]
    pictures = {name: data.pictures(episode, name) for name in data.cameras}
    arm, *hand = graph.command_topics(robot)
    count = len(robot.commanded_joints)
    make = _Messages()
    with BagWriter(folder, metadata) as writer:

        def put(topic: graph.Topic, stamp: float, message: bytes) -> None:
            name = topic.name if topic.name.startswith('/') else f'/{topic.name}'
            writer.write(name, topic.type, topic.qos, round(stamp * 1e9), message)

        put(graph.INSTRUCTION, stamps[0], make.text(data.task(episode)))
        for row, stamp in enumerate(stamps):
            for topic, name in cameras:
                frame = f'{name}_optical_frame'
                put(topic, stamp, make.picture(stamp, frame, next(pictures[name])))
            put(graph.JOINT_STATES, stamp, make.joint_state(stamp, names, state[row], speed[row]))
            put(arm, stamp, make.trajectory(stamp, names[:count], action[row, :count]))
            for grip in hand:
                put(grip, stamp, make.trajectory(stamp, names[-1:], action[row, -1:]))
            told(row + 1)
        put(graph.INSTRUCTION, stamps[-1], make.text(''))
        return writer.counts


def _split(seconds: float) -> dict[str, int]:
    whole, nanoseconds = divmod(round(seconds * 1e9), 1_000_000_000)
    return {'sec': whole, 'nanosec': nanoseconds}
