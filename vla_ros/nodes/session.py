"""What the policy is asked to do now, and when it must infer again. Pure: `now` is passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math

import numpy as np

from vla_ros.nodes.supply import supply
from vla_ros.spec import PolicySpec
from vla_ros.status import ExecutionState, PolicyPhase, RunCode, SafetyStatus, TaskStatus

HOLD_LEVEL = 3  # S3: the safety filter holds the arm
ACCEPT_WAIT = 0.5  # [s] after which a chunk that nobody accepted is taken for lost
KEY_TOLERANCE = 1e-6  # [s] float stamps nearer than this are the same key
ENDINGS = 16  # ended instructions that are remembered
CLOCK_HISTORY = 2000  # execution states kept to look up the plan clock: 10 s at 200 Hz
LENGTHS = 8  # chunks whose length is remembered: the one in use may not be the newest


@dataclass(frozen=True)
class Ended:
    """How an instruction ended."""

    instruction_id: int
    code: RunCode
    message: str
    elapsed: float  # [s]
    chunks: int


class Session:
    """One instruction after another: its phase, its chunks, its end. Not thread-safe."""

    def __init__(self, spec: PolicySpec) -> None:
        """Begin without an instruction.

        Args:
            spec: Its step, horizon and replan_steps say when an inference is due.
        """
        self.spec = spec  # of the policy in use, which may be exchanged
        self.instruction = ''
        self.instruction_id = 0
        self.phase = PolicyPhase.IDLE
        self.message = 'waiting for an instruction'
        self.chunks = 0  # published for this instruction
        self.started = 0.0  # [s]
        self.endings: deque[Ended] = deque(maxlen=ENDINGS)  # newest last
        self.last_stamp = -math.inf  # [s] of the last trajectory, empty ones included
        self.moving = False  # the last trajectory has points
        self._limit = math.inf  # [s]
        self._until_success = False
        self._published = -math.inf  # [s]
        self._lengths: deque[tuple[float, float]] = deque(maxlen=LENGTHS)  # stamp, last point [s]
        self._execution: ExecutionState | None = None
        self._clock: deque[tuple[float, float]] = deque(maxlen=CLOCK_HISTORY)  # (t, Phi) [s]
        self._task: TaskStatus | None = None
        self._safety: SafetyStatus | None = None

    @property
    def running(self) -> bool:
        """Whether there is an instruction to follow."""
        return bool(self.instruction)

    def start(
        self, text: str, now: float, limit: float = math.inf, until_success: bool = False
    ) -> int:
        """Take an instruction, in place of the one in work, and return its number.

        Args:
            text: Not empty.
            now: ROS time [s].
            limit: Longest duration [s].
            until_success: Whether the simulator's verdict ends it.
        """
        self._end(RunCode.SUPERSEDED, f"a newer instruction took over: '{text}'", now)
        self.instruction, self.instruction_id = text, self.instruction_id + 1
        self.phase, self.message = PolicyPhase.WAITING_FOR_INPUT, 'waiting for the first chunk'
        self.chunks, self.started = 0, now
        self._limit, self._until_success = limit, until_success
        self._task = None
        return self.instruction_id

    def stop(self, code: RunCode, message: str, now: float) -> None:
        """End the instruction in work, if there is one."""
        self._end(code, message, now)
        failed = code is RunCode.POLICY_ERROR
        self.phase = PolicyPhase.ERROR if failed else PolicyPhase.IDLE
        self.message = message

    def waiting(self, reason: str) -> None:
        """Note which input keeps the due inference from starting."""
        self.phase, self.message = PolicyPhase.WAITING_FOR_INPUT, reason

    def executed(self, state: ExecutionState) -> None:
        """Take what the safety filter does with the plan."""
        if self._clock and state.stamp == self._clock[-1][0]:
            self._clock.pop()  # a clock that stands still
        elif self._clock and state.stamp < self._clock[-1][0]:
            self._clock.clear()
        self._clock.append((state.stamp, state.plan_clock))
        self._execution = state

    def judged(self, task: TaskStatus) -> None:
        """Take the simulator's verdict."""
        self._task = task

    def guarded(self, safety: SafetyStatus) -> None:
        """Take what the safety filter reports."""
        self._safety = safety

    @property
    def safety(self) -> tuple[int, float]:
        """Level and smallest barrier [m] of the safety filter's last report."""
        return (self._safety.level, self._safety.min_barrier) if self._safety else (0, math.inf)

    def verdict(self, now: float) -> tuple[RunCode, str] | None:
        """Return why the instruction in work is over, None while it is not."""
        if not self.running:
            return None
        safety, task = self._safety, self._task
        if safety is not None and safety.latched and safety.level >= HOLD_LEVEL:
            return RunCode.SAFETY_STOP, f'the safety filter latched: {safety.message}'
        done = task is not None and task.success and task.instruction == self.instruction
        if self._until_success and done:
            return RunCode.SUCCEEDED, f"'{self.instruction}' succeeded"
        if now - self.started > self._limit:
            return RunCode.TIME_LIMIT, f'not done within {self._limit:.1f} s'
        return None

    def due(self, now: float, interval: float) -> bool:
        """Whether a new chunk is wanted.

        It is when the instruction has none, when `interval` of plan time was consumed since the
        last one's stamp, when nobody accepted that one, or when it has grown old because the
        filter holds the plan clock.

        Args:
            now: ROS time [s].
            interval: Plan time between two observations [s].
        """
        if not self.running:
            return False
        if self.chunks == 0:
            return True
        state = self._execution
        if state is None or not self._is_accepted(state):
            return self.unaccepted(now)
        if now - self.last_stamp > self.spec.patience:
            return True
        consumed = _phi(state, now) - state.accepted_plan_clock
        return consumed >= interval

    def unaccepted(self, now: float) -> bool:
        """Whether the safety filter has not taken the last chunk up in time."""
        state = self._execution
        taken = state is not None and self._is_accepted(state)
        return self.chunks > 0 and not taken and now - self._published > ACCEPT_WAIT

    def _is_accepted(self, state: ExecutionState) -> bool:
        return accepts(state, self.last_stamp)

    def supply(self, now: float, interval: float) -> str:
        """Return how the plan is supplied, a word of `vla_ros.nodes.supply.SUPPLIES`.

        Args:
            now: ROS time [s].
            interval: Plan time between two observations [s].
        """
        state, phi = self._execution, self.plan_clock(now)
        if state is None or phi is None or not (self.running and self.moving):
            return 'none'
        length = next((end for stamp, end in self._lengths if accepts(state, stamp)), None)
        if length is None:  # it follows a plan of before, of somebody else, or none
            return 'none'
        begun = state.accepted_plan_clock
        return supply(phi, state.rate, begun, begun + length, interval, self.spec.step)

    def plan_clock(self, at: float) -> float | None:
        """Return Phi(at) [s], None while the safety filter has said nothing."""
        if self._execution is None:
            return None
        if at >= self._execution.stamp:
            return _phi(self._execution, at)
        times, phis = zip(*self._clock)
        return float(np.interp(at, times, phis))

    def published(self, stamp: float, now: float, points: int, length: float = 0.0) -> None:
        """Note a trajectory that was sent; without points it stopped the arm.

        Args:
            stamp: Its key [s].
            now: ROS time [s].
            points: How many it has.
            length: When the last of them is due after the stamp [s].
        """
        self.last_stamp, self.moving = stamp, points > 0
        if points:
            self._published = now
            self._lengths.append((stamp, length))
            self.chunks += 1
            self.phase, self.message = PolicyPhase.RUNNING, f"following '{self.instruction}'"

    def _end(self, code: RunCode, message: str, now: float) -> None:
        if self.running:
            elapsed = now - self.started
            self.endings.append(Ended(self.instruction_id, code, message, elapsed, self.chunks))
        self.instruction = ''


def accepts(state: ExecutionState, stamp: float) -> bool:
    """Whether the safety filter has the chunk of a stamp [s] in use."""
    plan = state.accepted_plan
    return plan is not None and abs(plan - stamp) <= KEY_TOLERANCE


def _phi(state: ExecutionState, now: float) -> float:
    """Return the plan clock at `now`, a little after the state's stamp [s]."""
    return state.plan_clock + state.rate * max(now - state.stamp, 0.0)
