"""The simulated cell behind the sim node: controllers, physics, judge. No ROS, no clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_ros.drivers.follower import PositionFollower, TrajectoryFollower
from vla_ros.robot import RobotSpec
from vla_ros.sim.experts import STEP
from vla_ros.sim.layout import REST_HEIGHT
from vla_ros.sim.scene import TIMESTEP
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, sample_episode, SceneState, succeeded, surface_distance
from vla_ros.status import TaskStatus
from vla_ros.types import Array, JointState, Trajectory

LONGEST_STEP = 0.05  # [s] a stall of the machine is not simulated beyond this
SUCCESS_HOLD = 0.3  # [s] the predicate must hold this long
NEAR = 0.05  # [m] tool to target's surface
LIFTED = 0.02  # [m] of the target above its rest


class Simulation:
    """A table-top world whose arm and gripper follow trajectories by time. Not thread-safe."""

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
        home = np.array(robot.home)
        follower = PositionFollower if robot.driver.streams else TrajectoryFollower
        self._arm: PositionFollower | TrajectoryFollower = follower(home)
        self._gripper = robot.gripper.open  # where it is told to be
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
        self._arm.hold(np.array(self.robot.home))
        self._gripper = self.robot.gripper.open
        self._owed = self._elapsed = self._succeeding = 0.0
        return episode

    def command_arm(self, trajectory: Trajectory, now: float) -> None:
        """Give the arm's controller a trajectory, at time `now` [s].

        Raises:
            ShapeError: The controller cannot use it.
        """
        assert isinstance(self._arm, TrajectoryFollower), 'this driver streams'
        self._arm.accept(trajectory, now)

    def stream_arm(self, positions: Array) -> None:
        """Give the arm's controller its next position (dof,) [rad], where the driver streams.

        Raises:
            ShapeError: The controller cannot use it.
        """
        assert isinstance(self._arm, PositionFollower), 'this driver takes trajectories'
        self._arm.accept(positions)

    def command_gripper(self, trajectory: Trajectory, now: float) -> None:
        """Give the gripper's controller a trajectory; it goes to the last point at its speed."""
        target = float(trajectory.positions[-1, 0]) if len(trajectory.positions) else np.nan
        if np.isfinite(target):
            self._gripper = target

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
            world.set_command(self._arm.sample(now)[0], self._gripper, over=seconds)
            world.step(seconds)
        measured = world.joint_state()
        return JointState(now, measured.position, measured.velocity)

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
