"""From a bag to a track: any bag that has joint states; pictures are streamed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
import math
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros import graph
from vla_ros.bags.reader import Bag, open_bag
from vla_ros.errors import ReplayError, ShapeError, VlaError
from vla_ros.evaluation.replay.track import Chunk, Motion, Picture, Sentence, Solids, Track
from vla_ros.messages import (
    execution_state_from_msg,
    frame_from_msg,
    joint_positions_from_msg,
    joint_state_from_msg,
    obstacles_from_msg,
    provenance_from_msg,
    safety_status_from_msg,
    stamp_from_msg,
    text_from_msg,
    trajectory_from_msg,
)
from vla_ros.robot import RobotSpec, TRANSPORTS
from vla_ros.types import JointState, Provenance, Trajectory

OTHER_CLOCK = 1.0  # [s] between log time and stamps beyond which they are two clocks


def load_track(path: Path, robot: RobotSpec, instruction: str = '') -> Track:
    """Read a bag into a track; its pictures are read again when they are asked for.

    Args:
        path: Of the bag.
        robot: Its file names the topics.
        instruction: In force from the beginning, whatever the bag says; empty: the bag's.

    Raises:
        BagError: The bag cannot be read.
        ReplayError: It has no joint states of this robot.
    """
    with open_bag(path) as bag:
        said = _Said(robot)
        topics = {bag.name(topic): topic.name for topic in _topics(robot)}
        for recorded in bag.messages(tuple(topics)):
            said.take(topics[recorded.topic], recorded.time, recorded)
        motion, shift = said.motion()
        if not len(motion.stamps):
            raise ReplayError(
                f'{path} has no usable joint states on {bag.name(graph.JOINT_STATES)}: '
                f'{said.reason or "it has topics " + ", ".join(sorted(bag.topics))}.'
            )
        start, end = bag.start - shift, bag.end - shift
        sentences = (Sentence(start, instruction),) if instruction else said.sentences(shift)
        return Track(
            name=Path(path).name,
            robot=robot,
            start=start,
            end=end,
            joints=motion,
            read=frame_from_msg,
            source=_Pictures(path, robot, shift),
            sentences=sentences,
            chunks=said.chunks(shift),
            execution=tuple((t - shift, state) for t, state in said.execution),
            safety=tuple((t - shift, status) for t, status in said.safety),
            grips=tuple(tuple((t - shift, goal) for t, goal in one) for one in said.grips),
            solids=tuple(s._replace(arrived=s.arrived - shift) for s in said.solids),
            notes=(*bag.notes, *said.notes(shift)),
        )


def _topics(robot: RobotSpec) -> list[graph.Topic]:
    return [
        graph.JOINT_STATES, graph.INSTRUCTION, graph.TRAJECTORY, graph.CHUNK,
        graph.EXECUTION_STATE, graph.SAFETY_STATUS, graph.OBSTACLES,
        *_gripper_topics(robot),
    ]  # fmt: skip


def _gripper_topics(robot: RobotSpec) -> tuple[graph.Topic, ...]:
    """Return where each gripper is told where to go, on its own topic or with its arm."""
    grips = (robot.part(arm) for arm in robot.arms if arm.gripper is not None)
    return tuple(graph.command_topics(part)[-1] for part in grips)


class _Said:
    """What the messages of a bag say, but for the pictures; times are log times [s]."""

    def __init__(self, robot: RobotSpec) -> None:
        self._robot = robot
        self._states: list[tuple[float, JointState]] = []
        self._texts: list[tuple[float, str]] = []
        self._trajectories: list[tuple[float, Trajectory]] = []
        self._origins: dict[int, Provenance] = {}  # stamp [us] -> where the chunk came from
        self.execution: list[Any] = []
        self.safety: list[Any] = []
        self.grips: list[list[tuple[float, float]]] = [[] for _ in robot.grippers]
        self.solids: list[Solids] = []
        self.reason = ''  # why the last joint state could not be used
        self._bad = 0
        self._readers: dict[str, Callable[[float, Any], None]] = {
            graph.JOINT_STATES.name: self._joints,
            graph.INSTRUCTION.name: lambda t, m: self._texts.append((t, text_from_msg(m).strip())),
            graph.TRAJECTORY.name: self._trajectory,
            graph.CHUNK.name: self._chunk,
            graph.EXECUTION_STATE.name: lambda t, m: self.execution.append(
                (t, execution_state_from_msg(m))
            ),
            graph.SAFETY_STATUS.name: lambda t, m: self.safety.append(
                (t, safety_status_from_msg(m))
            ),
            graph.OBSTACLES.name: lambda t, m: self.solids.append(
                Solids(t, stamp_from_msg(m), *obstacles_from_msg(m))
            ),
            **{
                topic.name: partial(self._gripper, number)
                for number, topic in enumerate(_gripper_topics(robot))
            },
        }

    def take(self, topic: str, time: float, recorded: Any) -> None:
        """Take a message; one that cannot be used is counted and passed over."""
        try:
            self._readers[topic](time, recorded.message)
        except (VlaError, AttributeError, ValueError) as error:
            self._bad += 1
            self.reason = f'{topic}: {error}'

    def motion(self) -> tuple[Motion, float]:
        """Return the joints by stamp, and how far log time is ahead of stamps [s]: 0 or far."""
        n = len(self._robot.joint_names)
        if not self._states:
            return Motion(np.zeros(0), np.zeros((0, n)), np.zeros((0, n)), np.zeros(0)), 0.0
        logged = np.array([t for t, _ in self._states])
        stamps = np.array([state.stamp for _, state in self._states])
        late = float(np.median(logged - stamps))
        shift = late if abs(late) > OTHER_CLOCK else 0.0
        keep = stamps > np.concatenate([[-np.inf], np.maximum.accumulate(stamps)[:-1]])
        states = [state for (_, state), good in zip(self._states, keep) if good]
        positions = np.array([state.position for state in states])
        velocities = np.array([state.velocity for state in states])
        if not np.isfinite(velocities).all():
            many = len(states) > 1
            velocities = np.gradient(positions, stamps[keep], axis=0) if many else 0.0 * positions
        return Motion(
            stamps[keep],
            positions,
            velocities,
            (logged - shift)[keep],
        ), shift

    def chunks(self, shift: float) -> tuple[Chunk, ...]:
        """Return the policy's chunks; the empty ones, which stop the arm, are none."""
        return tuple(
            Chunk(t - shift, trajectory, self._origins.get(_key(trajectory.stamp)))
            for t, trajectory in self._trajectories
            if len(trajectory.times)
        )

    def sentences(self, shift: float) -> tuple[Sentence, ...]:
        """Return the instructions, each from when the policy took it up to its end.

        They are those of the topic, else those that the chunks answered. The policy hears one
        when it hears it, not when the recorder does: then it stops the plan of the one before
        by an empty trajectory; without a plan, the first chunk says when it asked for inputs.
        An instruction ends, because it succeeded or was stopped, with an empty trajectory that
        no chunk follows.
        """
        chunks = self.chunks(shift)
        begun = self._instructions(chunks, shift)
        empty = [t - shift for t, trajectory in self._trajectories if not len(trajectory.times)]
        found = []
        for (heard, text), end in zip(begun, (*(s.time for s in begun[1:]), math.inf)):
            answers = [chunk for chunk in chunks if heard <= chunk.arrived < end]
            if not text or not answers:
                found.append(Sentence(heard, text))
                continue
            asked = max(heard, _asked(answers[0]))
            halts = [t for t in empty if heard <= t < asked]
            found.append(Sentence(halts[0] if halts else asked, text))
            stops = [t for t in empty if answers[-1].arrived < t < end]
            found += [Sentence(stop, '') for stop in stops[:1]]
        return tuple(found)

    def _instructions(self, chunks: Sequence[Chunk], shift: float) -> tuple[Sentence, ...]:
        if any(text for _, text in self._texts):
            return tuple(Sentence(t - shift, text) for t, text in self._texts)
        found: list[Sentence] = []
        for chunk in chunks:
            text = chunk.provenance.instruction if chunk.provenance else ''
            if text and (not found or found[-1].text != text):
                found.append(Sentence(chunk.trajectory.stamp, text))
        return tuple(found)

    def notes(self, shift: float) -> list[str]:
        """Return what was passed over or mended."""
        notes = []
        if self._bad:
            notes.append(f'{self._bad} messages could not be used; the last: {self.reason}')
        if shift:
            notes.append(f'log time is {shift:.1f} s ahead of the stamps and was shifted.')
        return notes

    def _joints(self, time: float, msg: Any) -> None:
        names = self._robot.joint_names
        try:
            state = joint_state_from_msg(msg, names)
        except ShapeError:  # others may publish no velocities; they follow from the positions
            place = joint_positions_from_msg(msg, names)
            state = JointState(stamp_from_msg(msg), place, np.full(len(place), np.nan))
        if not np.isfinite(state.position).all():
            raise ReplayError('a position is not finite')
        self._states.append((time, state))

    def _trajectory(self, time: float, msg: Any) -> None:
        self._trajectories.append((time, trajectory_from_msg(msg, self._robot.joint_names)))

    def _chunk(self, time: float, msg: Any) -> None:
        del time
        self._origins[_key(stamp_from_msg(msg))] = provenance_from_msg(msg)

    def _gripper(self, number: int, time: float, msg: Any) -> None:
        arm = [arm for arm in self._robot.arms if arm.gripper is not None][number]
        assert arm.gripper is not None
        # Where the arm's controller carries it, it is a column of the arm's command.
        names = arm.commanded_joints if arm.carries else (arm.gripper.joint,)
        goal = trajectory_from_msg(msg, names)
        if len(goal.times):
            self.grips[number].append((time, float(goal.positions[-1, -1])))


