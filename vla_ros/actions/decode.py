"""From joints to a policy's state vector, and from its actions back to joints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vla_ros.action_space import ActionSlice, Slice
from vla_ros.actions import slices
from vla_ros.errors import PolicyError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import Arm, Gripper, RobotSpec
from vla_ros.spec import arms_of, PolicySpec, width
from vla_ros.types import ActionChunk, Array, JointState, Trajectory

# Residuals beyond these mean that the asked tool path leaves the arm's reach.
REACH_TOLERANCE = 0.02  # [m]
TURN_TOLERANCE = 0.1  # [rad]
CLOSES, OPENS = 0.4, 0.6  # openings at which a binary gripper changes its mind


def snapped(opening: Array, is_open: bool) -> Array:
    """Return a gripper's opening (T,) as 0 or 1: it changes only beyond CLOSES and OPENS.

    Args:
        opening: What is asked for, 0 to 1.
        is_open: Whether it is open before.
    """
    found = np.empty_like(opening)
    for k, value in enumerate(opening):
        is_open = value > CLOSES if is_open else value >= OPENS
        found[k] = float(is_open)
    return found


class Hand:
    """One arm: where its tool and its gripper are, and how its tool gets somewhere."""

    def __init__(self, robot: RobotSpec, arm: Arm, urdf: Path) -> None:
        """Read its kinematics."""
        self.columns, self._robot = robot.columns(arm), robot
        self.kinematics = Kinematics(urdf, arm.joint_names, arm.tool_frame)
        home = np.array(arm.home)
        self.rotation = self.kinematics.fk(home)[0]
        self._ik = InverseKinematics(
            self.kinematics,
            lower=arm.limits('lower'),
            upper=arm.limits('upper'),
            posture=home,
            tolerance=1e-5,
        )

    def pose(self, position: Array) -> Array:
        """Return the pose (7,) of the tool at all joints (n,): x y z, quaternion xyzw."""
        turn, place = self.kinematics.fk(position[self.columns])
        return np.append(place, Rotation.from_matrix(turn).as_quat())

    def place(self, position: Array) -> Array:
        """Return the first three of `pose`, without what takes its time: the quaternion."""
        return self.kinematics.fk(position[self.columns])[1]

    def follow(self, start: Array, points: Array, turns: Array) -> Array:
        """Return its joints (T, dof) along a tool path that begins at all joints (n,).

        Raises:
            PolicyError: The path leaves its reach.
        """
        path = self._ik.solve_path(start[self.columns], turns, points)
        worst, turned = float(path.position_error.max()), float(path.rotation_error.max())
        if worst > REACH_TOLERANCE or turned > TURN_TOLERANCE:
            raise PolicyError(
                f'the tool path leaves the reach of {self._robot.name} by {worst:.3f} m and '
                f'{turned:.3f} rad (tolerance {REACH_TOLERANCE} m, {TURN_TOLERANCE} rad); nothing '
                'is sent.'
            )
        return path.q


class Codec:
    """Translates between one robot's joints and one policy's vectors.

    An absolute action (C,) is relative to nothing: per slice a tool position, a tool pose, joint
    positions or a gripper's opening, as `slices.COLUMNS` has it. Where a policy commands positions
    only, the tool keeps the orientation of the robot's home pose. Redundancy is spent on staying
    near home.
    """

    def __init__(self, robot: RobotSpec, urdf: Path, policy: PolicySpec) -> None:
        self.robot = robot
        self.policy = policy
        self.hands = {arm.name: Hand(robot, arm, urdf) for arm in robot.arms}
        self.action_dim = width(policy.action, robot)
        self._widths = [width((part,), robot) for part in policy.action]
        self._joints = [self._joints_of(part) for part in policy.action]
        self._columns = [
            slices.COLUMNS.get(part.absolute_kind, joints.stop - joints.start)
            for part, joints in zip(policy.action, self._joints)
        ]

    @property
    def hand(self) -> Hand:
        """The only arm; ConfigError where there are several."""
        return self.hands[self.robot.arm().name]

    def state(self, joints: JointState) -> Array:
        """Return the state vector (S,) as PolicySpec.state declares it.

        Raises:
            PolicyError: The joint state is not finite or not of this robot.
        """
        self._check(joints.position)
        parts = [
            slices.written(
                part,
                joints.velocity[self._joints_of(part)]
                if part.kind == 'joint_velocity'
                else self._value(part, part.kind, joints.position),
            )
            for part in self.policy.state
        ]
        vector = np.concatenate([np.empty(0), *parts])
        if not np.isfinite(vector).all():
            raise PolicyError(
                f'joint state has velocities {joints.velocity}, expected finite ones.'
            )
        return vector

    def absolute(self, chunk: ActionChunk, joints: JointState) -> Array:
        """Return the actions (T, C) of a chunk, each slice relative to nothing.

        Args:
            chunk: Actions (T, A) as PolicySpec.action declares them.
            joints: The joint state that the policy saw: the anchor of relative slices.

        Raises:
            PolicyError: A wrong shape or a value that is not finite.
            ShapeError: Numbers that are no rotation.
        """
        actions = self._checked(chunk.actions, self._widths, 'the policy returned')
        return self._translated(slices.absolute, actions, self._widths, joints)

    def relative(self, actions: Array, joints: JointState) -> Array:
        """Return actions (K, A) as the policy would give them, undoing `absolute`.

        Args:
            actions: Absolute actions (K, C).
            joints: The joint state that the policy sees: the anchor of relative slices.

        Raises:
            PolicyError: A wrong shape or a value that is not finite.
        """
        actions = self._checked(actions, self._columns, 'the prefix has')
        return self._translated(slices.relative, actions, self._columns, joints)

    def decode(self, chunk: ActionChunk, joints: JointState) -> Trajectory:
        """Turn a chunk into joint positions, grippers last.

        Args:
            chunk: Actions (T, A) as PolicySpec.action declares them.
            joints: The joint state that the policy saw: the anchor of relative actions.

        Raises:
            PolicyError: A wrong shape, a value that is not finite, or a path out of reach.
            ShapeError: Numbers that are no rotation.
        """
        return self.path(self.absolute(chunk, joints), joints.position, chunk.stamp)

    def path(self, actions: Array, start: Array, stamp: float) -> Trajectory:
        """Return the joint positions, grippers last, of absolute actions.

        Args:
            actions: (T, C), step k due `stamp` + (k + 1) step.
            start: (n,) where the joints were at `stamp`; what is not commanded stays there.
            stamp: Of the observation [s].

        Raises:
            PolicyError: The path leaves the arm's reach.
        """
        positions = np.empty((len(actions), len(self.robot.joint_names)))
        positions[:] = start
        parts = zip(self.policy.action, self._split(actions, self._columns), self._joints)
        for part, values, joints in parts:
            kind = part.absolute_kind
            if kind == 'gripper':
                gripper, column = self._gripper(part)
                opening = np.clip(values[:, 0], 0.0, 1.0)
                if part.binary:
                    opening = snapped(opening, self._value(part, kind, start)[0] > 0.5)
                positions[:, column] = gripper.closed + opening * (gripper.open - gripper.closed)
            elif kind == 'joint_position':
                positions[:, joints] = values
            elif kind == 'tool_pose':
                turns = Rotation.from_quat(values[:, 3:]).as_matrix()
                positions[:, joints] = self._hand(part).follow(start, values[:, :3], turns)
            else:
                hand = self._hand(part)
                positions[:, joints] = hand.follow(start, values, hand.rotation)
        times = self.policy.step * np.arange(1, len(actions) + 1, dtype=np.float64)
        return Trajectory(stamp, times, positions)

    def action(self, position: Array) -> Array:
        """Return the absolute action (C,) that holds joints (n,) [rad], [m] where they are."""
        return np.concatenate([np.empty(0), *self._anchors(position)])

    @property
    def held(self) -> NDArray[np.bool_]:
        """Which dimensions (C,) of an absolute action are never interpolated: grippers'."""
        return self.spread(0.0, 0.0, 1.0) == 1.0

    @property
    def scale(self) -> Array:
        """Differences (C,) that count alike: 0.1 m, 0.3 rad, an open gripper for a closed one."""
        return self.spread(0.1, 0.3, 1.0)

    @property
    def turns(self) -> tuple[int, ...]:
        """Columns of an absolute action at which a quaternion begins."""
        ends = np.cumsum([0, *self._columns])
        kinds = (part.absolute_kind for part in self.policy.action)
        return tuple(int(end) + 3 for end, kind in zip(ends, kinds) if kind == 'tool_pose')

    def spread(self, length: float, angle: float, opening: float) -> Array:
        """Return a number for each dimension (C,) of a difference between absolute actions.

        It is a difference as `strategies.base.apart` has it, with three angles for a quaternion.

        Args:
            length: Of tool positions [m].
            angle: Of joints and rotations [rad].
            opening: Of grippers, 0 to 1.
        """
        parts = zip(self.policy.action, self._columns)
        table = {
            'tool_position': [length] * 3,
            'tool_pose': [length] * 3 + [angle] * 4,
            'gripper': [opening],
        }
        return np.array(
            [x for part, size in parts for x in table.get(part.absolute_kind, [angle] * size)]
        )

    def _checked(self, actions: Array, widths: list[int], source: str) -> Array:
        if actions.shape[1] != sum(widths):
            raise PolicyError(
                f'actions have {actions.shape[1]} dimensions, expected {sum(widths)}.'
            )
        if not np.isfinite(actions).all():
            raise PolicyError(f'{source} actions that are not finite; nothing is sent.')
        return actions

    def _split(self, actions: Array, widths: list[int]) -> list[Array]:
        return np.split(actions, np.cumsum(widths[:-1]), axis=1)

    def _translated(
        self,
        translate: Callable[[ActionSlice, Array, Array, float], Array],
        actions: Array,
        widths: list[int],
        joints: JointState,
    ) -> Array:
        """Apply a function of `slices` to every slice."""
        anchors, step = self._anchors(joints.position), self.policy.step
        parts = zip(self.policy.action, self._split(actions, widths), anchors)
        return np.concatenate([translate(p, values, at, step) for p, values, at in parts], axis=1)

    def _anchors(self, position: Array) -> list[Array]:
        """Return where the robot is, as the absolute action of each slice (C,)."""
        self._check(position)
        return [self._value(part, part.absolute_kind, position) for part in self.policy.action]

    def _check(self, position: Array) -> None:
        names = self.robot.joint_names
        if position.shape != (len(names),) or not np.isfinite(position).all():
            raise PolicyError(
                f'joint state has positions {position}, expected {len(names)} finite ones: '
                f'{", ".join(names)}.'
            )

    def _value(self, part: Slice, kind: str, position: Array) -> Array:
        """Return where the robot is (C,) by a kind, as `slices.COLUMNS` has it."""
        if kind == 'gripper':
            gripper, column = self._gripper(part)
            opening = (position[column] - gripper.closed) / (gripper.open - gripper.closed)
            return np.array([opening])
        if kind == 'tool_pose':
            return self._hand(part).pose(position)
        if kind == 'tool_position':
            return self._hand(part).place(position)
        return position[self._joints_of(part)]

    def _hand(self, part: Slice) -> Hand:
        (arm,) = arms_of(part, self.robot)
        return self.hands[arm.name]

    def _gripper(self, part: Slice) -> tuple[Gripper, int]:
        """Return the gripper of a slice and its column among all joints."""
        (arm,) = arms_of(part, self.robot)
        column = self.robot.grip_column(arm)
        assert arm.gripper is not None and column is not None, 'arms_of sees to it'
        return arm.gripper, column

    def _joints_of(self, part: Slice) -> slice:
        """Return the columns of the joints of a slice's arms, which follow each other."""
        columns = [self.robot.columns(arm) for arm in arms_of(part, self.robot)]
        return slice(columns[0].start, columns[-1].stop)
