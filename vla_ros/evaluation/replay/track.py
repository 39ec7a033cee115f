"""A track: what one recording says, as values on one clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from vla_ros.errors import ReplayError
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.status import ExecutionState, SafetyStatus
from vla_ros.types import Array, Frame, frozen, JointState, Provenance, Trajectory


class Picture(NamedTuple):
    """A picture message of a camera, unread."""

    camera: str
    stamp: float  # [s] capture time
    arrived: float  # [s]
    message: Any  # for Track.read


class Sentence(NamedTuple):
    """An instruction and from when on it is in force; empty: stop."""

    time: float  # [s]
    text: str


class Chunk(NamedTuple):
    """A trajectory of the policy that drove the arm, and where it came from."""

    arrived: float  # [s]
    trajectory: Trajectory
    provenance: Provenance | None  # None: the recording does not say


class Solids(NamedTuple):
    """What perception said of obstacles."""

    arrived: float  # [s]
    stamp: float  # [s]
    frame: str
    obstacles: tuple[Obstacle, ...]


@dataclass(frozen=True)
class Motion:
    """Joints over time, the grippers' last."""

    stamps: Array  # (N,) [s] increasing
    positions: Array  # (N, n) [rad] or [m]
    velocities: Array  # (N, n) [rad/s] or [m/s]
    arrived: Array  # (N,) [s]

    def __post_init__(self) -> None:
        stamps = frozen(self.stamps, (None,), 'Motion.stamps')
        positions = frozen(self.positions, (len(stamps), None), 'Motion.positions')
        object.__setattr__(self, 'stamps', stamps)
        object.__setattr__(self, 'positions', positions)
        velocities = frozen(self.velocities, positions.shape, 'Motion.velocities')
        object.__setattr__(self, 'velocities', velocities)
        object.__setattr__(self, 'arrived', frozen(self.arrived, stamps.shape, 'Motion.arrived'))
        if not (np.diff(stamps) > 0.0).all():
            raise ReplayError('the stamps of a motion do not increase: sort them first.')

    def at(self, times: Array) -> Array:
        """Return positions (..., n) at times (...) [s], linear between states, NaN outside."""
        out = np.full((*np.shape(times), self.positions.shape[1]), np.nan)
        if len(self.stamps):
            for joint, column in enumerate(self.positions.T):
                out[..., joint] = np.interp(times, self.stamps, column, np.nan, np.nan)
        return out

    def state(self, index: int) -> JointState:
        """Return one state."""
        return JointState(float(self.stamps[index]), self.positions[index], self.velocities[index])


@dataclass(frozen=True)
class Track:
    """One recording. Everything but pictures is in memory; pictures are streamed."""

    name: str
    robot: RobotSpec
    start: float  # [s]
    end: float  # [s]
    joints: Motion
    read: Callable[[Any], Frame]  # turns a picture's message into a frame
    source: Callable[[Collection[str]], Iterator[Picture]]  # pictures of cameras, as they arrived
    sentences: tuple[Sentence, ...] = ()
    chunks: tuple[Chunk, ...] = ()  # as they arrived
    execution: tuple[tuple[float, ExecutionState], ...] = ()  # arrival [s], state
    safety: tuple[tuple[float, SafetyStatus], ...] = ()  # arrival [s], status
    grips: tuple[tuple[tuple[float, float], ...], ...] = ()  # of each gripper: [s], commanded [m]
    solids: tuple[Solids, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)  # what was missing or mended

    @property
    def seconds(self) -> float:
        """How long it lasts [s]."""
        return self.end - self.start

    def instruction(self, time: float) -> str:
        """Return the sentence in force at a time [s]; empty for none."""
        index = bisect_right(self.sentences, time, key=lambda sentence: sentence.time)
        return self.sentences[index - 1].text if index else ''

    def instruction_seed(self, time: float) -> int | None:
        """Return what the policy drew from for the sentence in force; None: it does not say."""
        index = bisect_right(self.sentences, time, key=lambda sentence: sentence.time)
        begin = self.sentences[index - 1].time if index else self.start
        end = self.sentences[index].time if index < len(self.sentences) else self.end
        for chunk in self.chunks:
            if chunk.provenance is not None and begin <= chunk.arrived <= end:
                return chunk.provenance.instruction_seed
        return None

    def pictures(self, cameras: Collection[str]) -> Iterator[Picture]:
        """Return the pictures of cameras as they arrived, a few in memory at a time."""
        return self.source(cameras)
