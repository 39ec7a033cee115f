"""The graph in one process on a simulated clock: the nodes' own code, without threads and DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast, Protocol

from vla_ros import graph
from vla_ros.evaluation.replay.injection import Injection, Way
from vla_ros.nodes.control import Control
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.loading import Loaded
from vla_ros.nodes.observation import Assembler
from vla_ros.policies.base import Policy, SamplingPolicy
from vla_ros.robot import RobotSpec
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.result import SafetyResult
from vla_ros.status import Hold, RunCode, SafetyStatus
from vla_ros.types import (
    ActionChunk,
    ChunkPrefix,
    Frame,
    JointState,
    Observation,
    Provenance,
    Trajectory,
)

MAX_AGE = 0.5  # [s] of an input, the policy node's own default


class Arm(Protocol):
    """What stands where cameras, joints and controllers are: a recording or a simulated arm."""

    def feed(self, pipeline: Pipeline, now: float) -> None:
        """Give the pipeline what arrives up to `now` [s]."""

    def state(self, now: float) -> JointState:
        """Return the joints that the filter measures."""

    def command(self, result: SafetyResult, dt: float) -> None:
        """Take the command of a tick, to be reached in `dt` [s]."""


class Watcher(Protocol):
    """Who looks on."""

    def tick(self, pipeline: Pipeline, result: SafetyResult) -> None:
        """See a tick of the filter."""

    def sent(self, pipeline: Pipeline, trajectory: Trajectory, origin: Provenance | None) -> None:
        """See what the policy side publishes."""


class Pipeline:
    """Policy side and safety filter under one simulated clock.

    The model's time passes inside the policy's call: while it "computes", the control ticks of
    that time are played. So one thread gives what two processes do, and always the same.
    """

    def __init__(
        self,
        robot: RobotSpec,
        loaded: Loaded,
        safety: SafetyConfig,
        read: Callable[[Any], Frame],
        arm: Arm,
        watcher: Watcher,
        injection: Injection,
        seeds: Callable[[int], int],
        start: float,
    ) -> None:
        """Connect the parts; the clock stands at `start` [s].

        Args:
            robot: The arm.
            loaded: Policy and executor; the executor is reset.
            safety: Settings of the filter.
            read: Turns a picture's message into a frame.
            arm: Where inputs come from and commands go.
            watcher: Sees ticks and trajectories.
            injection: What happens to messages and to the model's time.
            seeds: What the policy draws from for instruction k, 1 is the first.
            start: Time of the first tick [s].
        """
        self.period = safety.period  # [s]
        self.time = start  # [s] now
        self._start, self._ticks, self._asking = start, 0, False
        self._arm, self._watcher = arm, watcher
        self._injection, self._jitter = injection, injection.rng('model')
        self._ways: dict[str, Way[Any]] = {}
        spec = loaded.policy.spec
        self.cameras = [image.camera for image in spec.images]
        self.assembler = Assembler(
            self.cameras, read, MAX_AGE, spec.alignment, spec.alignment_tolerance, self.clock
        )
        loaded.executor.reset()
        loaded.executor.delay.reset()
        loaded.executor.expect(injection.latency)
        timed = Loaded(_Timed(loaded.policy, self._model), loaded.executor)
        self.inference = Inference(
            timed, self.assembler, self._publish, self.clock, seeds, self.clock
        )
        self.control = Control(robot, safety)
        rate = 1.0 / self.period
        self._execution_every = max(1, round(rate / graph.EXECUTION_RATE))
        self._status_every = max(1, round(rate / graph.STATUS_RATE))

    def clock(self) -> float:
        """Return the simulated time [s]."""
        return self.time

    @property
    def lost(self) -> dict[str, int]:
        """How many messages of each source got lost on their way."""
        return {name: way.lost for name, way in self._ways.items()}

    def run(self, end: float) -> None:
        """Let time pass up to `end` [s]."""
        while self._due <= end + 1e-9:
            self._tick()
            while self.inference.step():
                pass

    def picture(self, camera: str, stamp: float, message: Any) -> None:
        """Send a picture message of a camera, captured at `stamp` [s]."""
        for at, content in self._way(camera).send((stamp, message)):
            self.assembler.add_picture(camera, at, content, self.time)

    def joints(self, state: JointState) -> None:
        """Send a joint state to the policy side."""
        for arrived in self._way(graph.JOINT_STATES.name).send(state):
            self.assembler.add_joints(arrived, self.time)

    def tell(self, text: str) -> None:
        """Give an instruction, as the topic does; an empty one stops."""
        if not text:
            self.inference.stop(RunCode.CANCELED, 'stopped by an empty instruction')
        elif text != self.inference.session.instruction:
            self.inference.begin(text, float('inf'), until_success=False)

    @property
    def _due(self) -> float:
        return self._start + self._ticks * self.period

    def _way(self, name: str) -> Way[Any]:
        return self._ways.setdefault(name, Way(self._injection, name))

    def _tick(self) -> None:
        now = self.time = self._due
        self._ticks += 1
        self._arm.feed(self, now)
        control = self.control
        control.put_state(self._arm.state(now))
        control.put_enable(True)  # the switch is pressed, and a forwarder streams
        control.put_hold(Hold(streams=True))
        result = control.tick(now, self.period)
        self._arm.command(result, self.period)
        self._watcher.tick(self, result)
        if self._ticks % self._execution_every == 0:
            self.inference.executed(control.execution_state(now, result))
        if self._ticks % self._status_every == 0:
            status = SafetyStatus(
                now, int(result.level), result.reason, result.message, result.latched,
                min_barrier=result.min_barrier,
            )  # fmt: skip
            self.inference.update(lambda session: session.guarded(status))
            self.inference.check()

    def _publish(self, trajectory: Trajectory, origin: Provenance | None) -> None:
        self._watcher.sent(self, trajectory, origin)
        for arrived in self._way(graph.TRAJECTORY.name).send(trajectory):
            self.control.put_trajectory(arrived)

    @contextmanager
    def _model(self, stamp: float) -> Iterator[float]:
        """Let the model's time pass after what is computed inside; gives that time [s].

        Args:
            stamp: Of the observation [s].
        """
        injection = self._injection
        took = injection.took(stamp) + injection.jitter * self._jitter.random()
        yield took
        end = self.time + took
        while self._due <= end + 1e-9:
            self._tick()
        self.time = max(self.time, end)


class _Timed:
    """A policy whose inferences take simulated time."""

    def __init__(self, policy: Policy, model: Callable[[float], Any]) -> None:
        self._policy, self._model = policy, model
        self.spec = policy.spec

    @property
    def offers(self) -> frozenset[str]:
        return self._policy.offers - {'interrupt', 'announcement'}

    def reset(self, instruction: str, *, seed: int) -> None:
        self._policy.reset(instruction, seed=seed)

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        with self._model(obs.stamp) as took:
            return _stamped(self._policy.infer(obs, prefix), took)

    def samples(self, obs: Observation, count: int) -> list[ActionChunk]:
        policy = cast(SamplingPolicy, self._policy)
        with self._model(obs.stamp) as took:
            return [_stamped(chunk, took) for chunk in policy.samples(obs, count)]


def _stamped(chunk: ActionChunk, took: float) -> ActionChunk:
    return replace(chunk, timings={'inference': took})
