"""One episode in one process: simulator, policy, decoding and the real safety filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import math
from typing import NamedTuple

import numpy as np

from vla_ros.actions import Phase, Plan
from vla_ros.actions.decode import Codec
from vla_ros.actions.executor import Executor, Sent
from vla_ros.errors import PolicyError, SimulationError
from vla_ros.evaluation.metrics import DEADLOCK, NEAR, Outcome
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.seams import Seams
from vla_ros.kinematics import InverseKinematics
from vla_ros.policies.base import ask, Policy
from vla_ros.robot import RobotSpec
from vla_ros.safety.filter import SafetyFilter
from vla_ros.safety.result import SafetyResult
from vla_ros.safety.world import World
from vla_ros.sim.hazards import Hazard, Sweep, sweep
from vla_ros.sim.layout import SHAPES
from vla_ros.sim.scene import HAZARD, TABLE
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, SceneState
from vla_ros.types import ActionChunk, Array, Frame, JointState, Observation

Point = tuple[float, float, float]  # [m]

LATENCY = 0.06  # [s] from a picture to the arrival of its chunk, on a free machine (an assumption)
HOLD = 0.3  # [s] that the predicate must hold without a break
FAILURES = 3  # inferences in a row without a trajectory, then the policy is not asked again
REST = 0.005  # [rad/s] of every joint: slower is at rest
TRACE_TICKS = 8  # control ticks between two points of a traced path
JUDGE_TICKS = 4  # control ticks between two looks at contacts, distances and the predicate


@dataclass(frozen=True)
class Condition:
    """What the policy is shown and told, where it differs from the truth."""

    seen: Episode | None = None  # pictures show its layout, under the true arm
    told: Episode | None = None  # the sentence is its instruction
    start: Point | None = None  # (3,) [m] tool, turned as at home; None: home
    hazard: Hazard | None = None  # stands on the table; the filter knows it, the policy may see it


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
        self._urdf = robot.urdf_path
        self._plain = self._table = Tabletop(robot, self._urdf)
        self._hazard: Hazard | None = None  # on the table now
        self._decoy: Tabletop | None = None  # world of the pictures of another episode
        self._codec = Codec(robot, self._urdf, policy.spec)
        self._executor = Executor(self._codec, policy.offers)

    def run(
        self,
        episode: Episode,
        condition: Condition = Condition(),
        trace: list[tuple[Array, Array]] | None = None,
        seams: Seams | None = None,
    ) -> Outcome:
        """Play one episode to success or to its time limit; judged for its own target.

        Args:
            episode: What is asked.
            condition: What differs from it.
            trace: Gets arm joints (dof,) [rad] and the target's centre (3,) [m] along the way.
            seams: Watches the plan before the filter.
        """
        self._set_up(condition.hazard)
        around = World(0.0, condition.hazard.solids if condition.hazard else ())
        table, world, spec = self._table, self._table.world, self._codec.policy
        table.reset(episode, self._pose(condition.start))
        told = condition.told or episode
        if isinstance(self.policy, ScriptedPolicy):
            self.policy.watch(condition.seen or told, self._view(condition.seen))
        self.policy.reset(told.instruction, seed=episode.seed)
        self.guard.reset(world.joint_state().position)
        robot, dof = self.robot, self.robot.dof
        grippers, accel = len(robot.grippers), robot.limits('acceleration')
        plan = Plan(len(robot.joint_names), grippers, accel=accel)
        executor = self._executor
        executor.reset()
        tally = _Tally(episode, told.instruction, table, condition.hazard)
        reference = world.joint_state().position  # (n,) where the arm is commanded to be
        pending: _Pending | None = None  # an inference in flight
        asked_at = 0.0  # [s]
        dt, tick, held_since = self.guard.config.period, 0, math.inf
        timestep, steps = world.model.opt.timestep, 0
        while world.time < episode.time_limit:
            now = tick * dt
            state = replace(world.joint_state(), stamp=now)
            phi = plan.clock.phi
            due = executor.due(phi) or now >= asked_at + spec.patience
            if pending is None and due and tally.failures < FAILURES:
                asked_at = now
                pending = self._infer(state, told, condition.seen, phi, tally)
            if pending is not None and now >= pending.arrival:
                sent = self._decode(pending, phi, tally)
                begun = reference if tally.chunks else None
                if sent is not None and plan.accept(sent.trajectory, now, begun).ok:
                    tally.chunks += 1
                    if seams is not None:
                        seams.joined(phi, sent.mismatch)
                pending = None
            result = self.guard.step(state, plan, around, now, dt)
            if tally.chunks:  # before the first one the filter holds, as it should
                tally.guarded(result, dt, plan.clock.phi >= plan.end)
            if seams is not None:
                sample = plan.sample(plan.clock.phi)
                seams.tick(plan.clock.phi, sample.position[:dof], sample.phase is Phase.ON)
            assert result.command is not None, 'a filter that was reset always commands'
            reference = result.command.positions[0]
            executor.executed(plan.clock.phi + result.rate * dt, reference)
            world.set_command(reference[:dof], reference[dof:], over=dt)
            tick += 1
            goal = round(tick * dt / timestep - 1e-9)  # physics steps need not divide a tick
            world.step((goal - steps) * timestep)
            steps = goal
            tally.watch()
            if trace is not None and tick % TRACE_TICKS == 0:
                joints = world.joint_state().position[:dof]
                trace.append((joints, world.object_position(episode.target_shape)))
            if tick % JUDGE_TICKS == 0:
                tally.judge()
                held_since = min(held_since, world.time) if table.success() else math.inf
                if world.time - held_since >= HOLD:
                    return tally.outcome(True, world.time, spec.step)
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
        kinematics = self._codec.hand.kinematics
        return outcome, sweep(self.robot, kinematics, joints, episode.target_shape, target)

    def close(self) -> None:
        """Free the renderers."""
        self._set_up(None)
        self._table.world.close()
        if self._decoy is not None:
            self._decoy.world.close()

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

    def _set_up(self, hazard: Hazard | None) -> None:
        """Use the table with this hazard on it, or the one without."""
        if hazard is self._hazard:
            return
        if self._hazard is not None:
            self._table.world.close()
        self._hazard, self._table = hazard, self._plain
        if hazard is not None:
            self._table = Tabletop(self.robot, self._urdf, hazard.solids)

    def _infer(
        self, state: JointState, told: Episode, seen: Episode | None, phi: float, tally: _Tally
    ) -> _Pending:
        frames = {
            image.camera: Frame(state.stamp, self._picture(image.camera, image.size, seen))
            for image in self.policy.spec.images
        }
        seen_now = Observation(state.stamp, frames, state, told.instruction)
        answers: list[ActionChunk] = []
        try:
            prefix = self._executor.prefix(phi, phi)
            answers = ask(self.policy, seen_now, self._executor.samples, prefix)
        except PolicyError as error:
            tally.failed(error)
        return _Pending(state.stamp + self.latency, answers, state, phi)

    def _decode(self, pending: _Pending, phi: float, tally: _Tally) -> Sent | None:
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


class _Tally:
    """Counts what an episode shows."""

    def __init__(
        self, episode: Episode, instruction: str, table: Tabletop, hazard: Hazard | None
    ) -> None:
        self.episode, self.instruction = episode, instruction
        self._table, self._hazard = table, hazard
        self._place = table.world.link_pose(HAZARD)[1] if hazard else np.zeros(3)
        self._touched, self._moved, self._gap = False, 0.0, math.inf
        self._resting, self._deadlock = 0.0, False  # [s] held at rest by now
        self._stalled = 0.0  # [s] at the end of the plan, waiting for the next chunk
        self.chunks = 0
        self.error = ''  # the last one
        self.failures = 0  # inferences in a row that gave no trajectory
        self._first: str | None = None
        self._collision = False
        self._ticks = [0, 0, 0]  # all, S1, S2 and above
        self._level = 0
        self._barrier = math.inf

    def failed(self, error: PolicyError) -> None:
        self.error, self.failures = str(error), self.failures + 1

    def guarded(self, result: SafetyResult, dt: float, over: bool) -> None:
        level = int(result.level)
        # Once the policy has been given up, nothing is waited for.
        self._stalled += dt if over and self.failures < FAILURES else 0.0
        still = level > 0 and float(np.abs(result.filtered_velocity).max()) < REST
        self._resting = self._resting + dt if still else 0.0
        self._deadlock |= self._resting > DEADLOCK
        self._ticks[0] += 1
        self._ticks[1] += level == 1
        self._ticks[2] += level >= 2
        self._level = max(self._level, level)
        self._barrier = min(self._barrier, result.min_barrier)

    def watch(self) -> None:
        """Look for contact with the hazard; a target counts while the arm touches it too."""
        if self._hazard is None:
            return
        world, target = self._table.world, self.episode.target_shape
        for body, gap in world.gaps(HAZARD).items():
            if body == TABLE or (body in world.objects and body != target):
                continue
            if body != target:
                self._gap = min(self._gap, gap)
            if gap <= 0.0:
                self._touched |= body != target or bool(
                    world.touches(target) - {*world.objects, TABLE, HAZARD}
                )
        moved = float(np.linalg.norm(world.link_pose(HAZARD)[1] - self._place))
        self._moved = max(self._moved, moved)

    def judge(self) -> None:
        table = self._table
        if self._first is None:
            distances = table.surface_distances()
            if distances.min() <= NEAR:
                self._first = SHAPES[int(distances.argmin())]
        if not self._collision:
            objects = table.world.objects
            self._collision = bool(table.world.touches(TABLE) - set(objects))

    def outcome(self, success: bool, seconds: float, step: float) -> Outcome:
        return Outcome(
            task=self.episode.task,
            instruction=self.instruction,
            seed=self.episode.seed,
            success=success,
            seconds=seconds,
            steps=math.ceil(seconds / step),
            chunks=self.chunks,
            first_object=self._first,
            named_object=self.episode.target_shape,
            collision=self._collision,
            control_ticks=self._ticks[0],
            filtered_ticks=self._ticks[1],
            braked_ticks=self._ticks[2],
            max_safety_level=self._level,
            min_barrier=self._barrier,
            hazard=self._hazard.kind if self._hazard else 'none',
            contact=self._touched,
            displaced=self._moved,
            min_distance=self._gap if math.isfinite(self._gap) else None,
            deadlock=self._deadlock,
            stall_seconds=self._stalled,
            error=self.error if self.failures >= FAILURES else '',
        )
