"""Kinematics: poses and Jacobians of one arm from its URDF, by Pinocchio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pinocchio as pin

from vla_ros.errors import KinematicsError, UnknownNameError
from vla_ros.types import Array


class Kinematics:
    """Forward kinematics and Jacobians in the base frame; n arm joints, the rest locked at zero.

    Not thread-safe: it works in one preallocated buffer.
    """

    def __init__(self, urdf: Path, joints: Sequence[str], tool_frame: str) -> None:
        """Read the model.

        Args:
            urdf: The robot description.
            joints: The arm's joints, in the order of every `q`.
            tool_frame: The link whose pose `fk` and `jacobian` give.

        Raises:
            KinematicsError: The URDF cannot be read or a joint is not a one-axis joint.
            UnknownNameError: It has no such joint or frame.
        """
        try:
            full = pin.buildModelFromUrdf(str(urdf))
        except (ValueError, RuntimeError) as error:
            raise KinematicsError(f'cannot read the robot model {urdf}: {error}.') from error
        known = list(full.names)[1:]
        for joint in joints:
            if joint not in known:
                raise UnknownNameError('joint', joint, known, Path(urdf).name)
        self.carriers: dict[str, str] = {  # link -> joint that carries it, '' for the base
            f.name: full.names[f.parentJoint] if f.parentJoint else ''
            for f in full.frames
            if f.type == pin.FrameType.BODY
        }
        locked = [i for i, name in enumerate(full.names) if i > 0 and name not in joints]
        self.model = pin.buildReducedModel(full, locked, pin.neutral(full))
        if self.model.nq != len(joints) or self.model.nv != len(joints):
            raise KinematicsError(
                f'{Path(urdf).name}: {len(joints)} joints have {self.model.nq} coordinates, '
                f'expected one each; use revolute or prismatic joints.'
            )
        if list(self.model.names)[1:] != list(joints):
            raise KinematicsError(
                f'joints are {list(joints)}, expected the order of the chain: '
                f'{list(self.model.names)[1:]}.'
            )
        self.joints = tuple(joints)
        self.tool_frame = tool_frame
        self.lower: Array = np.array(self.model.lowerPositionLimit)  # (n,) [rad]
        self.upper: Array = np.array(self.model.upperPositionLimit)  # (n,) [rad]
        self._data = self.model.createData()
        self._tool = self._frame(tool_frame)

    def fk(self, q: Array) -> tuple[Array, Array]:
        """Return the tool's rotation (3, 3) and position (3,) [m] in the base frame."""
        return self.frame_pose(q, self.tool_frame)

    def frame_pose(self, q: Array, frame: str) -> tuple[Array, Array]:
        """Return rotation (3, 3) and position (3,) [m] of a link in the base frame.

        Raises:
            UnknownNameError: The model has no such link.
        """
        index = self._tool if frame == self.tool_frame else self._frame(frame)
        pin.framesForwardKinematics(self.model, self._data, q)
        pose = self._data.oMf[index]
        return pose.rotation.copy(), pose.translation.copy()

    def heights(self, q: Array) -> Array:
        """Return z of every joint's origin in the base frame (n,) [m]."""
        pin.forwardKinematics(self.model, self._data, q)
        return np.array([place.translation[2] for place in list(self._data.oMi)[1:]])

    def jacobian(self, q: Array) -> Array:
        """Return J (6, n) at the tool: [v; w] = J qd, base-aligned axes [m/s, rad/s]."""
        return pin.computeFrameJacobian(
            self.model, self._data, q, self._tool, pin.LOCAL_WORLD_ALIGNED
        )

    def fk_jacobian(self, q: Array) -> tuple[Array, Array, Array]:
        """Return rotation, position and J of the tool in one pass; views, valid until the next."""
        jacobian = self.jacobian(q)
        pose = pin.updateFramePlacement(self.model, self._data, self._tool)
        return pose.rotation, pose.translation, jacobian

    def _frame(self, name: str) -> int:
        index = self.model.getFrameId(name)
        if index >= self.model.nframes:
            raise UnknownNameError('link', name, (f.name for f in self.model.frames))
        return int(index)
