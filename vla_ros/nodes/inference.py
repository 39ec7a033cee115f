"""The inference worker: one thread that turns observations into trajectories when one is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import logging
import threading
from time import perf_counter

import numpy as np

from vla_ros.errors import VlaError
from vla_ros.nodes.observation import Assembled, Assembler, Missing
from vla_ros.nodes.session import Session
from vla_ros.policies.base import chunk_seed, Policy
from vla_ros.status import Percentiles, PolicyStatus, RunCode
from vla_ros.types import ActionChunk, JointState, Provenance, Trajectory

ACCEPTABLE_DELAY = 0.05  # [s] the old plan may run on for this long after a new instruction
FAILURES = 3  # answers in a row that cannot be used before the instruction is given up
IDLE_WAIT = 0.05  # [s] longest sleep between two looks at whether an inference is due
WINDOW = 100  # chunks over which percentiles are taken
STAGES = ('frame_wait', 'preprocess', 'inference', 'publish', 'total')

Decode = Callable[[ActionChunk, JointState], Trajectory]
Publish = Callable[[Trajectory, 'Provenance | None'], None]

log = logging.getLogger(__name__)


class Inference:
    """Follows the session's instruction with a policy; commands may come from any thread.

    One inference is in flight at a time. A result that belongs to an instruction that is no
    longer in work is dropped. Publishing happens under the lock that also guards the session,
    so no trajectory of an old instruction follows the empty one that stopped it.
    """

    def __init__(
        self,
        policy: Policy,
        decode: Decode,
        assembler: Assembler,
        publish: Publish,
        clock: Callable[[], float],
        seed: int,
    ) -> None:
        """Bind the parts; nothing runs yet.

        Args:
            policy: Used by the worker's thread only.
            decode: From a chunk and the joints it was computed for to joint positions.
            assembler: Where the inputs arrive.
            publish: Sends a trajectory, with its provenance unless it is an empty one.
            clock: ROS time [s].
            seed: Instruction k draws from `chunk_seed(seed, k)`.
        """
        self.session = Session(policy.spec)
        self.discarded = 0  # results that came too late for their instruction
        self._policy = policy
        self._decode = decode
        self._assembler = assembler
        self._publish = publish
        self._clock = clock
        self._seed = seed
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._known = 0  # instruction that the policy was last reset for
        self._index = 0  # inferences since then
        self._failures = 0  # since the last answer that could be used
        self._busy_since: float | None = None  # [s] perf_counter
        self._window: deque[tuple[float, ...]] = deque(maxlen=WINDOW)  # STAGES, end time [s]
        self._total = 0

    def start(self) -> None:
        """Start the thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name='inference', daemon=True)
        self._thread.start()

    def close(self, timeout: float) -> bool:
        """Stop the arm and the thread; return False if an inference outlasts the timeout [s]."""
        self.stop(RunCode.CANCELED, 'the policy node was deactivated')
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout)
            return not self._thread.is_alive()
        return True

    def begin(self, text: str, limit: float, until_success: bool) -> int:
        """Follow an instruction from now on and return its number.

        The plan of the one before is stopped at once, unless the first chunk of the new one
        can be expected within ACCEPTABLE_DELAY.
        """
        with self._lock:
            now = self._clock()
            number = self.session.start(text, now, limit, until_success)
            if self.session.moving and self._expected_delay() > ACCEPTABLE_DELAY:
                self._halt(now)
        self._wake.set()
        return number

    def stop(self, code: RunCode, message: str) -> None:
        """End the instruction in work and stop the arm."""
        with self._lock:
            now = self._clock()
            self.session.stop(code, message, now)
            self._halt(now)

    def check(self) -> None:
        """Stop when the instruction succeeded, ran out of time or was stopped by the filter."""
        with self._lock:
            verdict = self.session.verdict(self._clock())
            if verdict is not None:
                self.stop(*verdict)

    def wake(self) -> None:
        """Say that an input arrived."""
        self._wake.set()

    def update(self, take: Callable[[Session], None]) -> None:
        """Let a callback change the session under the lock."""
        with self._lock:
            take(self.session)
        self._wake.set()

    def status(self, now: float) -> PolicyStatus:
        """Return state, rate and timing."""
        with self._lock:
            session = self.session
            rows = np.array(self._window) if self._window else np.zeros((1, len(STAGES) + 1))
            recent = rows[rows[:, -1] > perf_counter() - 5.0]
            columns = np.percentile(rows[:, :-1], (50, 95, 99), axis=0).T
            stages = {name: _triple(column) for name, column in zip(STAGES, columns)}
            return PolicyStatus(
                now,
                session.phase,
                session.message,
                session.instruction,
                session.instruction_id,
                rate=len(recent) / 5.0 if self._window else 0.0,
                chunks=self._total,
                sources=self._assembler.sources(now),
                **stages,
            )

    def _loop(self) -> None:
        while not self._stopping:
            self._wake.wait(IDLE_WAIT)
            self._wake.clear()
            while not self._stopping and self.step():
                pass

    def step(self) -> bool:
        """Infer and publish once if that is due and possible; return whether it was tried."""
        with self._lock:
            now = self._clock()
            session = self.session
            if not session.due(now):
                return False
            number, instruction = session.instruction_id, session.instruction
            after = session.last_stamp
        try:
            inputs = self._assembler.assemble(instruction, now, after)
            if isinstance(inputs, Missing):
                with self._lock:
                    if session.instruction_id == number and not inputs.expected:
                        session.waiting(inputs.reason)
                return False
            self._infer(number, inputs)
            self._failures = 0
        except Exception as error:  # a policy is foreign code: any failure must stop the arm
            self._fail(number, error)
        return True

    def _fail(self, number: int, error: Exception) -> None:
        """Try again with fresh noise while the old plan lasts, then give the instruction up."""
        known = isinstance(error, VlaError)
        log.error('inference failed: %s', error, exc_info=None if known else error)
        self._failures += 1
        if known and self._failures < FAILURES:
            return
        self._failures = 0
        message = str(error) if known else f'{type(error).__name__}: {error}'
        with self._lock:
            if self.session.instruction_id == number and self.session.running:
                self.stop(RunCode.POLICY_ERROR, message)

    def _infer(self, number: int, inputs: Assembled) -> None:
        obs = inputs.observation
        if number != self._known:
            self._policy.reset(obs.instruction, seed=chunk_seed(self._seed, number))
            self._known, self._index = number, 0
        seed = chunk_seed(chunk_seed(self._seed, number), self._index)
        self._index += 1
        begin = self._clock()
        t0 = self._busy_since = perf_counter()
        try:
            chunk = self._policy.infer(obs)
            t1 = perf_counter()
            trajectory = self._decode(chunk, obs.joints)
            t2 = perf_counter()
        finally:
            self._busy_since = None
        inference = chunk.timings.get('inference', t1 - t0)
        timings = {
            'frame_wait': begin - obs.stamp,
            'preprocess': chunk.timings.get('preprocess', 0.0),
            'inference': inference,
            'decode': t2 - t1,
        }
        with self._lock:
            now = self._clock()
            if self.session.instruction_id != number or not self.session.running:
                self.discarded += 1
                return
            delay = self.session.delay(obs.stamp, now)
            self._publish(
                trajectory,
                Provenance(
                    obs.instruction, number, seed, inputs.stamps, inputs.ages, delay, timings
                ),
            )
            self.session.published(obs.stamp, now, len(trajectory.times))
            self._total += 1
            publish = timings['decode'] + perf_counter() - t2
            stages = (timings['frame_wait'], timings['preprocess'], inference, publish)
            self._window.append((*stages, now - obs.stamp, perf_counter()))

    def _expected_delay(self) -> float:
        """Return when the next chunk can be there: the rest of this inference and another."""
        if not self._window:
            return float('inf')
        whole = float(np.percentile([row[-2] for row in self._window], 95))
        left = 0.0
        if self._busy_since is not None:
            left = max(0.0, whole - (perf_counter() - self._busy_since))
        return left + whole

    def _halt(self, now: float) -> None:
        """Send the trajectory without points, which ends the motion."""
        stamp = max(now, float(np.nextafter(self.session.last_stamp, np.inf)))
        self._publish(Trajectory(stamp, np.zeros(0), np.zeros((0, 0))), None)
        self.session.published(stamp, now, 0)


def _triple(column: np.ndarray) -> Percentiles:
    p50, p95, p99 = (float(value) for value in column)
    return p50, p95, p99
