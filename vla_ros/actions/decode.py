"""From joints to a policy's state vector, and from its actions back to joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.types import ActionChunk, Array, JointState, Trajectory

# A residual beyond this means that the asked tool path leaves the arm's reach [m].
REACH_TOLERANCE = 0.02


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
        values = self._values(joints)
        return np.concatenate([np.empty(0), *(values[s.kind] for s in self.policy.state)])

    def decode(self, chunk: ActionChunk, joints: JointState) -> Trajectory:
        """Turn a chunk into joint positions, gripper last; velocities by finite differences.

        Args:
            chunk: Actions (T, A) in physical units.
            joints: The joint state that the policy saw: the anchor of relative actions.

        Raises:
            PolicyError: A wrong shape, a value that is not finite, or a path out of reach.
        """
        actions = chunk.actions
        if actions.shape[1] != self.action_dim:
            raise PolicyError(
                f'actions have {actions.shape[1]} dimensions, expected {self.action_dim}.'
            )
        if not np.isfinite(actions).all():
            raise PolicyError('the policy returned actions that are not finite; nothing is sent.')
        anchor = self._values(joints)
        positions = np.empty((len(actions), self.robot.dof + 1))
        positions[:] = joints.position
        start = 0
        for part in self.policy.action:
            size = width((part,), self.robot.dof)
            values = actions[:, start : start + size]
            start += size
            if part.relative_to == 'observation':
                values = anchor[part.kind] + values
            if part.kind == 'gripper':
                positions[:, -1] = self._finger(np.clip(values[:, 0], 0.0, 1.0))
            elif part.kind == 'joint_position':
                positions[:, :-1] = values
            else:
                positions[:, :-1] = self._follow(joints.position[:-1], values)
        times = chunk.step * np.arange(1, len(actions) + 1, dtype=np.float64)
        return Trajectory(chunk.stamp, times, positions)

    def _values(self, joints: JointState) -> dict[str, Array]:
        names, position = self.robot.joint_names, joints.position
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