def _asked(chunk: Chunk) -> float:
    """Return when the policy asked for the inputs of a chunk [s], as far as that is known."""
    timings = chunk.provenance.timings if chunk.provenance else {}
    waited = timings.get('transport', 0.0) + timings.get('frame_wait', 0.0)
    return chunk.trajectory.stamp + waited


def _key(stamp: float) -> int:
    return round(stamp * 1e6)


class _Pictures:
    """The pictures of a bag, a few in memory at a time; a camera's may be raw or compressed."""

    def __init__(self, path: Path, robot: RobotSpec, shift: float) -> None:
        self._path, self._robot, self._shift = path, robot, shift

    def __call__(self, cameras: Collection[str]) -> Iterator[Picture]:
        with open_bag(self._path) as bag:
            topics = self._topics(bag, cameras)
            for recorded in bag.messages(tuple(topics)):
                try:
                    stamp = stamp_from_msg(recorded.message)
                except VlaError:  # damaged: as if it had been lost
                    continue
                if math.isfinite(stamp):
                    arrived = recorded.time - self._shift
                    yield Picture(topics[recorded.topic], stamp, arrived, recorded.message)

    def _topics(self, bag: Bag, cameras: Collection[str]) -> dict[str, str]:
        """Return the topic of each camera, in the transport that the bag has.

        Raises:
            ReplayError: A camera is not in the bag.
        """
        found = {}
        for camera in cameras:
            source = self._robot.camera(camera)
            first = TRANSPORTS[source.transport]
            endings = sorted(TRANSPORTS.values(), key=lambda ending: ending != first)
            names = [bag.name(graph.Topic(source.topic + e, '', graph.CAMERA)) for e in endings]
            there = [name for name in names if name in bag.topics]
            if not there:
                raise ReplayError(
                    f"{self._path} has no pictures of camera '{camera}': expected {names[0]}, "
                    f'found {", ".join(sorted(bag.topics))}; correct the topic in the robot file.'
                )
            found[there[0]] = camera
        return found
