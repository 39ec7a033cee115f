"""The inference worker: one thread that turns observations into trajectories when one is due."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
import logging
import math
import threading
from time import perf_counter

import numpy as np

from vla_ros.errors import HorizonError, VlaError
from vla_ros.nodes.loading import Loaded
from vla_ros.nodes.observation import Assembled, Assembler, Missing
from vla_ros.nodes.session import accepts, KEY_TOLERANCE, Session
from vla_ros.nodes.supply import SUPPLIES
from vla_ros.policies.base import ask, chunk_seed, interrupt
from vla_ros.status import ExecutionState, Percentiles, PolicyPhase, PolicyStatus, RunCode
from vla_ros.types import Provenance, Trajectory

ACCEPTABLE_DELAY = 0.05  # [s] the old plan may run on for this long after a new instruction
FAILURES = 3  # answers in a row that cannot be used before the instruction is given up
IDLE_WAIT = 0.05  # [s] longest sleep between two looks at whether an inference is due
WINDOW = 100  # chunks over which percentiles are taken
STAGES = ('transport', 'frame_wait', 'preprocess', 'inference', 'publish', 'total')
APART = 2.0 * KEY_TOLERANCE  # [s] between two keys, so that both stay keys in a message

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
        loaded: Loaded,
        assembler: Assembler,
        publish: Publish,
        clock: Callable[[], float],
        seeds: Callable[[int], int],
        stopwatch: Callable[[], float] = perf_counter,
        urgently: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Bind the parts; nothing runs yet.

        Args:
            loaded: Its policy is used by the worker's thread only, its executor under the lock.
            assembler: Where the inputs arrive.
            publish: Sends a trajectory, with its provenance unless it is an empty one.
            clock: ROS time [s].
            seeds: What instruction k draws from.
            stopwatch: What durations are measured with [s]; a replay has its own time.
            urgently: Around what is done before the network runs and after it.
        """
        self.session = Session(loaded.policy.spec)
        self.discarded = 0  # results that came too late for their instruction
        self._policy, self._executor = loaded.policy, loaded.executor
        self._assembler = assembler
        self._publish = publish
        self._clock, self._stopwatch = clock, stopwatch
        self._urgently = urgently
        self._seeds = seeds
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._known = 0  # instruction that the policy was last reset for
        self._index = 0  # inferences since then
        self._instruction_seed = 0  # that it was reset with
        self._failures = 0  # since the last answer that could be used
        self._trouble = ''  # why the last one could not
        self._next: tuple[Loaded, Callable[[Loaded], None]] | None = None  # to take over
        self._busy_since: float | None = None  # [s] of the stopwatch
        self._window: deque[tuple[float, ...]] = deque(maxlen=WINDOW)  # STAGES, end time [s]
        self._sent: tuple[float, float] | None = None  # [s] key, time; not yet in use
        self._filter: deque[float] = deque(maxlen=WINDOW)  # [s] published to used
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
        end = perf_counter() + timeout
        while self._thread is not None and self._thread.is_alive():
            if perf_counter() > end:
                return False
            interrupt(self._policy)  # again, for it may have come before an inference began
            self._thread.join(0.1)
        return True

    def exchange(self, loaded: Loaded, taken: Callable[[Loaded], None]) -> None:
        """Use another policy from the next inference on; the plan of this one is executed.

        Args:
            loaded: Takes over the instruction in work.
            taken: Called with it when it is in use, by the worker's thread.
        """
        with self._lock:
            self._next = loaded, taken
        self._wake.set()

    def begin(self, text: str, limit: float, until_success: bool) -> int:
        """Follow an instruction from now on and return its number.

        The plan of the one before is stopped at once, unless the first chunk of the new one
        can be expected within ACCEPTABLE_DELAY.
        """
        with self._lock:
            now = self._clock()
            number = self.session.start(text, now, limit, until_success)
            self._executor.reset()  # what was planned was for another sentence
            self._trouble = ''
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

    def executed(self, state: ExecutionState) -> None:
        """Take what the safety filter does with the plan."""
        with self._lock:
            self.session.executed(state)
            if state.joint_names:  # without them the report holds no reference
                self._executor.executed(state.plan_clock, state.reference_position)
            if self._sent is not None and accepts(state, self._sent[0]):
                self._filter.append(max(0.0, state.stamp - self._sent[1]))
                self._sent = None
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
            recent = rows[rows[:, -1] > self._stopwatch() - 5.0]
            columns = np.percentile(rows[:, :-1], (50, 95, 99), axis=0).T
            stages = {name: _triple(column) for name, column in zip(STAGES, columns)}
            stages['filter'] = _triple(np.percentile(self._filter or (0.0,), (50, 95, 99)))
            horizon, supply = self._plan(now)
            message = session.message
            if session.phase is PolicyPhase.RUNNING and SUPPLIES[supply]:
                message = f'{message}; {SUPPLIES[supply]}'
            if session.running and self._trouble:
                message = f'{message}; {self._trouble}'
            return PolicyStatus(
                now,
                session.phase,
                message,
                session.instruction,
                session.instruction_id,
                rate=len(recent) / 5.0 if self._window else 0.0,
                strategy=self._policy.spec.strategy,
                execution_horizon=horizon,
                delay_steps=self._executor.delay.steps,
                supply=supply,
                chunks=self._total,
                sources=self._assembler.sources(now),
                **stages,
            )

    def _plan(self, now: float) -> tuple[int, str]:
        """Return the execution horizon [steps], 0 where there is none, and the supply."""
        executor = self._executor
        try:
            horizon, interval = executor.horizon, executor.interval
        except HorizonError:  # the next step gives the instruction up for it
            return 0, self.session.supply(now, 0.0)
        return horizon, self.session.supply(now, interval)

    def _loop(self) -> None:
        while not self._stopping:
            self._wake.wait(IDLE_WAIT)
            self._wake.clear()
            while not self._stopping and self.step():
                pass

    def step(self) -> bool:
        """Infer and publish once if that is due and possible; return whether it was tried."""
        self._take_over()
        with self._lock:
            now = self._clock()
            session = self.session
            number, instruction = session.instruction_id, session.instruction
            after = session.last_stamp
            try:
                due = session.due(now, self._executor.interval)
            except HorizonError as error:
                self._executor.delay.reset()  # the next instruction measures anew
                self._give_up(number, str(error))
                return False
            if not due:
                return False
            if session.unaccepted(now):
                self._executor.reset()
        try:
            with ExitStack() as preparing:
                preparing.enter_context(self._urgently())
                inputs = self._assembler.assemble(instruction, now, after)
                if isinstance(inputs, Missing):
                    with self._lock:
                        if session.instruction_id == number and not inputs.expected:
                            session.waiting(inputs.reason)
                    return False
                self._infer(number, inputs, now, preparing.close)
            self._failures, self._trouble = 0, ''
        except Exception as error:  # a policy is foreign code: any failure must stop the arm
            self._fail(number, error)
        return True

    def _take_over(self) -> None:
        """Use the policy that waits for its turn, if there is one."""
        with self._lock:
            if self._next is None:
                return
            (loaded, taken), self._next = self._next, None
            self._policy, self._executor = loaded.policy, loaded.executor
            self._known, self._failures = 0, 0
            self.session.spec = loaded.policy.spec
        taken(loaded)

    def _fail(self, number: int, error: Exception) -> None:
        """Try again with fresh noise while the old plan lasts, then give the instruction up."""
        known = isinstance(error, VlaError)
        log.error('inference failed: %s', error, exc_info=None if known else error)
        self._failures += 1
        self._trouble = str(error)
        if known and self._failures < FAILURES:
            return
        self._failures = 0
        self._give_up(number, str(error) if known else f'{type(error).__name__}: {error}')

    def _give_up(self, number: int, message: str) -> None:
        with self._lock:
            if self.session.instruction_id == number and self.session.running:
                self.stop(RunCode.POLICY_ERROR, message)

    def _infer(
        self, number: int, inputs: Assembled, asked: float, ready: Callable[[], None]
    ) -> None:
        """Answer inputs that were asked for at `asked` [s], and publish what is sent.

        `ready` is called before the network runs.
        """
        obs, session = inputs.observation, self.session
        if number != self._known:
            self._instruction_seed = self._seeds(number)
            self._policy.reset(obs.instruction, seed=self._instruction_seed)
            self._known, self._index = number, 0
        index, seed = self._index, chunk_seed(self._instruction_seed, self._index)
        self._index += 1
        begin = self._clock()
        with self._lock:
            known = self._known_clock(obs.stamp, begin)
            prefix = self._executor.prefix(*known) if known else None
        t0 = self._busy_since = self._stopwatch()
        try:
            answers = ask(self._policy, obs, self._executor.samples, prefix, ready)
            t1 = self._stopwatch()
        finally:
            self._busy_since = None
        timings = {
            # A picture may be ahead of a clock that reaches this process by a topic.
            'transport': max(0.0, inputs.arrived - obs.stamp),
            'frame_wait': max(0.0, asked - inputs.arrived),
            'preprocess': inputs.reading + answers[0].timings.get('preprocess', 0.0),
            'inference': answers[0].timings.get('inference', t1 - t0),
        }
        with self._urgently(), self._lock:
            if session.instruction_id != number or not session.running:
                self.discarded += 1
                return
            now = self._clock()
            clock = self._known_clock(obs.stamp, now)
            begun, phi = clock or (0.0, 0.0)
            t2 = self._stopwatch()
            sent = self._executor.send(answers, obs.joints, begun, phi)
            timings['decode'] = self._stopwatch() - t2
            provenance = Provenance(
                obs.instruction,
                number,
                seed,
                inputs.stamps,
                inputs.ages,
                max(0, math.floor((phi - begun) / session.spec.step)),
                timings,
                policy=self._policy.spec.name,
                instruction_seed=self._instruction_seed,
                inference=index,
                actions=answers[sent.choice].actions,
                prefix=prefix,
                plan_clock=clock,
            )
            self._publish(sent.trajectory, provenance)
            times = sent.trajectory.times
            session.published(obs.stamp, now, len(times), float(times[-1]) if len(times) else 0.0)
            self._total += 1
            now = self._clock()
            self._sent = obs.stamp, now
            end = self._stopwatch()
            stages = {**timings, 'publish': end - t2, 'total': max(0.0, now - obs.stamp)}
            self._window.append((*(stages[name] for name in STAGES), end))

    def _known_clock(self, stamp: float, now: float) -> tuple[float, float] | None:
        """Return Phi at a stamp and at `now` [s]; None without them, and the plan is forgotten."""
        begun, phi = self.session.plan_clock(stamp), self.session.plan_clock(now)
        if begun is None or phi is None:
            self._executor.reset()
            return None
        return begun, phi

    def _expected_delay(self) -> float:
        """Return when the next chunk can be there: the rest of this inference and another."""
        if not self._window:
            return float('inf')
        whole = float(np.percentile([row[-2] for row in self._window], 95))
        left = 0.0
        if self._busy_since is not None:
            left = max(0.0, whole - (self._stopwatch() - self._busy_since))
        return left + whole

    def _halt(self, now: float) -> None:
        """Send the trajectory without points, which ends the motion."""
        self._executor.reset()
        self._sent = None
        # The clock may stand still, and a chunk's key may be its newest time.
        stamp = max(now, self.session.last_stamp + APART)
        self._publish(Trajectory(stamp, np.zeros(0), np.zeros((0, 0))), None)
        self.session.published(stamp, now, 0)


def _triple(column: np.ndarray) -> Percentiles:
    p50, p95, p99 = (float(value) for value in column)
    return p50, p95, p99
