"""The watchdog: is what the filter is told fresh, finite and of the right shape?"""

from __future__ import annotations

import math

from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.result import Plan
from vla_ros.types import JointState

END = 1e-6  # [s] so near to its end a plan is over


class Watchdog:
    """Names the faults of the inputs of one tick; keeps no state."""

    def __init__(self, config: SafetyConfig, joints: int) -> None:
        """Watch for joint states of `joints` joints, the gripper's included."""
        self.config = config
        self._joints = joints

    def joints(self, state: JointState | None, now: float) -> str:
        """Return the fault of a joint state, empty for none."""
        if state is None:
            return 'no_joint_state'
        if state.position.shape != (self._joints,):
            return 'joint_state_shape'
        # A sum of squares is finite only if all of it is, and costs a tenth of looking at each.
        q, v = state.position, state.velocity
        if not math.isfinite(q.dot(q) + v.dot(v) + state.stamp):
            return 'joint_state_nonfinite'
        if abs(now - state.stamp) > self.config.joint_state_timeout:
            return 'joint_state_stale'
        return ''

    def plan(self, plan: Plan, phi: float, now: float) -> str:
        """Return the fault of a plan at plan time `phi` [s], empty for none."""
        if plan.stamp is None or plan.accepted_at is None:
            return 'no_plan' if plan.refusal is None else str(plan.refusal.fault)
        if not plan.lasting and now - plan.accepted_at > self.config.plan_timeout:
            return 'plan_silent' if plan.refusal is None else str(plan.refusal.fault)
        if not plan.lasting and now - plan.stamp > self.config.plan_age_limit:
            return 'plan_stale'
        if phi >= plan.end - END:
            return 'plan_end'
        return ''
