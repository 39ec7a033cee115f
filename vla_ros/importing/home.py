"""A home pose for an arm: in the middle, clear of everything, elbow up, able to go on anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from vla_ros.errors import KinematicsError
from vla_ros.fit import NEAR, TURN
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import RobotSpec
from vla_ros.safety.model import build_model
from vla_ros.safety.survey import survey
from vla_ros.types import Array

DRAWN = 4000  # poses that are compared
ROOM = 0.03  # [m] from itself at home, where there is so much
ABOVE = 0.05  # [m] above the floor
FORWARD = 0.35  # of the reach, how far the tool should be in front
LOW = 0.3  # of the reach, how high above the floor the tool should be


def find_home(robot: RobotSpec, named: Sequence[Array], rng: np.random.Generator) -> Array:
    """Return joint positions (n,) [rad] to begin from.

    The first of the named ones that is clear; else of the middle and of poses drawn inside the
    limits the one with the best sum of manipulability, nearness to the middle, a tool in front
    and not too high, and an elbow above it.

    Args:
        robot: With its pairs.
        named: Such as the SRDF's group states, best first.
        rng: Draws the poses.

    Raises:
        KinematicsError: No pose is clear of the arm itself and of the floor.
    """
    lower, upper = robot.limits('lower'), robot.limits('upper')
    middle, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
    model = build_model(robot, robot.urdf_path)
    needed = np.full(len(model.names), ROOM)
    needed[len(model.arm.pairs) :] = ABOVE
    for pose in named:
        if ((pose >= lower) & (pose <= upper)).all() and (survey(model, pose[None]) > 0.0).all():
            return pose
    straight = np.clip(0.0, lower + 0.1 * half, upper - 0.1 * half)
    near = middle + rng.uniform(-0.8, 0.8, (DRAWN, robot.dof)) * half
    poses: Array = np.concatenate(([middle, straight], near)).round(4)
    seen = survey(model, poses)
    for share in (1.0, 0.5, 0.1):
        clear = (seen >= share * needed).all(axis=1)
        if clear.any():
            break
    else:
        worst = model.names[int((seen > 0.0).mean(axis=0).argmin())]
        raise KinematicsError(
            f'robot {robot.name}: none of {len(poses)} poses is clear; {worst} overlap in most: '
            'name a base below what is in the way with --base, or disable pairs by an SRDF.'
        )
    poses = poses[clear]
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    scores = _scores(kinematics, robot, poses, np.abs(poses - middle) / half)
    order = np.argsort(-scores)
    able = (pose for pose in poses[order[:50]] if _goes_on(kinematics, robot, pose))
    return np.asarray(next(able, poses[order[0]]))


def _scores(kinematics: Kinematics, robot: RobotSpec, poses: Array, off: Array) -> Array:
    """Return how good each pose (N, n) is; `off` is its way from the middle, 1 at a limit."""
    rows = 6 if robot.dof >= 6 else 3
    agile, tools, elbows = [], [], []
    for pose in poses:
        jacobian = kinematics.jacobian(pose)[:rows]
        values = np.linalg.svd(jacobian, compute_uv=False)
        agile.append(np.prod(values[: robot.dof]) ** (1.0 / rows))
        tools.append(kinematics.fk(pose)[1])
        elbows.append(kinematics.heights(pose).max())
    tool, floor = np.array(tools), robot.floor_height or 0.0
    reach = np.linalg.norm(tool, axis=1).max()
    front = np.minimum(tool[:, 0] / reach, FORWARD) / FORWARD
    height = np.abs(tool[:, 2] - floor - LOW * reach) / reach
    aside = np.abs(tool[:, 1]) / reach
    elbow = np.array(elbows) > tool[:, 2]
    quick = np.array(agile) / max(max(agile), 1e-12)
    return quick + front + 0.5 * elbow - height - aside - (off**2).mean(axis=1)


def _goes_on(kinematics: Kinematics, robot: RobotSpec, pose: Array) -> bool:
    """Whether the tool can move from a pose along and, with six joints, turn about every axis."""
    ik = InverseKinematics(
        kinematics,
        lower=robot.limits('lower'),
        upper=robot.limits('upper'),
        posture=pose,
        tolerance=1e-4,
    )
    if robot.dof < 6:
        return True
    r, p = kinematics.fk(pose)
    ways = np.vstack([np.eye(3), -np.eye(3)])
    return all(
        ik.solve(pose, r, p + NEAR * way).converged
        and ik.solve(pose, Rotation.from_rotvec(TURN * way).as_matrix() @ r, p).converged
        for way in ways
    )
