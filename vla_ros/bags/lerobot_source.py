"""What a bag says of one arm, read in one pass: everything but the pictures themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros import graph, messages
from vla_ros.bags.alignment import Episode, Period, Tracks
from vla_ros.bags.interventions import interventions
from vla_ros.bags.reader import Bag, Recorded
from vla_ros.bags.units import check_units
from vla_ros.errors import BagError, VlaError
from vla_ros.robot import RobotSpec, TRANSPORTS
from vla_ros.types import Array, Image, Trajectory

Told = Callable[[float], None]  # is given the log time that reading has come to [s]


@dataclass
class _Found:
    """What a pass has seen so far."""

    pictures: dict[str, list[float]]  # camera -> [s]; -inf: one that cannot be read
    logged: list[float] = field(default_factory=list)  # [s] log time of each joint state
    stamps: list[float] = field(default_factory=list)  # [s] its own
    positions: list[Array] = field(default_factory=list)
    arm: list[tuple[float, Trajectory]] = field(default_factory=list)  # with their log times [s]
    gripper: list[tuple[float, Trajectory]] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)  # log time [s], instruction
    reported: list[tuple[float, int, str]] = field(default_factory=list)  # stamp, id, instruction
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)  # camera -> (H, W)
    unread: dict[str, tuple[int, VlaError]] = field(default_factory=dict)  # topic -> count, first


class BagSource:
    """One bag of one arm: its tracks, the sizes of its pictures, and then the pictures."""

    def __init__(self, bag: Bag, robot: RobotSpec, told: Told) -> None:
        """Read everything but the pictures.

        Args:
            bag: Any that has joint states.
            robot: Names the topics and joints.
            told: Hears how far reading has come.

        Raises:
            BagError: There are no joint states of this robot, or they are in other units.
        """
        self._bag = bag
        self._topics = {camera.name: _camera_topic(bag, robot, camera.name)
                        for camera in robot.cameras}  # fmt: skip
        self._topics = {name: topic for name, topic in self._topics.items() if topic}
        found = self._read(robot, told)
        self.shapes: Mapping[str, tuple[int, int]] = found.shapes
        missing = [c.name for c in robot.cameras if c.name not in found.shapes]
        self.notes = tuple(f"camera '{name}' has no picture in it." for name in missing) + tuple(
            f"{count} messages on '{topic}' cannot be read; the first: {error}"
            for topic, (count, error) in found.unread.items()
        )
        joints = bag.name(graph.JOINT_STATES)
        if not found.stamps:
            reason = f': {found.unread[joints][1]}' if joints in found.unread else ''
            raise BagError(
                f"{bag.path} has no usable message on '{joints}'{reason or '.'} Topics: "
                f'{", ".join(sorted(bag.topics)) or "none"}.'
            )
        positions = np.array(found.positions)
        check_units(positions, robot, f"'{joints}' in {bag.path}")
        check_units(_commanded(found, positions[0]), robot, f'the commands in {bag.path}')
        stamped = _Clock(found.logged, found.stamps)
        self.tracks = Tracks(
            pictures={name: np.array(found.pictures[name]) for name in found.shapes},
            stamps=np.array(found.stamps),
            positions=positions,
            arm=tuple(stamped.command(*sent) for sent in found.arm),
            gripper=tuple(stamped.command(*sent) for sent in found.gripper),
            tasks=_tasks(found, stamped),
            interventions=tuple(Period(s.start, s.end) for s in interventions(bag)),
        )

    def pictures(self, episodes: Sequence[Episode], told: Told) -> Iterator[tuple[str, Image]]:
        """Yield a picture of each camera for each row, those of a camera in order.

        One that turns out to be damaged is replaced by that before it.

        Args:
            episodes: Of these tracks, in order.
            told: Hears how far reading has come.

        Raises:
            BagError: The first picture that is wanted of a camera is damaged.
        """
        empty: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        wanted = {
            name: np.concatenate([empty, *(episode.pictures[name] for episode in episodes)])
            for name in self.shapes
        }
        cameras = {self._topics[name]: name for name in self.shapes}
        number, row = dict.fromkeys(wanted, -1), dict.fromkeys(wanted, 0)
        last: dict[str, Image] = {}
        for recorded in self._bag.messages(cameras.keys()):
            name = cameras[recorded.topic]
            number[name] += 1
            told(recorded.time)
            count = _equal(wanted[name], row[name], number[name])
            if not count:
                continue
            try:
                last[name] = messages.frame_from_msg(recorded.message).image
            except VlaError as error:
                if name not in last:
                    raise BagError(
                        f"the first picture of camera '{name}' that an episode needs is damaged: "
                        f'{error} Leave the camera out of the robot file, or the bag out.'
                    ) from error
            row[name] += count
            for _ in range(count):
                yield name, last[name]

    def _read(self, robot: RobotSpec, told: Told) -> _Found:
        found = _Found({name: [] for name in self._topics})
        readers = _readers(self._bag, robot, found)
        readers.update(
            (topic, _picture_reader(found, name)) for name, topic in self._topics.items()
        )
        cameras = {topic: name for name, topic in self._topics.items()}
        for recorded in self._bag.messages(readers.keys()):
            told(recorded.time)
            try:
                readers[recorded.topic](recorded, recorded.message)
            except VlaError as error:
                count, first = found.unread.get(recorded.topic, (0, error))
                found.unread[recorded.topic] = count + 1, first
                if recorded.topic in cameras:  # pictures keep their numbers
                    found.pictures[cameras[recorded.topic]].append(-np.inf)
        return found


Reader = Callable[[Recorded, Any], None]
Part = tuple[list[tuple[float, Trajectory]], slice]  # where commands go, and which columns


def _picture_reader(found: _Found, name: str) -> Reader:
    def read(recorded: Recorded, message: Any) -> None:
        del recorded
        if name not in found.shapes:
            height, width, _ = messages.frame_from_msg(message).image.shape
            found.shapes[name] = height, width
        found.pictures[name].append(messages.stamp_from_msg(message))

    return read


def _readers(bag: Bag, robot: RobotSpec, found: _Found) -> dict[str, Reader]:
    """Return what to do with the messages of each topic that the bag has."""

    def joints(recorded: Recorded, message: Any) -> None:
        position = messages.joint_positions_from_msg(message, robot.joint_names)
        found.positions.append(position)
        found.stamps.append(messages.stamp_from_msg(message))
        found.logged.append(recorded.time)

    def commands(names: tuple[str, ...], *into: Part) -> Reader:
        def read(recorded: Recorded, message: Any) -> None:
            if recorded.type == 'std_msgs/msg/Float64MultiArray':
                position = messages.positions_from_msg(message).reshape(1, len(names))
                command = Trajectory(0.0, np.zeros(1), position)
            else:
                command = messages.trajectory_from_msg(message, names)
            for commanded, part in into:
                commanded.append((recorded.time, _columns(command, part)))

        return read

    def instruction(recorded: Recorded, message: Any) -> None:
        found.said.append((recorded.time, messages.text_from_msg(message)))

    def status(recorded: Recorded, message: Any) -> None:
        del recorded
        state = messages.policy_status_from_msg(message)
        found.reported.append((state.stamp, state.instruction_id, state.instruction))

    arm, *hand = graph.command_topics(robot)
    positions = graph.controller_topics(robot)[:1] if _takes_positions(robot) else ()
    command, grip = _first_there(bag, arm, *positions), _first_there(bag, *hand)
    table: dict[str, Reader] = {
        bag.name(graph.JOINT_STATES): joints,
        bag.name(graph.INSTRUCTION): instruction,
        bag.name(graph.POLICY_STATUS): status,
    }
    own = (found.arm, slice(0, robot.dof))
    if command:
        carried = ((found.gripper, slice(robot.dof, None)),) if robot.driver.carries else ()
        table[command] = commands(robot.commanded_joints, own, *carried)
    if grip:
        table[grip] = commands((robot.gripper.joint,), (found.gripper, slice(0, 1)))
    return {topic: reader for topic, reader in table.items() if topic in bag.topics}


def _columns(command: Trajectory, part: slice) -> Trajectory:
    speeds = None if command.velocities is None else command.velocities[:, part]
    return Trajectory(command.stamp, command.times, command.positions[:, part], speeds)


def _takes_positions(robot: RobotSpec) -> bool:
    """Whether what the arm's controller gets is an array of positions."""
    arm = robot.driver.arm
    return arm.type == 'std_msgs/msg/Float64MultiArray' and not arm.velocity


