"""A simulated arm behind its safety filter, one control tick at a time."""

from __future__ import annotations

from vla_ros.actions import Plan
from vla_ros.evaluation.stages import Stages
from vla_ros.robot import RobotSpec
from vla_ros.safety.filter import SafetyFilter
from vla_ros.safety.result import SafetyResult
from vla_ros.safety.world import World as Around
from vla_ros.sim.world import World
from vla_ros.types import JointState


class Lockstep:
    """Filter and physics take turns: what the filter commands, the arm follows for a tick."""

    def __init__(
        self, robot: RobotSpec, guard: SafetyFilter, world: World, stages: Stages | None = None
    ) -> None:
        """Begin where a world was reset to, without a plan.

        Args:
            robot: The arm.
            guard: That every command passes; begins anew.
            world: At time 0; the filter knows the hazard in it.
            stages: Where its time is booked; None: nowhere.
        """
        self._dof, self._stages = robot.dof, stages or Stages()
        self._guard, self._world, self._around = guard, world, Around()
        if world.hazard is not None:
            self._around = Around(0.0, world.hazard.at(0.0))
        accel = robot.limits('acceleration')
        self.plan = Plan(len(robot.joint_names), len(robot.grippers), accel=accel)
        self.reference = world.joint_state().position  # (n,) where the arm is commanded to be
        self.ticks = 0
        self.period = guard.config.period  # [s] of a tick
        self._steps = 0  # of the physics
        guard.reset(self.reference)

    @property
    def now(self) -> float:
        """Time of the tick that comes next [s]."""
        return self.ticks * self.period

    def state(self) -> JointState:
        """Return the measured joints, stamped with the tick that comes next."""
        return self._world.joint_state(self.now)

    def advance(self, state: JointState) -> SafetyResult:
        """Let the filter command and the arm follow, for one tick."""
        self._stages.enter('filter')
        hazard = self._world.hazard
        if hazard is not None and hazard.motion is not None:
            self._around = Around(self.now, hazard.at(self.now))
        result = self._guard.step(state, self.plan, self._around, self.now, self.period)
        assert result.command is not None, 'a filter that was reset always commands'
        self.reference = result.command.positions[0]
        self._stages.enter('physics')
        self._world.set_command(
            self.reference[: self._dof], self.reference[self._dof :], over=self.period
        )
        self.ticks += 1
        timestep = self._world.model.opt.timestep
        goal = round(self.now / timestep - 1e-9)  # physics steps need not divide a tick
        self._world.step((goal - self._steps) * timestep)
        self._steps = goal
        self._stages.enter('rest')
        return result
