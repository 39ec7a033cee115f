"""Observation assembly: a picture of each camera, the joints at the oldest of them."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
import threading
from time import perf_counter
from typing import Any

from vla_ros.errors import PictureError, VlaError
from vla_ros.status import SourceStatus
from vla_ros.types import Frame, JointState, Observation

JOINTS = 'joint_states'  # name of that source beside the cameras' names
JOINT_GAP = 0.05  # [s] how far t_obs may lie past the newest joint state
HISTORY = 2000  # joint states kept: 2 s at 1 kHz
PICTURES = 8  # pictures of a camera kept for 'nearest': 0.27 s at 30 Hz
ROUNDING = 1e-6  # [s] of stamps


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
    arrived: float  # [s] ROS time when what sets the observation's stamp came
    reading: float  # [s] that it took to read the pictures


@dataclass(eq=False)  # two are never the same, whatever they hold
class _Picture:
    """One message of a camera, unread."""

    stamp: float  # [s]
    arrived: float  # [s]
    message: Any
    used: bool = False


class _Recent:
    """The last messages of one camera, the newest at the end."""

    def __init__(self, depth: int) -> None:
        self.pictures: deque[_Picture] = deque()
        self.stamp = -math.inf  # [s] of the newest
        self.received = 0
        self.superseded = 0
        self._depth = depth

    def put(self, picture: _Picture) -> None:
        """Add a picture; one that goes back in time begins a new history."""
        self.received += 1
        back = picture.stamp < self.stamp
        while self.pictures and (back or len(self.pictures) >= self._depth):
            self.superseded += not self.pictures.popleft().used
        self.pictures.append(picture)
        self.stamp = picture.stamp

    def nearest(self, stamp: float) -> _Picture:
        """Return the picture nearest to a time; of two the later."""
        return min(reversed(self.pictures), key=lambda picture: abs(picture.stamp - stamp))

    def use(self, picture: _Picture) -> None:
        """Note that a picture is used; those before it never will be."""
        picture.used = True
        while self.pictures[0] is not picture:
            self.superseded += not self.pictures.popleft().used

    def drop(self, picture: _Picture) -> None:
        """Forget a picture that cannot be read."""
        if picture in self.pictures:
            self.pictures.remove(picture)


class Assembler:
    """Collects messages in one thread and assembles observations in another."""

    def __init__(
        self,
        cameras: Sequence[str],
        read: Callable[[Any], Frame],
        max_age: float,
        alignment: str = 'hold',
        tolerance: float = math.inf,
        stopwatch: Callable[[], float] = perf_counter,
    ) -> None:
        """Begin with nothing received.

        Args:
            cameras: Names of the cameras that the policy sees; may be empty.
            read: Turns a picture message into a Frame; called for pictures that are used.
            max_age: Oldest input that may be used [s].
            alignment: Which pictures go together, a word of `vla_ros.spec.ALIGNMENTS`.
            tolerance: Largest time between the pictures of one observation, for 'drop' [s].
            stopwatch: What the reading of pictures is measured with [s].
        """
        self._read, self._stopwatch = read, stopwatch
        self._max_age = max_age
        self._alignment = alignment
        self._tolerance = tolerance
        self._apart_since = math.inf  # [s] when pictures were first found too far apart
        self._lock = threading.Lock()
        depth = PICTURES if alignment == 'nearest' else 1
        self._recent = {name: _Recent(depth) for name in cameras}
        self._joints: deque[JointState] = deque(maxlen=HISTORY)
        self._joints_received = 0
        self._joints_arrived = -math.inf  # [s] the newest of them
        self._joints_fault = ''

    def add_picture(self, camera: str, stamp: float, message: Any, arrived: float) -> None:
        """Keep a picture message of a camera as it is.

        Args:
            camera: Its name.
            stamp: Capture time [s].
            message: For `read`.
            arrived: ROS time [s].
        """
        with self._lock:
            self._recent[camera].put(_Picture(stamp, arrived, message))

    def add_joints(self, state: JointState, arrived: float) -> None:
        """Add a joint state that came at `arrived` [s]; one from before begins a new history."""
        with self._lock:
            self._joints_received += 1
            self._joints_arrived = arrived
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
        """Return an observation of the inputs that go together, or what is missing.

        Args:
            instruction: The sentence to go with it.
            now: ROS time [s].
            after: The observation's stamp must be later than this [s].

        Raises:
            PictureError: A picture cannot be read; the next call does without it.
        """
        with self._lock:
            newest = {name: recent.stamp for name, recent in self._recent.items()}
            newest[JOINTS] = self._joints[-1].stamp if self._joints else -math.inf
            missing = self._missing(newest, now)
            if missing:
                return missing
            chosen = self._choose()
            if isinstance(chosen, Missing):
                return chosen
            stamps = {name: picture.stamp for name, picture in chosen.items()}
            stamp = min(stamps.values(), default=newest[JOINTS])
            if stamp <= after:
                return Missing('waiting for newer inputs', expected=True)
            missing = self._apart(stamps, now)
            if missing:
                return missing
            joints = interpolate(self._joints, stamp)
            if joints is None or stamp > newest[JOINTS] + JOINT_GAP:
                return Missing(f'{JOINTS} do not reach the time of the pictures; same clock?')
            for name, picture in chosen.items():
                self._recent[name].use(picture)
            oldest = [picture.arrived for picture in chosen.values() if picture.stamp == stamp]
            arrived = max(oldest, default=self._joints_arrived)
        begin = self._stopwatch()
        frames = {name: self._frame(name, picture) for name, picture in chosen.items()}
        reading = self._stopwatch() - begin
        sources = {**stamps, JOINTS: newest[JOINTS]}
        # A picture may be ahead of a clock that reaches this process by a topic.
        ages = {name: max(0.0, now - at) for name, at in sources.items()}
        observation = Observation(stamp, frames, joints, instruction)
        return Assembled(observation, sources, ages, arrived, reading)

    def sources(self, now: float) -> dict[str, SourceStatus]:
        """Return age and counts of each source."""
        with self._lock:
            table = {
                name: SourceStatus(max(0.0, now - p.stamp), p.received, p.superseded)
                for name, p in self._recent.items()
            }
            newest = self._joints[-1].stamp if self._joints else -math.inf
            table[JOINTS] = SourceStatus(max(0.0, now - newest), self._joints_received, 0)
            return table

    def _choose(self) -> dict[str, _Picture] | Missing:
        """Return the picture of each camera that goes with those of the others."""
        slowest = min((recent.stamp for recent in self._recent.values()), default=0.0)
        chosen = {}
        for name, recent in self._recent.items():
            if not recent.pictures:
                reason = f"camera '{name}': waiting for a picture that can be read"
                return Missing(reason, expected=True)
            near = self._alignment == 'nearest'
            chosen[name] = recent.nearest(slowest) if near else recent.pictures[-1]
        return chosen

    def _apart(self, stamps: dict[str, float], now: float) -> Missing | None:
        """Refuse pictures that lie too far apart; what lasts longer than `max_age` is told."""
        if self._alignment != 'drop' or not stamps:
            return None
        first, last = min(stamps, key=stamps.__getitem__), max(stamps, key=stamps.__getitem__)
        gap = stamps[last] - stamps[first]
        if gap <= self._tolerance + ROUNDING:
            self._apart_since = math.inf
            return None
        self._apart_since = min(self._apart_since, now)
        return Missing(
            f"cameras '{first}' and '{last}': their newest pictures are {gap:.3f} s apart, "
            f'expected at most {self._tolerance:.3f} s (alignment_tolerance); are they '
            "triggered together? Else choose alignment 'nearest'.",
            expected=now - self._apart_since <= self._max_age,
        )

    def _frame(self, camera: str, picture: _Picture) -> Frame:
        try:
            return self._read(picture.message)
        except VlaError as error:
            with self._lock:
                self._recent[camera].drop(picture)
            raise PictureError(f"camera '{camera}': a picture cannot be used: {error}") from error

    def _missing(self, sources: dict[str, float], now: float) -> Missing | None:
        """Name the first source that is silent, or of another time."""
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
            if stamp - now > self._max_age:
                return Missing(
                    f'{kind}: the newest message is {stamp - now:.2f} s ahead of the clock; does '
                    'its driver use the same clock?'
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
