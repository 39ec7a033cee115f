"""From joints to a policy's state vector, and from its actions back to joints."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vla_ros.action_space import ActionSlice
from vla_ros.actions import slices
from vla_ros.errors import PolicyError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
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
        self.kinematics = Kinematics(urdf, robot.arm_joints, robot.tool_frame)
        home = np.array(robot.home)
        self._rotation = self.kinematics.fk(home)[0]
        self._ik = InverseKinematics(
            self.kinematics,
            lower=robot.limits('lower'),
            upper=robot.limits('upper'),
            posture=home,
            tolerance=1e-5,
        )
        self.action_dim = width(policy.action, robot.dof)
        self._widths = [part.width(robot.dof) for part in policy.action]
        kinds = [part.absolute_kind for part in policy.action]
        self._columns = [slices.COLUMNS.get(kind, robot.dof) for kind in kinds]

    def state(self, joints: JointState) -> Array:
        """Return the state vector (S,) as PolicySpec.state declares it.

        Raises:
            PolicyError: The joint state is not finite or not of this robot.
        """
        kinds = {part.kind for part in self.policy.state}
        values = self._values(joints.position, kinds - {'joint_velocity'})
        values['joint_velocity'] = joints.velocity[:-1]
        parts = [slices.written(part, values[part.kind]) for part in self.policy.state]
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
        """Turn a chunk into joint positions, gripper last.

        Args:
            chunk: Actions (T, A) as PolicySpec.action declares them.
            joints: The joint state that the policy saw: the anchor of relative actions.

        Raises:
            PolicyError: A wrong shape, a value that is not finite, or a path out of reach.
            ShapeError: Numbers that are no rotation.
        """
        return self.path(self.absolute(chunk, joints), joints.position, chunk.stamp)

    def path(self, actions: Array, start: Array, stamp: float) -> Trajectory:
        """Return the joint positions, gripper last, of absolute actions.

        Args:
            actions: (T, C), step k due `stamp` + (k + 1) step.
            start: (n,) where the joints were at `stamp`; what is not commanded stays there.
            stamp: Of the observation [s].

        Raises:
            PolicyError: The path leaves the arm's reach.
        """
        positions = np.empty((len(actions), self.robot.dof + 1))
        positions[:] = start
        for part, values in zip(self.policy.action, self._split(actions, self._columns)):
            kind = part.absolute_kind
            if kind == 'gripper':
                opening = np.clip(values[:, 0], 0.0, 1.0)
                if part.binary:
                    opening = snapped(opening, self._values(start, (kind,))['gripper'][0] > 0.5)
                positions[:, -1] = self._finger(opening)
            elif kind == 'joint_position':
                positions[:, :-1] = values
            elif kind == 'tool_pose':
                turns = Rotation.from_quat(values[:, 3:]).as_matrix()
                positions[:, :-1] = self._follow(start[:-1], values[:, :3], turns)
            else:
                positions[:, :-1] = self._follow(start[:-1], values, self._rotation)
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
        table = {
            'tool_position': [length] * 3,
            'tool_pose': [length] * 3 + [angle] * 4,
            'joint_position': [angle] * self.robot.dof,
            'gripper': [opening],
        }
        return np.array([x for part in self.policy.action for x in table[part.absolute_kind]])

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
        kinds = [part.absolute_kind for part in self.policy.action]
        values = self._values(position, kinds)
        return [values[kind] for kind in kinds]

    def _values(self, position: Array, kinds: Collection[str]) -> dict[str, Array]:
        """Return where the robot is (C,) by each kind, as `slices.COLUMNS` has it."""
        names = self.robot.joint_names
        if position.shape != (len(names),) or not np.isfinite(position).all():
            raise PolicyError(
                f'joint state has positions {position}, expected {len(names)} finite ones: '
                f'{", ".join(names)}.'
            )
        arm, gripper = position[:-1], self.robot.gripper
        values = {'joint_position': arm}
        if 'gripper' in kinds:
            opening = (position[-1] - gripper.closed) / (gripper.open - gripper.closed)
            values['gripper'] = np.array([opening])
        if 'tool_pose' in kinds or 'tool_position' in kinds:
            turn, values['tool_position'] = self.kinematics.fk(arm)
        if 'tool_pose' in kinds:
            quaternion = Rotation.from_matrix(turn).as_quat()
            values['tool_pose'] = np.append(values['tool_position'], quaternion)
        return values

    def _finger(self, opening: Array) -> Array:
        gripper = self.robot.gripper
        return gripper.closed + opening * (gripper.open - gripper.closed)

    def _follow(self, start: Array, points: Array, turns: Array) -> Array:
        path = self._ik.solve_path(start, turns, points)
        worst, turned = float(path.position_error.max()), float(path.rotation_error.max())
        if worst > REACH_TOLERANCE or turned > TURN_TOLERANCE:
            raise PolicyError(
                f'the tool path leaves the reach of {self.robot.name} by {worst:.3f} m and '
                f'{turned:.3f} rad (tolerance {REACH_TOLERANCE} m, {TURN_TOLERANCE} rad); nothing '
                'is sent.'
            )
        return path.q
