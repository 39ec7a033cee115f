"""A simulated arm at a table with coloured objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import cos, isfinite, sin
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from vla_ros.errors import SimulationError, UnknownNameError
from vla_ros.robot import RobotSpec
from vla_ros.sim.hazards import Hazard
from vla_ros.sim.render import Renderers
from vla_ros.sim.scene import build, COLOURS, ObjectSpec, TABLETOP, TIMESTEP
from vla_ros.types import Array, Image, JointState

Vector = Sequence[float] | Array

_PARKED = (10.0, 0.0)  # [m] on the table's plane, behind every camera


@dataclass(frozen=True)
class Contact:
    """One touch between two bodies."""

    first: str
    second: str
    force: float  # [N] along the normal
    distance: float  # [m] negative = penetration


class World:
    """Physics, cameras and poses of one scene. The base frame is the world frame.

    The arm follows its reference by joint servos with velocity feed-forward; the reference
    goes to each command in a straight line, as joint trajectory controllers do.
    """

    def __init__(
        self,
        robot: RobotSpec,
        urdf: Path,
        objects: tuple[ObjectSpec, ...] = TABLETOP,
        hazard: Hazard | None = None,
    ) -> None:
        """Compile the scene once; `reset` then makes episodes of it.

        Args:
            robot: The arm.
            urdf: Its description.
            objects: What lies on the table.
            hazard: What is in the way.

        Raises:
            SimulationError: The URDF and the robot file do not fit each other.
        """
        self.robot = robot
        self.model = build(robot, Path(urdf), objects, hazard)
        self.data = mujoco.MjData(self.model)
        self.objects, self.hazard = {item.name: item for item in objects}, hazard
        joints = [self.model.joint(name) for name in robot.joint_names]
        self._qpos = np.array([j.qposadr[0] for j in joints])
        self._qvel = np.array([j.dofadr[0] for j in joints])
        self._ctrl = np.array([self.model.actuator(name).id for name in robot.joint_names])
        gain = self.model.actuator_gainprm[self._ctrl, 0]
        self._lead = -self.model.actuator_biasprm[self._ctrl, 2] / gain  # [s] damping / stiffness
        self._lead[robot.dof :] = 0.0
        self._tools = {arm.name: self.model.body(arm.tool_frame).id for arm in robot.arms}
        self._dt = float(self.model.opt.timestep)  # [s]
        self._strokes = [g.velocity * self._dt for g in robot.grippers]  # [m] or [rad] a time step
        self._followers = [  # of joints that mimic: which, what, and q = offset + ratio * q_leader
            (self.model.jnt_qposadr[a], self.model.jnt_qposadr[b], *self.model.eq_data[e, :2])
            for e, (a, b) in enumerate(zip(self.model.eq_obj1id, self.model.eq_obj2id))
        ]
        self._hazards = np.array([self._body(n) for n in hazard.names] if hazard else [], int)
        self._renderers = Renderers(self.model)
        self.reset()

    def reset(
        self,
        arm: Array | None = None,
        gripper: ArrayLike | None = None,
        objects: Mapping[str, tuple[float, float, float]] | None = None,
        colours: Mapping[str, str] | None = None,
    ) -> None:
        """Start an episode at time 0, everything at rest.

        Args:
            arm: Joint positions (dof,) [rad]; None = home.
            gripper: Gripper joints (g,) [m] or [rad]; None = open.
            objects: Name -> x [m], y [m], yaw [rad], standing on the table; an object that is
                not named is parked out of sight.
            colours: Name -> colour, where it differs from the object's own.

        Raises:
            SimulationError: The joints are not finite or of the wrong number.
            UnknownNameError: There is no such object or colour.
        """
        start, dof = self.robot.ready, self.robot.dof
        arm = start[:dof] if arm is None else arm
        start = np.append(np.asarray(arm, float), start[dof:] if gripper is None else gripper)
        self._check(start)
        placed, painted = dict(objects or {}), dict(colours or {})
        for name in (*placed, *painted):
            self._object(name)
        for colour in painted.values():
            if colour not in COLOURS:
                raise UnknownNameError('colour', colour, COLOURS)
        mujoco.mj_resetData(self.model, self.data)
        self._reference, self._goal = start, start.copy()
        self._rise, self._ahead = np.zeros((2, len(start)))
        self._remaining = 0
        self.data.qpos[self._qpos] = start
        for follower, leader, offset, ratio in self._followers:
            self.data.qpos[follower] = offset + ratio * self.data.qpos[leader]
        self.data.ctrl[self._ctrl] = start
        for index, (name, item) in enumerate(self.objects.items()):
            x, y, yaw = placed.get(name, (_PARKED[0], _PARKED[1] + 0.3 * index, 0.0))
            self._place(name, (x, y, item.rest_height), (0.0, 0.0, sin(yaw / 2), cos(yaw / 2)))
            self.model.geom(name).rgba[:3] = COLOURS[painted.get(name, item.colour)]
        mujoco.mj_forward(self.model, self.data)

    @property
    def time(self) -> float:
        """Simulated time since the reset [s]."""
        return float(self.data.time)

    def set_command(self, arm: Array, gripper: ArrayLike, *, over: float = 0.005) -> None:
        """Set where the joints are to go.

        Args:
            arm: Joint positions (dof,) [rad].
            gripper: Gripper joints (g,) [m] or [rad]; each moves at the gripper's own speed.
            over: The arm's reference reaches `arm` after this time, in a straight line [s].

        Raises:
            SimulationError: A value is not finite or the shape is wrong.
        """
        goal = np.append(np.asarray(arm, dtype=float), gripper)
        if goal.shape != self._goal.shape or not isfinite(goal.sum()):  # else all are finite
            self._check(goal)
        steps = max(1, round(over / self._dt))
        self._remaining = steps
        self._goal = goal
        slope = (goal - self._reference) / (steps * self._dt)
        self._rise, self._ahead = self._dt * slope, self._lead * slope

    def step(self, seconds: float = TIMESTEP) -> None:
        """Advance the physics by a whole number of time steps."""
        dof, goal = self.robot.dof, self._goal
        data, reference, ctrl = self.data, self._reference, self.data.ctrl
        arm, rise = reference[:dof], self._rise[:dof]
        for _ in range(round(seconds / self._dt)):
            if self._remaining > 0:
                self._remaining -= 1
                arm += rise
                if self._remaining == 0:
                    arm[:] = goal[:dof]
                ctrl[self._ctrl] = reference + self._ahead  # by velocity
            else:
                ctrl[self._ctrl] = reference
            for finger, most in enumerate(self._strokes, dof):  # one or two: quicker by number
                reference[finger] += min(max(goal[finger] - reference[finger], -most), most)
            self._move_hazard()
            mujoco.mj_step(self.model, data)
        if not np.isfinite(data.qpos).all():
            raise SimulationError(f'the simulation diverged at {self.time:.3f} s; reset it.')

    def joint_state(self, stamp: float | None = None) -> JointState:
        """Return measured joints of arms and grippers, stamped with simulated time or another."""
        stamp = self.time if stamp is None else stamp
        return JointState(stamp, self.data.qpos[self._qpos], self.data.qvel[self._qvel])

    def tool_pose(self, arm: str | None = None) -> tuple[Array, Array]:
        """Return rotation (3, 3) and position (3,) [m] of the tool of an arm, or of the only."""
        tool = self._tools[self.robot.arm(arm).name]
        return self.data.xmat[tool].reshape(3, 3).copy(), self.data.xpos[tool].copy()

    def link_pose(self, link: str) -> tuple[Array, Array]:
        """Return rotation (3, 3) and position (3,) [m] of any body."""
        body = self._body(link)
        return self.data.xmat[body].reshape(3, 3).copy(), self.data.xpos[body].copy()

    def object_position(self, name: str) -> Array:
        """Return an object's centre (3,) [m]."""
        self._object(name)
        return self.data.xpos[self.model.body(name).id].copy()

    def object_pose(self, name: str) -> tuple[Array, Array]:
        """Return an object's position (3,) [m] and quaternion (4,) xyzw."""
        self._object(name)
        body = self.model.body(name).id
        return self.data.xpos[body].copy(), self.data.xquat[body][[1, 2, 3, 0]]

    def set_object_pose(
        self, name: str, position: Vector, quaternion: Vector = (0.0, 0.0, 0.0, 1.0)
    ) -> None:
        """Put an object at a position (3,) [m] and quaternion (4,) xyzw, at rest."""
        self._place(name, position, quaternion)
        mujoco.mj_forward(self.model, self.data)

    def contacts(self) -> list[Contact]:
        """Return every touch, once for each contact point."""
        found = []
        force = np.zeros(6)
        for index, contact in enumerate(self.data.contact):
            mujoco.mj_contactForce(self.model, self.data, index, force)
            first, second = (self.model.body(self.model.geom_bodyid[g]).name for g in contact.geom)
            found.append(Contact(first, second, float(force[0]), float(contact.dist)))
        return found

    def touches(self, name: str) -> frozenset[str]:
        """Return the names of the bodies that touch a body."""
        pairs = self.model.geom_bodyid[self.data.contact.geom]  # (contacts, 2)
        near = pairs[(pairs == self._body(name)).any(axis=1)].ravel()
        return frozenset(self.model.body(index).name for index in set(near.tolist())) - {name}

    def hazard_gaps(self) -> dict[str, float]:
        """Return the distance [m] from the hazard to each other body within SEEN_FROM of it."""
        found = dict[str, float]()
        contact = self.data.contact
        bodies = self.model.geom_bodyid[contact.geom]
        ours = np.isin(bodies, self._hazards)
        for row in np.flatnonzero(ours[:, 0] != ours[:, 1]):
            other = self.model.body(bodies[row][~ours[row]][0]).name
            found[other] = min(found.get(other, np.inf), float(contact.dist[row]))
        return found

    def hazard_positions(self) -> Array:
        """Return the positions (bodies, 3) [m] of the hazard's bodies."""
        return self.data.xpos[self._hazards].copy()

    def render(self, camera: str, width: int = 640, height: int = 480) -> Image:
        """Return the picture (height, width, 3) uint8 of a camera of the robot file."""
        self.robot.camera(camera)
        return self._renderers.draw(self.data, camera, width, height)

    def camera_pose(self, camera: str) -> tuple[Array, Array]:
        """Return a camera's rotation (3, 3) and position (3,) [m]; x right, y down, z forward."""
        self.robot.camera(camera)
        view = self.data.camera(camera)
        return view.xmat.reshape(3, 3) * (1.0, -1.0, -1.0), view.xpos.copy()

    def camera_matrix(self, camera: str, width: int = 640, height: int = 480) -> Array:
        """Return the pinhole matrix K (3, 3) [px] of a picture of that size."""
        focal = 0.5 * height / np.tan(0.5 * self.robot.camera(camera).fovy)
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

    def close(self) -> None:
        """Free the renderers."""
        self._renderers.close()

    def _move_hazard(self) -> None:
        """Put a hazard that moves where it is at the end of the next time step."""
        if self.hazard is not None and self.hazard.motion is not None:
            body = self.model.body_mocapid[self._hazards[0]]
            solids = self.hazard.at(self.time + self._dt)
            self.data.mocap_pos[body] = solids[0].position

    def _check(self, joints: Array) -> None:
        arms, grippers = self.robot.dof, len(self.robot.grippers)
        if joints.shape != (arms + grippers,) or not np.isfinite(joints).all():
            raise SimulationError(
                f'joint command {joints} has shape {joints.shape}, expected {arms} finite arm '
                f'joints and {grippers} of grippers.'
            )

    def _object(self, name: str) -> None:
        if name not in self.objects:
            raise UnknownNameError('object', name, self.objects)

    def _body(self, name: str) -> int:
        index = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, name)
        if index < 0:
            known = [self.model.body(i).name for i in range(self.model.nbody)]
            raise UnknownNameError('body', name, known)
        return index

    def _place(self, name: str, position: Vector, quaternion: Vector) -> None:
        self._object(name)
        x, y, z, w = quaternion
        mocap = self.model.body_mocapid[self.model.body(name).id]
        if mocap >= 0:
            self.data.mocap_pos[mocap], self.data.mocap_quat[mocap] = position, (w, x, y, z)
            return
        joint = self.data.joint(name)
        joint.qpos[:3], joint.qpos[3:] = position, (w, x, y, z)
        joint.qvel[:] = 0.0
