"""Kinematics: poses and Jacobians of one arm from its URDF, by Pinocchio."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pinocchio as pin

from vla_ros.errors import KinematicsError, UnknownNameError
from vla_ros.types import Array

LINK, JOINT = 'link: ', ' (joint)'  # where a link and a joint have one name


def read_model(urdf: Path) -> pin.Model:
    """Return the model of a URDF, in which the name of a frame means a link.

    Raises:
        KinematicsError: The URDF cannot be read.
    """
    try:
        model = pin.buildModelFromUrdf(str(urdf))
    except (ValueError, RuntimeError) as error:
        raise KinematicsError(f'cannot read the robot model {urdf}: {error}.') from error
    _put_links_first(model)
    return model


def _reduced(model: pin.Model, locked: Sequence[int]) -> pin.Model:
    """Return a model with joints locked at zero.

    A locked joint becomes a frame of its name, which pinocchio looks up by that name alone; so no
    link may be called as it is while that is done.
    """
    for frame in model.frames:
        if frame.type == pin.FrameType.BODY:
            frame.name = LINK + frame.name
        else:
            frame.name = frame.name.removesuffix(JOINT)
    reduced = pin.buildReducedModel(model, list(locked), pin.neutral(model))
    for frame in reduced.frames:
        frame.name = frame.name.removeprefix(LINK)
    _put_links_first(reduced)
    return reduced


def _put_links_first(model: pin.Model) -> None:
    """Rename the frames of joints that share the name of a link; it alone would mean neither."""
    links = {frame.name for frame in model.frames if frame.type == pin.FrameType.BODY}
    for frame in model.frames:
        if frame.type != pin.FrameType.BODY and frame.name in links:
            frame.name += JOINT


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
        full = read_model(urdf)
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
        self.model = _reduced(full, locked)
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
