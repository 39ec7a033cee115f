"""Observation assembly: the newest picture of each camera, the joints at the oldest of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
import threading
from typing import Any

from vla_ros.status import SourceStatus
from vla_ros.types import Frame, JointState, Observation

JOINTS = 'joint_states'  # name of that source beside the cameras' names
JOINT_GAP = 0.05  # [s] how far t_obs may lie past the newest joint state
HISTORY = 2000  # joint states kept: 2 s at 1 kHz


@dataclass(frozen=True)
class Missing:
    """Why no observation can be assembled now."""

    reason: str
    expected: bool = False  # the next message of each source will cure it


@dataclass(frozen=True)
class Assembled:
    """An observation and where it came from."""

    observation: Observation
    stamps: dict[str, float]  # source -> [s] capture time
    ages: dict[str, float]  # source -> [s] at assembly


class _Newest:
    """The newest message of one camera, unread."""

    def __init__(self) -> None:
        self.message: Any = None
        self.stamp = -math.inf
        self.received = 0
        self.superseded = 0
        self.used = True

    def put(self, stamp: float, message: Any) -> None:
        self.received += 1
        self.superseded += not self.used
        self.message, self.stamp, self.used = message, stamp, False


class Assembler:
    """Collects messages in one thread and assembles observations in another."""

    def __init__(
        self, cameras: Sequence[str], read: Callable[[Any], Frame], max_age: float
    ) -> None:
        """Begin with nothing received.

        Args:
            cameras: Names of the cameras that the policy sees; may be empty.
            read: Turns a picture message into a Frame; called for pictures that are used.
            max_age: Oldest input that may be used [s].
        """
        self._read = read
        self._max_age = max_age
        self._lock = threading.Lock()
        self._pictures = {name: _Newest() for name in cameras}
        self._joints: deque[JointState] = deque(maxlen=HISTORY)
        self._joints_received = 0
        self._joints_fault = ''

    def add_picture(self, camera: str, stamp: float, message: Any) -> None:
        """Keep the newest picture message of a camera as it is."""
        with self._lock:
            self._pictures[camera].put(stamp, message)

    def add_joints(self, state: JointState) -> None:
        """Add a joint state; one that goes back in time begins a new history."""
        with self._lock:
            self._joints_received += 1
            self._joints_fault = ''
            if self._joints and state.stamp <= self._joints[-1].stamp:
                self._joints.clear()
            self._joints.append(state)

    def reject_joints(self, reason: str) -> None:
        """Note a joint state message that cannot be used; the next good one clears it."""
        with self._lock:
            self._joints_received += 1
            self._joints_fault = reason

    def assemble(self, instruction: str, now: float, after: float) -> Assembled | Missing:
        """Return an observation of the newest inputs, or what is missing.

        Args:
            instruction: The sentence to go with it.
            now: ROS time [s].
            after: The observation's stamp must be later than this [s].

        Raises:
            VlaError: A picture cannot be read.
        """
        with self._lock:
            sources = {name: p.stamp for name, p in self._pictures.items()}
            sources[JOINTS] = self._joints[-1].stamp if self._joints else -math.inf
            missing = self._missing(sources, now)
            if missing:
                return missing
            stamp = min((p.stamp for p in self._pictures.values()), default=sources[JOINTS])
            if stamp <= after:
                return Missing('waiting for newer inputs', expected=True)
            joints = interpolate(self._joints, stamp)
            if joints is None or stamp > sources[JOINTS] + JOINT_GAP:
                return Missing(f'{JOINTS} do not reach the time of the pictures; same clock?')
            messages = {name: p.message for name, p in self._pictures.items()}
            for picture in self._pictures.values():
                picture.used = True
        frames = {name: self._read(message) for name, message in messages.items()}
        ages = {name: now - at for name, at in sources.items()}
        return Assembled(Observation(stamp, frames, joints, instruction), sources, ages)

    def sources(self, now: float) -> dict[str, SourceStatus]:
        """Return age and counts of each source."""
        with self._lock:
            table = {
                name: SourceStatus(now - p.stamp, p.received, p.superseded)
                for name, p in self._pictures.items()
            }
            newest = self._joints[-1].stamp if self._joints else -math.inf
            table[JOINTS] = SourceStatus(now - newest, self._joints_received, 0)
            return table

    def _missing(self, sources: dict[str, float], now: float) -> Missing | None:
        if self._joints_fault:
            return Missing(self._joints_fault)
        for name, stamp in sources.items():
            kind = name if name == JOINTS else f"camera '{name}'"
            if math.isinf(stamp):
                return Missing(f'{kind}: nothing received yet; is its driver running?')
            if now - stamp > self._max_age:
                return Missing(
                    f'{kind}: the newest message is {now - stamp:.2f} s old, expected at most '
                    f'{self._max_age:.2f} s; is its driver running and its clock the same?'
                )
        return None


def interpolate(history: Sequence[JointState], stamp: float) -> JointState | None:
    """Return the joints at a time: linear between two states, the newest held past the end.

    Args:
        history: Joint states of increasing stamps, not empty.
        stamp: Wanted time [s].

    Returns:
        None if the time lies before the first state.
    """
    after = bisect_left(history, stamp, key=lambda state: state.stamp)
    if after == len(history):
        newest = history[-1]
        return JointState(stamp, newest.position, newest.velocity)
    right = history[after]
    if right.stamp == stamp:
        return right
    if after == 0:
        return None
    left = history[after - 1]
    share = (stamp - left.stamp) / (right.stamp - left.stamp)
    return JointState(
        stamp,
        left.position + share * (right.position - left.position),
        left.velocity + share * (right.velocity - left.velocity),
    )
