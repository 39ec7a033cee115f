"""Whose trajectories move the arm: the policy's or an override's, and where they may begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from vla_ros.actions.plan import Plan
from vla_ros.actions.timeline import Acceptance, Verdict
from vla_ros.types import Array, Trajectory

END = 1e-6  # [s] so near to its end a plan is over


class Arbiter:
    """Two plans on one plan clock that take turns.

    An override, once accepted, is walked to its end or until an empty one comes; meanwhile the
    policy is refused. Then, as after a reset, the arm holds until the policy answers an
    observation of later. The first trajectory of each turn must begin near the arm.
    Not thread-safe: everything here belongs to the filter's thread.
    """

    def __init__(
        self,
        joints: Sequence[str],
        tolerance: float,
        accel: Array | None = None,
        held: int = 1,
    ) -> None:
        """Begin with nothing to do.

        Args:
            joints: Names of the columns of every trajectory, the grippers' last.
            tolerance: How far from the arm the first trajectory of a turn may begin [rad].
            accel: Limits of the arm's joints that joins respect [rad/s^2]; None: none.
            held: How many of the last columns are held and never interpolated: the grippers'.
        """
        self.tolerance = tolerance
        self._joints = tuple(joints)
        self._policy = Plan(len(joints), held, accel=accel)
        clock = self._policy.clock
        self._override = Plan(len(joints), held, clock, lasting=True, accel=accel)
        self.overriding = False  # the override has its turn
        self._entered = False  # the policy has begun its turn

    @property
    def plan(self) -> Plan:
        """The plan that the filter has to walk."""
        return self._override if self.overriding else self._policy

    @property
    def source(self) -> str:
        """Whose trajectory is followed: 'policy', 'override' or empty."""
        if self.overriding:
            return 'override'
        return 'policy' if self._policy.stamp is not None else ''

    def reset(self, now: float) -> None:
        """Drop both plans and refuse what was observed up to `now` [s]."""
        self._policy.reset(now)
        self._override.reset(now)
        self.overriding = self._entered = False

    def update(self, now: float, at_rest: bool) -> None:
        """End an override that was executed and has come to rest, at `now` [s]."""
        if self.overriding and at_rest and self._override.clock.phi >= self._override.end - END:
            self.reset(now)

    def follow(self, trajectory: Trajectory, now: float, reference: Array) -> Acceptance:
        """Judge a trajectory of the policy.

        Args:
            trajectory: Without points it stops the arm.
            now: ROS time [s].
            reference: (n,) where the arm is commanded to be [rad], [m].
        """
        if self.overriding:
            return Acceptance(Verdict.OVERRIDDEN, 'an override has the arm until its end')
        answer = self._enter(self._policy, trajectory, now, reference, not self._entered)
        self._entered |= answer.verdict is Verdict.ACCEPTED
        return answer

    def override(self, trajectory: Trajectory, now: float, reference: Array) -> Acceptance:
        """Judge a trajectory of higher priority.

        Args:
            trajectory: Without points it ends the override and the policy's plan; with stamp 0
                it begins now.
            now: ROS time [s].
            reference: (n,) where the arm is commanded to be [rad], [m].
        """
        if trajectory.stamp == 0.0:
            trajectory = replace(trajectory, stamp=now)
        answer = self._enter(self._override, trajectory, now, reference, not self.overriding)
        if answer.verdict is Verdict.STOP:
            self.reset(now)
        self.overriding |= answer.verdict is Verdict.ACCEPTED
        return answer

    def refuse(self, refusal: Acceptance) -> None:
        """Note that a message of the policy held no trajectory."""
        self._policy.refusal = refusal

    def _enter(
        self, plan: Plan, trajectory: Trajectory, now: float, reference: Array, first: bool
    ) -> Acceptance:
        # The first one is laid as it is, to be compared with the arm.
        answer = plan.accept(trajectory, now, None if first else reference)
        if not first or answer.verdict is not Verdict.ACCEPTED:
            return answer
        entry = plan.sample(plan.clock.phi).position
        gaps = np.abs(entry - reference)[: plan.timeline.arm]
        worst = int(np.argmax(gaps))
        if gaps[worst] <= self.tolerance:
            return answer
        refusal = Acceptance(
            Verdict.START_POSE,
            f'{self._joints[worst]} begins {gaps[worst]:.3f} rad from the arm, '
            f'allowed {self.tolerance:.3f}',
        )
        plan.refuse(refusal)
        return refusal
