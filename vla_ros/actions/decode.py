"""From joints to a policy's state vector, and from its actions back to joints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.errors import PolicyError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.types import ActionChunk, Array, JointState, Trajectory

# A residual beyond this means that the asked tool path leaves the arm's reach [m].
REACH_TOLERANCE = 0.02
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

    The tool keeps the orientation of the robot's home pose, because the policies of this
    package command positions; redundancy is spent on staying near home.
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
            tolerance=1e-4,
        )
        self.action_dim = width(policy.action, robot.dof)

    def state(self, joints: JointState) -> Array:
        """Return the state vector (S,) as PolicySpec.state declares it.

        Raises:
            PolicyError: The joint state is not finite or not of this robot.
        """
        values = self._values(joints.position)
        return np.concatenate([np.empty(0), *(values[s.kind] for s in self.policy.state)])

    def absolute(self, chunk: ActionChunk, joints: JointState) -> Array:
        """Return the actions (T, A) of a chunk, each slice relative to nothing: a + anchor.

        Args:
            chunk: Actions (T, A) in physical units, relative as PolicySpec.action declares.
            joints: The joint state that the policy saw: the anchor of relative slices.

        Raises:
            PolicyError: A wrong shape or a value that is not finite.
        """
        actions = self._checked(chunk.actions, 'the policy returned')
        return actions + self._anchor(joints)

    def relative(self, actions: Array, joints: JointState) -> Array:
        """Return actions (K, A) as the policy would give them: a - anchor, undoing `absolute`.

        Args:
            actions: Absolute actions (K, A) in physical units.
            joints: The joint state that the policy sees: the anchor of relative slices.

        Raises:
            PolicyError: A wrong shape or a value that is not finite.
        """
        return self._checked(actions, 'the prefix has') - self._anchor(joints)

    def decode(self, chunk: ActionChunk, joints: JointState) -> Trajectory:
        """Turn a chunk into joint positions, gripper last.

        Args:
            chunk: Actions (T, A) in physical units.
            joints: The joint state that the policy saw: the anchor of relative actions.

        Raises:
            PolicyError: A wrong shape, a value that is not finite, or a path out of reach.
        """
        return self.path(self.absolute(chunk, joints), joints.position, chunk.stamp)

    def path(self, actions: Array, start: Array, stamp: float) -> Trajectory:
        """Return the joint positions, gripper last, of absolute actions.

        Args:
            actions: (T, A), step k due `stamp` + (k + 1) step.
            start: (n,) where the joints were at `stamp`; what is not commanded stays there.
            stamp: Of the observation [s].

        Raises:
            PolicyError: The path leaves the arm's reach.
        """
        positions = np.empty((len(actions), self.robot.dof + 1))
        positions[:] = start
        first = 0
        for part in self.policy.action:
            size = width((part,), self.robot.dof)
            values = actions[:, first : first + size]
            first += size
            if part.kind == 'gripper':
                opening = np.clip(values[:, 0], 0.0, 1.0)
                if part.binary:
                    opening = snapped(opening, self._values(start)['gripper'][0] > 0.5)
                positions[:, -1] = self._finger(opening)
            elif part.kind == 'joint_position':
                positions[:, :-1] = values
            else:
                positions[:, :-1] = self._follow(start[:-1], values)
        times = self.policy.step * np.arange(1, len(actions) + 1, dtype=np.float64)
        return Trajectory(stamp, times, positions)

    def action(self, position: Array) -> Array:
        """Return the absolute action (A,) that holds joints (n,) [rad], [m] where they are."""
        values = self._values(position)
        return np.concatenate([np.empty(0), *(values[part.kind] for part in self.policy.action)])

    @property
    def held(self) -> NDArray[np.bool_]:
        """Which dimensions (A,) of an action are never interpolated: those of grippers."""
        return self._of_kinds({'gripper': 1.0}) == 1.0

    @property
    def scale(self) -> Array:
        """Differences (A,) that count alike: 0.1 m, 0.3 rad, an open gripper for a closed one."""
        return self._of_kinds({'tool_position': 0.1, 'joint_position': 0.3, 'gripper': 1.0})

    def _of_kinds(self, table: Mapping[str, float]) -> Array:
        return np.concatenate([
            np.full(width((part,), self.robot.dof), table.get(part.kind, 0.0))
            for part in self.policy.action
        ])  # fmt: skip

    def _checked(self, actions: Array, source: str) -> Array:
        if actions.shape[1] != self.action_dim:
            raise PolicyError(
                f'actions have {actions.shape[1]} dimensions, expected {self.action_dim}.'
            )
        if not np.isfinite(actions).all():
            raise PolicyError(f'{source} actions that are not finite; nothing is sent.')
        return actions

    def _anchor(self, joints: JointState) -> Array:
        """Return what is added to each action dimension (A,); 0 where it is absolute."""
        values = self._values(joints.position)
        anchor = [np.empty(0)]
        for part in self.policy.action:
            value = values[part.kind]
            anchor.append(value if part.relative_to == 'observation' else np.zeros_like(value))
        return np.concatenate(anchor)

    def _values(self, position: Array) -> dict[str, Array]:
        names = self.robot.joint_names
        if position.shape != (len(names),) or not np.isfinite(position).all():
            raise PolicyError(
                f'joint state has positions {position}, expected {len(names)} finite ones: '
                f'{", ".join(names)}.'
            )
        arm = position[:-1]
        gripper = self.robot.gripper
        opening = (position[-1] - gripper.closed) / (gripper.open - gripper.closed)
        return {
            'tool_position': self.kinematics.fk(arm)[1],
            'joint_position': arm,
            'gripper': np.array([opening]),
        }

    def _finger(self, opening: Array) -> Array:
        gripper = self.robot.gripper
        return gripper.closed + opening * (gripper.open - gripper.closed)

    def _follow(self, start: Array, points: Array) -> Array:
        path = self._ik.solve_path(start, self._rotation, points)
        worst = float(path.position_error.max())
        if worst > REACH_TOLERANCE:
            raise PolicyError(
                f'the tool path leaves the reach of {self.robot.name} by {worst:.3f} m '
                f'(tolerance {REACH_TOLERANCE} m); nothing is sent.'
            )
        return path.q