def _first_there(bag: Bag, *topics: graph.Topic) -> str:
    """Return the first of the topics that has messages, '' if none has."""
    names = (bag.name(topic) for topic in topics)
    return next((n for n in names if n in bag.topics and bag.topics[n].count), '')


def _camera_topic(bag: Bag, robot: RobotSpec, camera: str) -> str:
    """Return where the bag has a camera's pictures, as the robot file says or the other way."""
    wanted = graph.camera_topics(robot, camera)[0]
    source = robot.camera(camera)
    others = (graph.Topic(source.topic + end, '', graph.CAMERA) for end in TRANSPORTS.values())
    return _first_there(bag, wanted, *others)


class _Clock:
    """Stamps for messages without a header: those of the joint states logged at that time."""

    def __init__(self, logged: list[float], stamps: list[float]) -> None:
        self._logged, self._stamps = np.array(logged), np.array(stamps)

    def stamp(self, logged: float) -> float:
        """Return the stamp [s] that goes with a log time [s]."""
        ends = self._logged[[0, -1]]
        inside = float(np.clip(logged, *ends))
        return float(np.interp(inside, self._logged, self._stamps)) + (logged - inside)

    def command(self, logged: float, command: Trajectory) -> Trajectory:
        """Return a command with a stamp: a controller takes 0, as well as none, for: now."""
        if command.stamp > 0.0:
            return command
        return Trajectory(self.stamp(logged), command.times, command.positions)


