"""From the filter's command to the double of a controller, through the cores alone."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np

from vla_ros.drivers.doubles import arm_double
from vla_ros.drivers.follower import PositionFollower, TrajectoryFollower
from vla_ros.drivers.forwarder import Forwarder
from vla_ros.drivers.goal_judge import judge, Tolerances
from vla_ros.drivers.goals import EVERY, Goals
from vla_ros.drivers.gripper import GripperRamp
from vla_ros.drivers.spline import Spline
from vla_ros.drivers.velocity import VelocityLoop
from vla_ros.drivers.velocity_follower import VelocityFollower
from vla_ros.robot import RobotSpec
from vla_ros.safety.filter import SafetyFilter
from vla_ros.types import Array, JointCommand, JointState, Trajectory

EPOCH = 100.0  # [s] a stamp of 0 would mean: now
STATE_AGE = 0.005  # [s] of the joint states that the forwarder hears
ARRIVAL = 0.02  # [s] that a goal takes to arrive
TOLERANCES = Tolerances(path=0.1, goal=0.01, time=0.5)


class Chain:
    """One arm behind one kind of controller; time is the caller's."""

    def __init__(self, robot: RobotSpec, period: float, position: Array) -> None:
        driver, joints = robot.driver, robot.commanded_joints
        self.robot, self.period = robot, period
        self.double = arm_double(robot, position[: len(joints)])
        self.sent: list[tuple[float, Array]] = []  # when [s], what a streaming controller gets
        self.goals: list[Trajectory] = []  # what a trajectory controller gets
        self.codes: set[Any] = set()  # how goals were judged
        self._ramp = GripperRamp(robot.gripper)
        self._spline, self._goals = Spline(period), Goals(period)
        self._loop = VelocityLoop(driver.gain, robot.limits('velocity'))
        self._core = Forwarder(len(joints), period, driver.late, driver.carries)
        self._on_its_way: deque[tuple[float, Trajectory]] = deque()
        self._next_goal = 0.0

    def send(self, command: JointCommand, now: float) -> None:
        """Take a command of the filter."""
        driver, count = self.robot.driver, len(self.robot.commanded_joints)
        if driver.carries:
            command = self._ramp.carry(command)
        if not driver.streams:
            command = self._spline.shape(command)
        said = Trajectory(
            command.stamp, command.times, command.positions[:, :count],
            command.velocities[:, :count],
        )  # fmt: skip
        if not driver.streams:
            self._follow(said, now)
        elif (place := self._core.accept(said, now)) is not None:
            if driver.kind == 'follow_joint_trajectory':
                self._goals.add(said)
            else:
                self._stream(place, now)

    def tick(self, measured: JointState | None, now: float) -> Array:
        """Let the forwarder and the controller come to a time, and return where the arm is."""
        if measured is not None:
            self._loop.measure(measured.stamp, measured.position[: self.robot.dof])
        place = self._core.fill(now)
        if self.robot.driver.kind == 'follow_joint_trajectory':
            self._exchange(now)
        elif self.robot.driver.streams and place is not None:
            self._stream(place, now)
        elif self._core.held is not None and self._core.at_rest and self.robot.driver.arm.velocity:
            self._out(np.zeros(self.robot.dof), now)
        return self.double.sample(now)[0]

    def judge(self, measured: Array, now: float) -> None:
        """Keep what the action server says of the arm."""
        assert isinstance(self.double, TrajectoryFollower)
        self.codes.add(judge(self.double, TOLERANCES, measured, now))

    @property
    def held(self) -> Array | None:
        """Where the forwarder has stopped the arm."""
        return self._core.held

    def _exchange(self, now: float) -> None:
        if now >= self._next_goal:
            self._next_goal = now + EVERY
            goal = self._goals.take()
            if goal is not None:
                self._on_its_way.append((now + ARRIVAL, goal))
        while self._on_its_way and self._on_its_way[0][0] <= now:
            self._follow(self._on_its_way.popleft()[1], now)

    def _follow(self, trajectory: Trajectory, now: float) -> None:
        assert isinstance(self.double, TrajectoryFollower)
        self.double.accept(trajectory, now)
        self.goals.append(trajectory)

    def _stream(self, place: Array, now: float) -> None:
        velocity = self._core.velocity
        if self.robot.driver.arm.velocity:
            self._loop.refer(self._core.due(now), place)
            self._out(self._loop.velocity(velocity), now)
        else:
            self._out(place, now)

    def _out(self, values: Array, now: float) -> None:
        self.sent.append((now, values))
        if isinstance(self.double, VelocityFollower):
            self.double.accept(values, now, now)
        else:
            assert isinstance(self.double, PositionFollower)
            self.double.accept(values)


class DrivenFilter:
    """A safety filter whose commands reach the world through the double of a controller."""

    def __init__(self, guard: SafetyFilter, robot: RobotSpec) -> None:
        self.guard, self.robot, self.config = guard, robot, guard.config
        self.chain: Chain | None = None
        self.references: list[Array] = []
        self.reached: list[Array] = []  # where the controller brought the arm
        self.reasons: set[str] = set()  # why the filter braked

    def reset(self, position: Array) -> None:
        self.guard.reset(position)
        self.chain = Chain(self.robot, self.config.period, position)

    def step(self, state: JointState, plan: Any, world: Any, now: float, dt: float) -> Any:
        assert self.chain is not None
        result = self.guard.step(state, plan, world, now, dt)
        stamp, dof = EPOCH + now, self.robot.dof
        command = result.command
        if result.level > 1:
            self.reasons.add(result.reason)
        self.chain.send(replace(command, stamp=stamp), stamp)
        seen = replace(state, stamp=stamp - STATE_AGE)
        place = self.chain.tick(seen, stamp + dt)
        if isinstance(self.chain.double, TrajectoryFollower):
            self.chain.judge(state.position[:dof], stamp)
        self.references.append(command.positions[0, :dof])
        self.reached.append(place[:dof])
        grip = place[dof] if len(place) > dof else command.positions[0, -1]
        first = np.append(place[:dof], grip)[None]
        positions = np.concatenate([first, command.positions[1:]])
        return result._replace(command=replace(command, positions=positions))
