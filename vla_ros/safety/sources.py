"""Where obstacles come from: the robot file, a scene file, and the newest array of a topic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vla_ros import config
from vla_ros.errors import ShapeError, UnknownNameError, VlaError
from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import check_fixed, first_problem, Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.model import links_in_hand
from vla_ros.safety.world import quaternion_of, rotation, World
from vla_ros.types import Array

FUTURE = 0.05  # [s] a stamp may be ahead of our clock
AHEAD = 0.02  # [s] a stamp may be ahead of the newest joint state
HISTORY = 2.0  # [s] of joint states that are kept


@dataclass(frozen=True)
class SceneSpec:
    """What stands around an arm, read from `config/scenes/NAME.yaml`; it does not move."""

    obstacles: tuple[Obstacle, ...] = ()
    targets: tuple[str, ...] = ()  # names, also of obstacles that the topic brings

    def __post_init__(self) -> None:
        check_fixed(self.obstacles, 'scene')


def load_scene(path: Path) -> SceneSpec:
    """Read a scene file."""
    return config.load(path, SceneSpec)


class Worlds:
    """Merges what stands still with what a topic reports, in the robot's base frame.

    An obstacle of the topic replaces one of its name in the scene file, and that one the robot
    file's. An array that cannot be trusted is refused as a whole: the world before it stays and
    grows old. Methods that begin with `put` belong to one thread; `world` may be read from any.
    """

    def __init__(self, robot: RobotSpec, scene: SceneSpec, settings: SafetyConfig) -> None:
        """Hold what stands still.

        Raises:
            ConfigError: It is attached to a link that is not in the hand.
        """
        self._arms = {
            name: (robot.columns(arm), kinematics)
            for arm in robot.arms
            for kinematics in [Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame)]
            for name in arm.joint_names
        }  # joint -> columns and kinematics of its arm
        self._dof = robot.dof
        self._gap = settings.joint_state_timeout  # [s] between two joint states in a row
        arms = list(dict.fromkeys(kinematics for _, kinematics in self._arms.values()))
        self._carriers, self._hand = arms[0].carriers, links_in_hand(arms)
        self._targets = frozenset(scene.targets)
        fixed = {o.name: o for o in (*robot.obstacles, *scene.obstacles)}
        self._fixed: Mapping[str, Obstacle] = {o.name: self._role(o) for o in fixed.values()}
        self._check_links(self._fixed.values())
        self._joints: deque[tuple[float, Array]] = deque()  # stamp [s], (dof,) [rad]
        self._heard = False
        self.world = World(0.0, tuple(self._fixed.values())).prepared()

    def put_joints(self, stamp: float, position: Array) -> None:
        """Note measured joints (dof or more,) [rad]; frames that the arm carries need them."""
        if not np.isfinite(position[: self._dof]).all():
            return
        if self._joints and stamp <= self._joints[-1][0]:
            if stamp > self._joints[-1][0] - HISTORY:
                return
            self._joints.clear()  # the clock went back
        self._joints.append((stamp, np.array(position[: self._dof])))
        while self._joints[0][0] < stamp - HISTORY:
            self._joints.popleft()

    def put(self, stamp: float, frame: str, obstacles: Iterable[Obstacle], now: float) -> str:
        """Take all obstacles that the topic knows; say why not, '' if it did.

        An array that is not newer than the last one is passed over. Where nothing moves, stamp 0
        means now, and a stamp of the future does no harm.

        Args:
            stamp: ROS time of the poses [s].
            frame: The base frame or a link of the robot.
            obstacles: Poses in `frame`, or in the link that holds one; twists against the base.
            now: ROS time [s].
        """
        arrived = tuple(obstacles)
        if stamp == 0.0 and not any(o.moves for o in arrived):
            stamp = now
        newest = self.world.stamp
        if self._heard and stamp <= newest <= now + FUTURE:
            return f'it is not newer than the last array, of {newest:.3f} s'
        try:
            problem = first_problem(arrived)
            if problem:
                raise ShapeError(problem)
            if not np.isfinite(stamp):
                raise ShapeError(f'the stamp is {stamp}')
            if stamp > now + FUTURE and any(o.moves for o in arrived):
                raise ShapeError(f'the stamp is {stamp - now:.3f} s ahead of our clock')
            self._check_links(arrived)
            turn, place = self._frame(frame, stamp)
        except VlaError as error:
            self.put_refusal(str(error))
            return str(error)
        known = dict(self._fixed)
        for o in arrived:
            known[o.name] = self._role(o if o.attached_to else _moved(o, turn, place))
        self._heard = True
        self.world = World(stamp, tuple(known.values())).prepared()
        return ''

    def put_refusal(self, reason: str) -> None:
        """Note that an array could not be used; the world before it stays."""
        if reason != self.world.refused:
            self.world = replace(self.world, refused=reason).prepared()

    def _role(self, obstacle: Obstacle) -> Obstacle:
        return replace(obstacle, role='target') if obstacle.name in self._targets else obstacle

    def _check_links(self, obstacles: Iterable[Obstacle]) -> None:
        for o in obstacles:
            if o.attached_to and o.attached_to not in self._hand:
                raise UnknownNameError(
                    'link that can hold', o.attached_to, self._hand, f"obstacle '{o.name}'"
                )

    def _frame(self, frame: str, stamp: float) -> tuple[Array, Array]:
        """Return rotation (3, 3) and position (3,) [m] of a frame at a time."""
        carriers = self._carriers
        if frame not in carriers:
            raise UnknownNameError('frame', frame, carriers, 'the robot')
        joint = carriers[frame]
        if not joint:
            columns, kinematics = next(iter(self._arms.values()))
            return kinematics.frame_pose(np.zeros(columns.stop - columns.start), frame)
        if joint not in self._arms:
            raise ShapeError(f"frame '{frame}' moves with joint '{joint}', no arm joint")
        columns, kinematics = self._arms[joint]
        return kinematics.frame_pose(self._joints_at(stamp)[columns], frame)

    def _joints_at(self, stamp: float) -> Array:
        """Return the measured joints at a time, between two joint states or just after them."""
        for (t0, q0), (t1, q1) in zip(list(self._joints)[-2::-1], list(self._joints)[:0:-1]):
            if t0 <= stamp <= (t1 if t1 < self._joints[-1][0] else t1 + AHEAD):
                if t1 - t0 > self._gap:
                    break
                return q0 + (q1 - q0) * ((stamp - t0) / (t1 - t0))
        raise ShapeError(f'no joint states around the stamp {stamp:.3f} s')


def _moved(obstacle: Obstacle, turn: Array, place: Array) -> Obstacle:
    """Return an obstacle of a frame in the base frame."""
    return replace(
        obstacle,
        position=turn @ obstacle.position + place,
        orientation=quaternion_of(turn @ rotation(obstacle.orientation)),
        linear_velocity=turn @ obstacle.linear_velocity,
        angular_velocity=turn @ obstacle.angular_velocity,
    )
