"""One episode in one process: simulator, policy, decoding and the real safety filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import math
from typing import NamedTuple

import numpy as np

from vla_ros.actions import Phase
from vla_ros.actions.decode import Codec
from vla_ros.actions.executor import Executor, Sent
from vla_ros.errors import PolicyError, SimulationError
from vla_ros.evaluation.lockstep import Lockstep
from vla_ros.evaluation.metrics import Outcome
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.seams import Seams
from vla_ros.evaluation.stages import Stages
from vla_ros.evaluation.tally import FAILURES, Tally
from vla_ros.kinematics import InverseKinematics
from vla_ros.policies.base import ask, Policy
from vla_ros.robot import RobotSpec
from vla_ros.safety.filter import SafetyFilter
from vla_ros.sim.dressing import Dressing
from vla_ros.sim.hazards import Hazard
from vla_ros.sim.perturbation import MOST, Perturbation
from vla_ros.sim.swept import Sweep, sweep
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, SceneState
from vla_ros.types import ActionChunk, Array, Frame, JointState, Observation

Point = tuple[float, float, float]  # [m]

LATENCY = 0.06  # [s] from a picture to the arrival of its chunk, on a free machine (an assumption)
HOLD = 0.3  # [s] that the predicate must hold without a break
TRACE_TICKS = 8  # control ticks between two points of a traced path
JUDGE_TICKS = 4  # control ticks between two looks at contacts, distances and the predicate
FILM_TICKS = 20  # control ticks between two pictures of a film


@dataclass(frozen=True)
class Condition:
    """What the policy is shown and told, where it differs from the truth."""

    seen: Episode | None = None  # pictures show its layout, under the true arm
    told: Episode | None = None  # the sentence is its instruction
    start: Point | None = None  # (3,) [m] tool, turned as at home; None: home
    hazard: Hazard | None = None  # in the way; the filter knows it, the policy may see it
    perturbation: Perturbation | None = None
    latency: float | None = None  # [s] from an observation to its chunk; None: the rollout's own


class _Pending(NamedTuple):
    """An inference in flight."""

    arrival: float  # [s]
    answers: list[ActionChunk]  # empty: it failed
    joints: JointState  # that the policy saw
    begun: float  # [s] Phi then


class Rollout:
    """Plays episodes one after another with one policy and one safety filter."""

    def __init__(
        self, robot: RobotSpec, policy: Policy, guard: SafetyFilter, latency: float = LATENCY
    ) -> None:
        """Compile the world.

        Args:
            robot: The arm.
            policy: Loaded.
            guard: The safety filter that every command passes.
            latency: Simulated time from an observation to the arrival of its chunk [s].
        """
        self.robot, self.policy, self.guard, self.latency = robot, policy, guard, latency
        self.stages = Stages()
        self.frames = 0  # pictures that the policy was shown
        self._urdf = robot.urdf_path
        self._plain = self._table = Tabletop(robot, self._urdf)
        self._dressing = Dressing(self._plain.world)
        self._littered: Tabletop | None = None  # with room for the eggs of a perturbed layout
        self._hindered: Tabletop | None = None  # with a hazard on it
        self._hazard: Hazard | None = None  # that one
        self._decoy: Tabletop | None = None  # world of the pictures of another episode
        self._codec = Codec(robot, self._urdf, policy.spec)
        self._executor = Executor(self._codec, policy.offers)

    def run(
        self,
        episode: Episode,
        condition: Condition = Condition(),
        trace: list[tuple[Array, Array]] | None = None,
        seams: Seams | None = None,
        film: Callable[[Tabletop], None] | None = None,
    ) -> Outcome:
        """Play one episode to success or to its time limit; judged for its own target.

        Each request of a sequence has a time limit of its own.

        Args:
            episode: What is asked.
            condition: What differs from it.
            trace: Gets arm joints (dof,) [rad] and the target's centre (3,) [m] along the way.
            seams: Watches the plan before the filter.
            film: Called every FILM_TICKS with the table.
        """
        perturbation = condition.perturbation
        if perturbation is not None:
            episode = perturbation.episode(episode)
        self._table = self._chosen(condition)
        self._dressing.wear(perturbation)
        table, world, spec = self._table, self._table.world, self._codec.policy
        table.reset(episode, self._pose(self._start(condition)))
        request, told = episode, condition.told or episode
        self._ask(told, condition)
        arm = Lockstep(self.robot, self.guard, world, self.stages)
        plan, dof = arm.plan, self.robot.dof
        executor = self._executor
        executor.reset()
        tally = Tally(episode, told.instruction, table)
        limit = request.time_limit  # [s] when the present request has failed
        pending: _Pending | None = None  # an inference in flight
        asked_at = 0.0  # [s]
        held_since = math.inf  # [s]
        while world.time < limit:
            now, state, phi = arm.now, arm.state(), plan.clock.phi
            due = executor.due(phi) or now >= asked_at + spec.patience
            if pending is None and due and tally.failures < FAILURES:
                asked_at = now
                pending = self._infer(state, told, condition, phi, tally)
            if pending is not None and now >= pending.arrival:
                self.stages.enter('decoding')
                sent = self._decode(pending, phi, tally)
                begun = arm.reference if tally.chunks else None
                if sent is not None and plan.accept(sent.trajectory, now, begun).ok:
                    tally.chunks += 1
                    if seams is not None:
                        seams.joined(phi, sent.mismatch)
                self.stages.enter('rest')
                pending = None
            result = arm.advance(state)
            if tally.chunks:  # before the first one the filter holds, as it should
                tally.guarded(result, arm.period, plan.clock.phi >= plan.end)
            if seams is not None:
                sample = plan.sample(plan.clock.phi)
                seams.tick(plan.clock.phi, sample.position[:dof], sample.phase is Phase.ON)
            executor.executed(plan.clock.phi + result.rate * arm.period, arm.reference)
            self.stages.enter('judge')
            tally.watch()
            self.stages.enter('rest')
            if trace is not None and arm.ticks % TRACE_TICKS == 0:
                joints = world.joint_state().position[:dof]
                trace.append((joints, world.object_position(episode.target_shape)))
            if arm.ticks % JUDGE_TICKS == 0:
                self.stages.enter('judge')
                tally.judge()
                held_since = min(held_since, world.time) if table.success() else math.inf
                self.stages.enter('rest')
                if world.time - held_since >= HOLD:
                    tally.finished += 1
                    if request.then is None:
                        return tally.outcome(True, world.time, spec.step)
                    table.episode = request = told = request.then
                    limit, held_since = world.time + request.time_limit, math.inf
                    pending = None  # an answer to the sentence before
                    executor.reset()
                    self._ask(request, condition)
            if film is not None and arm.ticks % FILM_TICKS == 0:
                film(table)
        return tally.outcome(False, world.time, spec.step)

    def follow(self, executor: Executor, latency: float) -> None:
        """Execute the policy's chunks another way from now on.

        Args:
            executor: Of the policy.
            latency: Simulated time from an observation to the arrival of its chunk [s].
        """
        self._codec, self._executor, self.latency = executor.codec, executor, latency

    def swept(self, episode: Episode, start: Point) -> tuple[Outcome, Sweep]:
        """Play an episode without a hazard and return what the arm and its target swept."""
        trace: list[tuple[Array, Array]] = []
        outcome = self.run(episode, Condition(start=start), trace)
        joints, target = (np.array(part) for part in zip(*trace))
        kinematics, tick = self._codec.hand.kinematics, TRACE_TICKS * self.guard.config.period
        times = tick * np.arange(1.0, len(joints) + 1.0)
        shape = episode.target_shape
        return outcome, sweep(self.robot, kinematics, times, joints, shape, target)

    def close(self) -> None:
        """Free the renderers."""
        for table in (self._plain, self._littered, self._hindered, self._decoy):
            if table is not None:
                table.world.close()

    def _pose(self, tool: Point | None) -> Array | None:
        if tool is None:
            return None
        home, kinematics = np.array(self.robot.home), self._codec.hand.kinematics
        solver = InverseKinematics(
            kinematics, lower=self.robot.limits('lower'), upper=self.robot.limits('upper'),
            posture=home,
        )  # fmt: skip
        found = solver.solve(home, kinematics.fk(home)[0], np.array(tool))
        if not found.converged:
            raise SimulationError(f'the arm does not reach the start {tool} m.')
        return found.q

    def _start(self, condition: Condition) -> Point | None:
        if condition.perturbation is None or condition.start is not None:
            return condition.start
        tool = self._codec.hand.kinematics.fk(np.array(self.robot.home))[1]
        moved = condition.perturbation.start(tool)
        if moved is tool:
            return None  # home as it stands in the robot file, not as it comes out of a solver
        return float(moved[0]), float(moved[1]), float(moved[2])

    def _chosen(self, condition: Condition) -> Tabletop:
        """Return the table with this hazard on it, the one for eggs, or the plain one."""
        if condition.hazard is not self._hazard:
            if self._hindered is not None:
                self._hindered.world.close()
            self._hazard, self._hindered = condition.hazard, None
            if condition.hazard is not None:
                self._hindered = Tabletop(self.robot, self._urdf, condition.hazard)
        if self._hindered is not None:
            return self._hindered
        if condition.perturbation is None or condition.perturbation.axis != 'layout':
            return self._plain
        if self._littered is None:
            self._littered = Tabletop(self.robot, self._urdf, eggs=MOST)
        return self._littered

    def _ask(self, told: Episode, condition: Condition) -> None:
        """Tell the policy its sentence, and the expert where to look."""
        if isinstance(self.policy, ScriptedPolicy):
            self.policy.watch(condition.seen or told, self._view(condition.seen))
        self.policy.reset(told.instruction, seed=told.seed)
        # As the policy node does; else an episode would depend on those played before it.
        self._executor.delay.reset()
        self._executor.expect(self._latency(condition))

    def _latency(self, condition: Condition) -> float:
        return self.latency if condition.latency is None else condition.latency

    def _infer(
        self, state: JointState, told: Episode, condition: Condition, phi: float, tally: Tally
    ) -> _Pending:
        self.stages.enter('pictures')
        frames = {}
        for index, image in enumerate(self.policy.spec.images):
            picture = self._picture(image.camera, image.size, condition.seen)
            if condition.perturbation is not None:
                count = round(state.stamp / self.guard.config.period) * MOST + index
                picture = condition.perturbation.picture(picture, count)
            frames[image.camera] = Frame(state.stamp, picture)
        self.frames += len(frames)
        self.stages.enter('network')
        seen_now = Observation(state.stamp, frames, state, told.instruction)
        answers: list[ActionChunk] = []
        try:
            prefix = self._executor.prefix(phi, phi)
            answers = ask(self.policy, seen_now, self._executor.samples, prefix)
        except PolicyError as error:
            tally.failed(error)
        self.stages.enter('rest')
        return _Pending(state.stamp + self._latency(condition), answers, state, phi)

    def _decode(self, pending: _Pending, phi: float, tally: Tally) -> Sent | None:
        if not pending.answers:
            return None
        try:
            sent = self._executor.send(pending.answers, pending.joints, pending.begun, phi)
        except PolicyError as error:
            tally.failed(error)
            return None
        tally.failures = 0
        return sent

    def _picture(self, camera: str, size: int, seen: Episode | None) -> np.ndarray:
        if seen is None:
            return self._table.square(camera, size)
        if self._decoy is None:
            self._decoy = Tabletop(self.robot, self._urdf)
        joints = self._table.world.joint_state().position
        dof = self.robot.dof
        self._decoy.reset(seen, joints[:dof], joints[dof:])
        return self._decoy.square(camera, size)

    def _view(self, seen: Episode | None) -> Callable[[], SceneState]:
        if seen is None:
            return self._table.state
        decoy = Tabletop(self.robot, self._urdf)
        decoy.reset(seen)
        still = decoy.state()
        decoy.world.close()
        return lambda: replace(self._table.state(), objects=still.objects, plate=still.plate)
