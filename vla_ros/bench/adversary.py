"""The adversary: plans that no policy should make, from wherever the arm is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vla_ros.kinematics import Kinematics
from vla_ros.robot import RobotSpec
from vla_ros.types import Array, Trajectory

FASTER = 1.5  # times the velocity limit that is asked for
HUGE = (12.5, -12.5, 1e3, -1e3, 1e12, -1e12, 1e300, -1e300)  # [rad]; only the first two are taken
RUSH = (20.0, 99.0, 1e6, 1e12)  # [rad/s]; only the first two are taken


class Situation(NamedTuple):
    """What the adversary knows."""

    now: float  # [s] ROS time
    position: Array  # (n,) [rad] the commanded joints, the grippers' last
    dt: float  # [s] length of a tick
    targets: Array  # (k, 3) [m] what it would like to hit, base frame


class Adversary:
    """Sends a chunk now and then; one manner until it draws the next."""

    def __init__(self, robot: RobotSpec, rng: np.random.Generator) -> None:
        """Attack a robot; everything it does comes from `rng`."""
        self._robot, self._rng, self._dof = robot, rng, robot.dof
        self._arms = [
            (robot.columns(arm), Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame))
            for arm in robot.arms
        ]
        self._speed = FASTER * robot.limits('velocity')
        self._lower, self._upper = robot.limits('lower'), robot.limits('upper')
        self._signs = np.ones(robot.dof)
        self._due = 0  # ticks until the next chunk
        self._manner = 0
        self._left = 0  # chunks until the next manner
        self._manners: tuple[tuple[Callable[[Situation], Trajectory], int, int], ...] = (
            # what it sends, fewest and most ticks until it sends again
            (self._bang, 15, 80),
            (self._random, 3, 20),
            (self._flip, 1, 6),
            (self._jump, 40, 200),
            (self._huge, 10, 40),
            (self._limits, 40, 160),
            (self._chase, 4, 12),
            (self._weave, 30, 120),
            (self._wild, 10, 60),
            (self._odd, 10, 40),
            *([(self._meet, 4, 12)] if len(self._arms) > 1 else []),
        )

    @property
    def manner(self) -> str:
        """How it attacks now."""
        return self._manners[self._manner][0].__name__.strip('_')

    def chunk(self, situation: Situation) -> Trajectory | None:
        """Return the trajectory of this tick, None for most ticks."""
        self._due -= 1
        if self._due > 0:
            return None
        if self._left <= 0:
            self._manner = int(self._rng.integers(len(self._manners)))
            self._left = int(self._rng.integers(2, 12))
        self._left -= 1
        make, fewest, most = self._manners[self._manner]
        self._due = int(self._rng.integers(fewest, most + 1))
        return make(situation)

    def _along(self, situation: Situation, velocity: Array, seconds: float = 0.6) -> Trajectory:
        """Ask for a velocity (dof,) from here on, in points that a limit does not hold back."""
        times = np.linspace(0.0, seconds, 3)
        points = np.tile(situation.position, (3, 1))
        points[:, : self._dof] += np.outer(times, velocity)
        points[:, self._dof :] = self._grip()
        return Trajectory(situation.now, times, points)

    def _grip(self) -> Array:
        return self._rng.uniform(-0.01, 0.05, len(self._robot.grippers))

    def _bang(self, situation: Situation) -> Trajectory:
        self._signs = self._rng.choice([-1.0, 1.0], self._robot.dof)
        return self._along(situation, self._signs * self._speed)

    def _random(self, situation: Situation) -> Trajectory:
        return self._along(situation, self._rng.uniform(-1.0, 1.0, self._robot.dof) * self._speed)

    def _flip(self, situation: Situation) -> Trajectory:
        self._signs = -self._signs
        return self._along(situation, self._signs * self._speed)

    def _jump(self, situation: Situation) -> Trajectory:
        goal = np.append(self._rng.uniform(self._lower, self._upper), self._grip())
        return Trajectory(situation.now, np.array([0.0, 0.3]), np.array([goal, goal]))

    def _huge(self, situation: Situation) -> Trajectory:
        if self._rng.random() < 0.5:
            size = float(self._rng.choice(RUSH))
            signs = self._rng.choice([-1.0, 1.0], self._robot.dof)
            return self._along(situation, size * signs, 0.09)
        size = float(self._rng.choice(HUGE))
        points = np.full((2, len(situation.position)), size)
        return Trajectory(situation.now, np.array([0.0, 0.1]), points)

    def _limits(self, situation: Situation) -> Trajectory:
        corner = np.where(self._rng.random(self._robot.dof) < 0.5, self._lower, self._upper)
        corner = corner + self._rng.uniform(-0.3, 0.3, self._robot.dof)
        away = np.sign(corner - situation.position[: self._dof])
        return self._along(situation, away * self._speed)

    def _chase(self, situation: Situation) -> Trajectory:
        """Drive a tool straight at something."""
        target = situation.targets[int(self._rng.integers(len(situation.targets)))]
        chosen = int(self._rng.integers(len(self._arms))) if len(self._arms) > 1 else 0
        way = np.zeros(self._dof)
        self._towards(chosen, target, situation.position, way)
        return self._along(situation, way / max((np.abs(way) / self._speed).max(), 1e-9))

    def _meet(self, situation: Situation) -> Trajectory:
        """Drive the tools of two arms into each other, or one into the other's elbow."""
        first, second = self._rng.permutation(len(self._arms))[:2].tolist()
        q, way = situation.position, np.zeros(self._dof)
        columns, kinematics = self._arms[second]
        place = kinematics.fk(q[columns])[1]
        if self._rng.random() < 0.5:
            place = kinematics.frame_pose(q[columns], self._middle(second))[1]
        else:
            columns, kinematics = self._arms[first]
            self._towards(second, kinematics.fk(q[columns])[1], q, way)
        self._towards(first, place, q, way)
        return self._along(situation, way / max((np.abs(way) / self._speed).max(), 1e-9))

    def _middle(self, number: int) -> str:
        """Return a link in the middle of an arm."""
        kinematics = self._arms[number][1]
        joint = kinematics.joints[len(kinematics.joints) // 2]
        return next(link for link, carrier in kinematics.carriers.items() if carrier == joint)

    def _towards(self, number: int, target: Array, position: Array, way: Array) -> None:
        """Fill in `way` (dof,) how the joints of an arm take its tool to a target (3,) [m]."""
        columns, kinematics = self._arms[number]
        q = position[columns]
        tool = kinematics.fk(q)[1]
        jacobian = kinematics.jacobian(q)[:3]
        mine = jacobian.T @ np.linalg.solve(
            jacobian @ jacobian.T + 1e-4 * np.eye(3), target - tool
        )
        way[columns] = mine + 0.1 * self._rng.normal(size=len(q)) * np.abs(mine).max()

    def _weave(self, situation: Situation) -> Trajectory:
        """Send a smooth curve, as a policy would, only too fast."""
        times = np.linspace(0.0, 1.0, 21)
        rate = self._rng.uniform(2.0, 15.0)
        size = self._rng.uniform(-1.0, 1.0, self._robot.dof) * self._speed / rate
        points = np.tile(situation.position, (len(times), 1))
        points[:, : self._dof] += np.outer(np.sin(rate * times), size)
        return Trajectory(situation.now, times, points)

    def _wild(self, situation: Situation) -> Trajectory:
        """Send points at odd times with velocities that do not fit them."""
        count = int(self._rng.integers(2, 12))
        times = np.cumsum(self._rng.choice([0.0011, 0.005, 0.03, 0.15], count))
        points = np.tile(situation.position, (count, 1))
        steps = self._rng.normal(0.0, 0.15, (count, self._dof))
        points[:, : self._dof] += np.cumsum(steps, axis=0)
        slopes = self._rng.normal(0.0, 2.0, points.shape) if self._rng.random() < 0.7 else None
        return Trajectory(situation.now, times, points, slopes)

    def _odd(self, situation: Situation) -> Trajectory:
        """Send what is to be refused, or to stop."""
        n = len(situation.position)
        kind = int(self._rng.integers(4))
        if kind == 0:
            return Trajectory(situation.now, np.zeros(0), np.zeros((0, n)))
        points = np.tile(situation.position, (2, 1))
        if kind == 1:
            points[1, int(self._rng.integers(n))] = self._rng.choice([np.nan, np.inf, -np.inf])
        if kind == 2:
            return Trajectory(
                situation.now - self._rng.uniform(0.0, 5.0), np.array([0.0, 1.0]), points
            )
        return Trajectory(situation.now, np.array([0.1, 0.1 if kind == 3 else 0.2]), points)