def _tasks(found: _Found, clock: _Clock) -> list[tuple[Period, str]] | None:
    """Return the periods in which one instruction was in force; None: nothing says so.

    The policy's own report knows of every instruction, also one that came as an action or by a
    service, and tells the same sentence said twice apart.
    """
    if any(text for _, _, text in found.reported):
        marks = [(stamp, (number, text)) for stamp, number, text in found.reported]
    elif any(text for _, text in found.said):
        marks = [(clock.stamp(time), (k, text)) for k, (time, text) in enumerate(found.said)]
        marks.append((found.stamps[-1], marks[-1][1]))
    else:
        return None
    periods: list[tuple[Period, str]] = []
    start, current = marks[0]
    for stamp, mark in marks[1:]:
        if mark != current:
            periods.append((Period(start, stamp), current[1]))
            start, current = stamp, mark
    periods.append((Period(start, marks[-1][0]), current[1]))
    return [(period, text.strip()) for period, text in periods if text.strip()]


def _commanded(found: _Found, still: Array) -> Array:
    """Return the first point of every command (K, n); what it does not command is at `still`."""
    rows = [
        np.append(command.positions[0], still[-1])
        for _, command in found.arm
        if len(command.times)
    ]
    rows += [
        np.append(still[:-1], command.positions[0])
        for _, command in found.gripper
        if len(command.times)
    ]
    return np.array(rows).reshape(len(rows), len(still))


def _equal(values: NDArray[np.intp], start: int, value: int) -> int:
    """Return how many values from `start` on equal `value`."""
    end = start
    while end < len(values) and values[end] == value:
        end += 1
    return end - start
