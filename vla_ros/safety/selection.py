"""The velocity of one tick: what is wanted, held to limits and bodies, with a verified stop.

Two stops are looked at. A, along the plan: its clock slows down evenly, so the arm stays on its
way. B, straight: every joint slows by the same share. A velocity is commanded only if one of them
is clear from there on; that one runs where the next velocity is refused.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vla_ros.robot import RobotSpec
from vla_ros.safety.certify import (
    ALONG_PLAN,
    LIMIT_ROW,
    PERSON_ROW,
    RECOVERY_ROW,
    STRAIGHT,
    TOOL_ROW,
    UNBOUNDED,
)
from vla_ros.safety.chain import Ints
from vla_ros.safety.check_plan import rest_time
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.core import certify_in, follow_in, want_in
from vla_ros.safety.pace import plan_at
from vla_ros.safety.qp import Problem, QpSolver
from vla_ros.safety.scene import Scene
from vla_ros.safety.stop import Brake, brake
from vla_ros.safety.tick import knobs_of
from vla_ros.types import Array, PlanPieces

PASSED = 1e-9  # [rad/s] a velocity that differs by less passed unchanged
BLENDS = (1.0, 0.5, 0.25)  # shares of what is wanted, the rest is the brake
CHECKS_ROW = -2  # the budget of checks was used up
REASONS = {
    LIMIT_ROW: 'stop/limit',
    CHECKS_ROW: 'stop/checks',
    TOOL_ROW: 'tool/speed',
    RECOVERY_ROW: 'recovery/speed',
    PERSON_ROW: 'person/separation',
}


class Motion(NamedTuple):
    """The reference at the beginning of a tick, and its length."""

    position: Array  # (dof,) [rad]
    velocity: Array  # (dof,) [rad/s]
    acceleration: Array  # (dof,) [rad/s^2] of the tick before
    now: float  # [s] ROS time
    dt: float  # [s]


class Walk(NamedTuple):
    """The plan at the beginning of a tick."""

    plan: PlanPieces
    phi: float  # [s]
    rate: float  # sigma to go on with
    low: float  # slowest sigma that the arm can follow
    tied: bool  # on the plan, and to stay there


class Seen(NamedTuple):
    """What the survey of scene and plan found; the rest is in its buffers."""

    rows: int  # of the program
    smooth: bool  # whether the box keeps every jerk limit
    kept: bool  # whether every margin is kept
    least: int  # row of the smallest barrier, -1 for none
    touching: int  # row in which the arm touches itself or the floor, -1 for none
    free: float  # sigma that joints, tool and persons allow
    slowed: float  # sigma that the rows allow too
    low: float  # slowest sigma that the arm can follow
    grip: float  # [m] place of the gripper
    error: float  # [rad] of the joint that is furthest from the plan


class Choice(NamedTuple):
    """The velocity of one tick, what shaped it and the stop behind it."""

    velocity: Array  # (dof,) [rad/s]
    share: float  # 1: as wanted; less: blended towards the brake; 0: the brake itself
    rate: float  # sigma that goes with it
    brake: Brake
    active: tuple[str, ...] = ()  # what held it back, by name
    slack: float = 0.0  # [m/s] largest violated row
    checks: int = 0  # poses that the stop checks looked at


class Verdict(NamedTuple):
    """What the checks say about one velocity."""

    brake: Brake | None  # the stop that is clear, None for none
    row: int  # the row that failed, or a key of REASONS
    checks: int


class Selector:
    """Finds the velocity nearest to a wanted one that may be commanded."""

    def __init__(self, robot: RobotSpec, config: SafetyConfig, scene: Scene) -> None:
        """Hold the limits of a robot and its scene."""
        self.config, self._scene = config, scene
        self.knobs = knobs_of(config, 1.0)
        self._limit_names = tuple(f'{joint}/limit' for joint in robot.arm_joints)
        self.limits = scene.limits
        self._solver = QpSolver(robot.dof)
        self._place, self._unused = np.zeros(robot.dof), np.zeros(robot.dof)
        self._kept = True  # every margin, at the pose that is looked at

    def choose(self, motion: Motion, walk: Walk, seen: Seen) -> Choice | None:
        """Return the velocity to command, None if the program's answer failed its check.

        Where the reference is on the plan and tied to it, only sigma gives way. Else what the
        program answers is blended towards the brake until a stop behind it is verified. None of
        them verified: share 0, and the stop of the tick before has to run.

        Args:
            motion: The reference.
            walk: The plan; `desired` of the scene's buffers holds what it wants.
            seen: What the survey found.
        """
        work, mode, count = self._scene.work, self.config.mode, seen.rows
        self._kept = seen.kept
        if walk.tied:
            choice = self._slow_down(motion, walk)
            if choice is not None:
                return choice
            want_in(self._scene.core, walk.plan, walk.phi, walk.rate, motion.dt, False, self.knobs)
        desired = work.desired.copy()  # the buffer is filled anew next tick
        slack = 0.0
        active: tuple[str, ...] = ()
        if mode in ('cbf', 'path+cbf'):
            solution = self._solver.solve(
                Problem(
                    desired, work.lo, work.hi, work.g[:count], work.bound[:count],
                    self.config.slack_weight,
                )
            )  # fmt: skip
            if solution is None:
                return None
            best, slack = solution.velocity, solution.slack
            if best is not desired:
                active = self._active(solution.active, desired, best)
        else:
            best = np.minimum(np.maximum(desired, work.lo), work.hi)
            active = self._active(np.zeros(0, np.int64), desired, best)
        if mode == 'off':
            return Choice(best, 1.0, walk.rate, Brake(), active, slack)
        velocity, checks = best, 0
        for share in BLENDS if mode != 'stop' else BLENDS[:1]:
            if share < 1.0:
                slow = brake(motion.velocity, self.limits.accel, motion.dt)
                velocity = slow + share * (best - slow)
            verdict = self.verify(motion, walk, velocity, share * walk.rate)
            checks += verdict.checks
            if verdict.brake is not None:
                rate = share * walk.rate
                return Choice(velocity, share, rate, verdict.brake, active, slack, checks)
            active += (self._reason(verdict.row),)
        active = tuple(dict.fromkeys(active))
        return Choice(motion.velocity, 0.0, 0.0, Brake(), active, slack, checks)

    def _slow_down(self, motion: Motion, walk: Walk) -> Choice | None:
        """Try slower and slower sigma on the plan's way. None: that way breaks a limit itself."""
        work, checks, possible = self._scene.work, 0, False
        active: tuple[str, ...] = ()
        tried = -1.0
        for wish in (walk.rate, 0.5 * (walk.rate + walk.low), walk.low):
            rate = follow_in(self._scene.core, walk.plan, walk.phi, wish, motion.dt)
            if rate < 0.0 or rate == tried:
                continue
            tried, possible = rate, True
            verdict = self.verify(motion, walk, work.chord, rate)
            checks += verdict.checks
            if verdict.brake is not None:
                share = rate / walk.rate if walk.rate > 0.0 else 1.0
                velocity = work.chord.copy()
                return Choice(velocity, max(share, 1e-6), rate, verdict.brake, active, 0.0, checks)
            active += (self._reason(verdict.row),)
        if not possible:
            return None
        active = tuple(dict.fromkeys(active))
        return Choice(motion.velocity, 0.0, 0.0, Brake(), active, 0.0, checks)

    def verify(self, motion: Motion, walk: Walk, velocity: Array, rate: float) -> Verdict:
        """Look for a clear stop after one step at a velocity: straight, then along the plan.

        Args:
            motion: The reference.
            walk: The plan.
            velocity: (dof,) [rad/s] of the step.
            rate: sigma that goes with it.
        """
        scene, config, dt = self._scene, self.config, motion.dt
        stop, row, checks, slowing = certify_in(
            scene.core, walk.plan, walk.phi, rate, motion.position, motion.velocity, velocity, dt,
            scene.age(motion.now), walk.tied and config.mode == 'path', self.knobs,
            UNBOUNDED if self._kept else config.recover_velocity,
        )  # fmt: skip
        if stop == STRAIGHT:
            return Verdict(Brake(rate=rate), row, checks)
        if stop == ALONG_PLAN:
            rest = scene.work.rest.copy()
            after = Brake(walk.plan, walk.phi + rate * dt, rate, slowing, rest)
            return Verdict(after, row, checks)
        return Verdict(None, row, checks)

    def run(self, motion: Motion, stop: Brake) -> Choice:
        """Go on with a verified stop."""
        dt, accel = motion.dt, self.limits.accel
        if stop.plan is None or stop.rest is None:
            slow = brake(motion.velocity, accel, dt)
            size = float(np.abs(motion.velocity).max())
            rate = stop.rate * (float(np.abs(slow).max()) / size if size > 0.0 else 0.0)
            return Choice(slow, 0.0, rate, Brake(rate=rate))
        rate = max(0.0, stop.rate - stop.slowing * dt)
        late = rest_time(stop.rest, accel)
        rest = stop.rest * max(0.0, 1.0 - dt / late) if late > 0.0 else stop.rest
        velocity, unused = np.empty_like(rest), self._unused
        plan_at(stop.plan, stop.phi, self._place, unused)
        plan_at(stop.plan, stop.phi + rate * dt, velocity, unused)
        velocity = (velocity - self._place) / dt + rest
        phi = stop.phi + rate * dt
        return Choice(velocity, 0.0, rate, stop._replace(phi=phi, rate=rate, rest=rest))

    def _active(self, rows: Ints, desired: Array, best: Array) -> tuple[str, ...]:
        scene, work = self._scene, self._scene.work
        names = [scene.name(int(work.which[r])) for r in rows]
        ranges = zip(
            self._limit_names, best.tolist(), desired.tolist(), work.lo.tolist(), work.hi.tolist()
        )
        names += [
            name
            for name, value, wish, lo, hi in ranges
            if abs(value - wish) > PASSED and not lo < value < hi
        ]
        return tuple(names)

    def _reason(self, row: int) -> str:
        return REASONS.get(row) or self._scene.name(row)
