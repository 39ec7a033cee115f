"""From a policy's actions to joint positions over plan time; numpy only."""

from vla_ros.actions.plan import Plan
from vla_ros.actions.plan_clock import PlanClock
from vla_ros.actions.timeline import Acceptance, Phase, Sample, Timeline, Verdict

__all__ = ['Acceptance', 'Phase', 'Plan', 'PlanClock', 'Sample', 'Timeline', 'Verdict']
