"""The simulated cell behind the sim node: controllers, physics, judge. No ROS, no clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_ros.drivers.doubles import arm_double
from vla_ros.drivers.follower import PositionFollower, TrajectoryFollower
from vla_ros.drivers.goal_judge import GripperJudge, judge, Tolerances
from vla_ros.drivers.velocity_follower import VelocityFollower
from vla_ros.robot import RobotSpec
from vla_ros.sim.experts import STEP
from vla_ros.sim.layout import REST_HEIGHT
from vla_ros.sim.scene import TIMESTEP
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, sample_episode, SceneState, succeeded, surface_distance
from vla_ros.status import GoalCode, TaskStatus
from vla_ros.types import Array, JointState, Trajectory

LONGEST_STEP = 0.05  # [s] a stall of the machine is not simulated beyond this
SUCCESS_HOLD = 0.3  # [s] the predicate must hold this long
NEAR = 0.05  # [m] tool to target's surface
LIFTED = 0.02  # [m] of the target above its rest
TOLERANCES = Tolerances(path=0.2, goal=0.02, time=0.5)  # of the controller's own configuration


class Simulation:
    """A table-top world whose arm and gripper are driven by doubles of their controllers.

    Not thread-safe.
    """

    def __init__(self, robot: RobotSpec, urdf: Path, suite: str) -> None:
        """Compile the world.

        Args:
            robot: The arm.
            urdf: Its description.
            suite: Name that task states carry.
        """
        self.robot = robot
        self.suite = suite
        self.tabletop = Tabletop(robot, urdf)
        self._start = np.array([*robot.home, robot.gripper.open])[: len(robot.commanded_joints)]
        self._arm = arm_double(robot, self._start)
        self._gripper = robot.gripper.open  # where it is told to be
        self._grip = GripperJudge()
        self._tolerances = TOLERANCES  # of the trajectory that is followed
        self._given_up: GoalCode | None = None  # why it is followed no more
        self._owed = 0.0  # [s] simulated time still due
        self._elapsed = 0.0  # [s] simulated since the reset
        self._succeeding = 0.0  # [s] the predicate has held

    def reset(self, task: str, seed: int) -> Episode:
        """Lay the table for a task's seeded episode, the arm at home.

        Raises:
            UnknownNameError: There is no such task.
        """
        episode = sample_episode(task, seed)
        self.tabletop.reset(episode)
        self._arm.hold(self._start)
        self._gripper = self.robot.gripper.open
        self._owed = self._elapsed = self._succeeding = 0.0
        return episode

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
        self._arm.hold(self.tabletop.world.joint_state().position[: len(self._start)])

    def command_gripper(self, target: float, now: float) -> None:
        """Tell the gripper where to go [m], at time `now` [s]; it goes there at its speed."""
        if np.isfinite(target):
            self._gripper = target
            self._grip.begin(now)

    def judge_gripper(self, now: float) -> tuple[str, float]:
        """Return how the gripper's goal has ended, '' while it runs, and where it is [m]."""
        state = self.tabletop.world.joint_state()
        position, speed = float(state.position[-1]), float(state.velocity[-1])
        return self._grip.judge(self._gripper, position, speed, now), position

    def advance(self, now: float, elapsed: float) -> JointState:
        """Let the world move for `elapsed` [s] and return the joints, stamped `now`.

        The arm's reference is where its controller is at `now`, reached in a straight line.

        Raises:
            SimulationError: The physics diverged.
        """
        self._owed += min(elapsed, LONGEST_STEP)
        steps = int(self._owed / TIMESTEP + 1e-9)
        world = self.tabletop.world
        if steps:
            seconds = steps * TIMESTEP
            self._owed -= seconds
            self._elapsed += seconds
            self._enforce(now)
            place, dof = self._arm.sample(now)[0], self.robot.dof
            grip = float(place[dof]) if len(place) > dof else self._gripper
            world.set_command(place[:dof], grip, over=seconds)
            world.step(seconds)
        measured = world.joint_state()
        return JointState(now, measured.position, measured.velocity)

    def _arm_now(self) -> Array:
        # Not the gripper, if the arm's controller has it: what holds something is off its goal.
        return self.tabletop.world.joint_state().position[: self.robot.dof]

    def _enforce(self, now: float) -> None:
        """Hold the arm where a trajectory controller finds it off its trajectory or its goal."""
        if isinstance(self._arm, TrajectoryFollower):
            code = judge(self._arm, self._tolerances, self._arm_now(), now)
            if code is not None and code is not GoalCode.SUCCESSFUL:
                self._given_up = code
                self.hold_arm()

    def judge(self, now: float, elapsed: float) -> TaskStatus:
        """Return how the task stands.

        Args:
            now: Time [s].
            elapsed: Since the last call [s].
        """
        episode = self.tabletop.episode
        assert episode is not None, 'reset comes first'
        state = self.tabletop.state()
        holds = succeeded(episode, state)
        self._succeeding = self._succeeding + elapsed if holds else 0.0
        success = holds and self._succeeding >= SUCCESS_HOLD
        centre = state.objects[episode.target]
        step, limit = int(self._elapsed / STEP), round(episode.time_limit / STEP)
        return TaskStatus(
            stamp=now,
            suite=self.suite,
            task=episode.task,
            instruction=episode.instruction,
            seed=episode.seed,
            step=step,
            step_limit=limit,
            success=success,
            done=success or step >= limit,
            target=f'{episode.layout.objects[episode.target].colour} {episode.target_shape}',
            phase=phase(episode, state, success),
            tool_to_target=surface_distance(episode.target_shape, centre, state.tool),
        )


def phase(episode: Episode, state: SceneState, success: bool) -> str:
    """Name the stage of a task for an operator."""
    if success:
        return 'done'
    shape, centre = episode.target_shape, state.objects[episode.target]
    if centre[2] > REST_HEIGHT[shape] + LIFTED:
        return 'carry'
    return 'near' if surface_distance(shape, centre, state.tool) < NEAR else 'approach'
