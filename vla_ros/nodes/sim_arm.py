"""One arm of the simulated cell: the doubles of its controllers. No ROS, no clock."""

from __future__ import annotations

import numpy as np

from vla_ros.drivers.doubles import arm_double
from vla_ros.drivers.follower import PositionFollower, TrajectoryFollower
from vla_ros.drivers.goal_judge import GripperJudge, judge, Tolerances
from vla_ros.drivers.velocity_follower import VelocityFollower
from vla_ros.robot import Arm, RobotSpec
from vla_ros.sim.world import World
from vla_ros.status import GoalCode
from vla_ros.types import Array, Trajectory

TOLERANCES = Tolerances(path=0.2, goal=0.02, time=0.5)  # of the controller's own configuration


class SimArm:
    """The controllers of an arm and of its gripper, around a simulated world."""

    def __init__(self, robot: RobotSpec, arm: Arm, world: World) -> None:
        """Rest at home.

        Args:
            robot: Whose world it is.
            arm: One of its arms.
            world: Tells where the joints are.
        """
        self.robot, self.arm = robot.part(arm), arm
        self._world, self._every = world, robot.every_column(arm)
        self._ready = robot.ready[self._every]
        self._start = self._ready[: len(arm.commanded_joints)]
        self._arm = arm_double(self.robot, self._start)
        self._grip = GripperJudge()
        self.reset()

    def reset(self) -> None:
        """Rest at home, gripper open."""
        self._arm.hold(self._start)
        self._gripper = self._ready[self.arm.dof :]  # (0 or 1,) [m] where it is told to be
        self._tolerances = TOLERANCES  # of the trajectory that is followed
        self._given_up: GoalCode | None = None  # why it is followed no more

    def target(self, now: float) -> tuple[Array, Array]:
        """Return where its controllers want arm (dof,) and gripper (0 or 1,) at a time [s]."""
        self._enforce(now)
        place, dof = self._arm.sample(now)[0], self.arm.dof
        return place[:dof], place[dof:] if len(place) > dof else self._gripper

    def check_arm(self, trajectory: Trajectory, now: float) -> None:
        """Refuse a trajectory that the arm's controller would refuse at time `now` [s].

        Raises:
            ShapeError: The controller cannot use it.
        """
        assert isinstance(self._arm, TrajectoryFollower), 'this driver takes no trajectories'
        self._arm.check(trajectory, now)

    def command_arm(
        self, trajectory: Trajectory, now: float, tolerances: Tolerances = TOLERANCES
    ) -> None:
        """Give the arm's controller a trajectory, at time `now` [s].

        Raises:
            ShapeError: The controller cannot use it.
        """
        assert isinstance(self._arm, TrajectoryFollower), 'this driver takes no trajectories'
        self._arm.accept(trajectory, now)
        self._tolerances, self._given_up = tolerances, None

    def stream_arm(self, values: Array, now: float, stamp: float | None = None) -> None:
        """Give the arm's controller its next positions or velocities (n,), as it takes them.

        Args:
            values: [rad] or [rad/s]; the gripper's last, where this controller has it.
            now: Time [s].
            stamp: When it was said [s]; None: the message has no stamp.

        Raises:
            ShapeError: The controller cannot use it.
        """
        if isinstance(self._arm, VelocityFollower):
            self._arm.accept(values, now, stamp)
        else:
            assert isinstance(self._arm, PositionFollower), 'this driver takes trajectories'
            self._arm.accept(values)

    def judge_arm(self, now: float) -> GoalCode | None:
        """Return how the goal of the arm has ended at time `now` [s], None while it runs."""
        assert isinstance(self._arm, TrajectoryFollower), 'this driver takes no trajectories'
        if self._given_up is not None:
            return self._given_up
        return judge(self._arm, self._tolerances, self._arm_now(), now)

    def hold_arm(self) -> None:
        """Let the arm's controller forget its goal and hold where the arm is."""
        self._arm.hold(self._world.joint_state().position[self._every][: len(self._start)])

    def command_gripper(self, target: float, now: float) -> None:
        """Tell the gripper where to go [m], at time `now` [s]; it goes there at its speed."""
        if np.isfinite(target):
            self._gripper = np.array([target])
            self._grip.begin(now)

    def judge_gripper(self, now: float) -> tuple[str, float]:
        """Return how the gripper's goal has ended, '' while it runs, and where it is [m]."""
        state, column = self._world.joint_state(), self._every[-1]
        position, speed = float(state.position[column]), float(state.velocity[column])
        return self._grip.judge(float(self._gripper[0]), position, speed, now), position

    def _arm_now(self) -> Array:
        # Not the gripper, if the arm's controller has it: what holds something is off its goal.
        return self._world.joint_state().position[self._every][: self.arm.dof]

    def _enforce(self, now: float) -> None:
        """Hold the arm where a trajectory controller finds it off its trajectory or its goal."""
        if isinstance(self._arm, TrajectoryFollower):
            code = judge(self._arm, self._tolerances, self._arm_now(), now)
            if code is not None and code is not GoalCode.SUCCESSFUL:
                self._given_up = code
                self.hold_arm()
