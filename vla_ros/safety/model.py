"""The collision model: constants of the compiled core, the names of its rows, what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio as pin

from vla_ros.errors import KinematicsError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.safety.chain import Arm, Ints
from vla_ros.safety.enclose import enclose
from vla_ros.types import Array

Placement = tuple[Array, Array]  # rotation (3, 3) and position (3,) [m] in a parent frame


@dataclass(frozen=True)
class CollisionModel:
    """One robot as the compiled core sees it; capsules and rows in the core's order."""

    arm: Arm
    capsules: tuple[str, ...]  # the name of each
    parts: tuple[str, ...]  # of each capsule: 'link', 'finger', 'held' or 'outline'
    excess: tuple[
        float, ...
    ]  # [m] of each: how far it sticks out beyond what it encloses, if held
    names: tuple[str, ...]  # of every pair and floor row, such as 'hand/table'
    hand: Mapping[
        str, Placement
    ]  # links that can hold something -> pose in the last joint's frame


def build_model(robot: RobotSpec, urdf: Path) -> CollisionModel:
    """Build the collision model of a robot.

    Raises:
        KinematicsError: The arm is not one chain of revolute joints, or a capsule is fixed to a
            link that another joint moves.
        UnknownNameError: A capsule names a link that the URDF lacks.
    """
    kinematics = Kinematics(urdf, robot.arm_joints, robot.tool_frame)
    model, data = kinematics.model, kinematics.model.createData()
    n = robot.dof
    if [int(model.parents[j + 1]) for j in range(n)] != list(range(n)):
        raise KinematicsError(f'robot {robot.name}: the joints are not one chain in order.')
    placements = [model.jointPlacements[j + 1] for j in range(n)]
    pin.computeJointJacobians(model, data, pin.neutral(model))
    axis = np.zeros((n, 3))
    for j in range(n):
        twist = pin.getJointJacobian(model, data, j + 1, pin.LOCAL)[:, j]
        axis[j] = twist[3:]
        if np.abs(twist[:3]).max() > 1e-12:
            name = robot.arm_joints[j]
            raise KinematicsError(f"joint '{name}' is not revolute; the filter needs that.")
    capsules = [_in_joint_frame(kinematics, c.link, c.a, c.b) for c in robot.capsules]
    joint = np.array([c[0] for c in capsules], np.int64)
    offset = np.array([p.translation for p in placements])
    turn = np.array([p.rotation for p in placements])
    a, b = np.array([c[1] for c in capsules]), np.array([c[2] for c in capsules])
    names = tuple(c.name for c in robot.capsules)
    pairs = _pairs(names, joint, {frozenset(p) for p in robot.ignored_pairs})
    floor = -np.inf if robot.floor_height is None else robot.floor_height
    above = [
        i for i in range(len(names)) if np.isfinite(floor) and names[i] not in robot.floor_exempt
    ]
    arm = Arm(
        turn=turn,
        offset=offset,
        axis=axis,
        capsule_joint=joint,
        capsule_a=a,
        capsule_b=b,
        capsule_radius=np.array([c.radius for c in robot.capsules]),
        lever=_levers(turn, offset, axis, joint, a, b),
        pairs=np.array(pairs, np.int64).reshape(-1, 2),
        above_floor=np.array(above, np.int64),
        moving=np.flatnonzero(joint >= 0),
        floor=floor,
        tool=_in_joint_frame(kinematics, robot.tool_frame, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))[1],
    )
    return CollisionModel(
        arm=arm,
        capsules=names,
        parts=tuple('finger' if n in robot.finger_capsules else 'link' for n in names),
        excess=(0.0,) * len(names),
        names=_row_names(arm, names),
        hand=links_in_hand(kinematics),
    )


def links_in_hand(kinematics: Kinematics) -> dict[str, Placement]:
    """Return the links that the last arm joint carries, with their poses in its frame."""
    model, last = kinematics.model, kinematics.joints[-1]
    links = {}
    for link, joint in kinematics.carriers.items():
        if joint == last:
            place = model.frames[model.getFrameId(link)].placement
            links[link] = place.rotation.copy(), place.translation.copy()
    return links


def with_held(
    model: CollisionModel, held: Sequence[Obstacle], supports: bool = False
) -> CollisionModel:
    """Return the model of an arm that holds something.

    What is held is checked against the links of the arm that do not carry it, the floor and the
    obstacles. Its capsules reach beyond it, so its corners stand for it where it is put down.

    Args:
        model: The arm with an empty hand.
        held: Solids in the frame of the link each is attached to.
        supports: Whether any obstacle is a support.

    Raises:
        UnknownNameError: A link is not in the hand.
    """
    if not held:
        return model
    arm, count, last = model.arm, len(model.capsules), len(model.arm.axis) - 1
    ends: list[Array] = []
    names: list[str] = []
    parts: list[str] = []
    radius: list[float] = []
    excess: list[float] = []
    down: list[int] = []  # those above the floor
    for o in held:
        if o.attached_to not in model.hand:
            raise UnknownNameError('link that can hold', o.attached_to, model.hand)
        turn, place = model.hand[o.attached_to]
        hull = enclose(o)
        corners = hull.outline if len(hull.outline) else hull.body
        for part, segments, r, e in (
            ('held', hull.body, hull.radius, hull.excess),
            ('outline', hull.outline, hull.slack, 0.0),
        ):
            for segment in segments:
                if segments is corners:
                    down.append(count + len(ends))
                ends.append(segment @ turn.T + place)
                names.append(f'held:{o.name}')
                parts.append(part)
                radius.append(r)
                excess.append(e)
    a, b = np.array([e[0] for e in ends]), np.array([e[1] for e in ends])
    joint = np.full(len(ends), last, np.int64)
    others = np.flatnonzero(arm.capsule_joint < last)
    body = count + np.flatnonzero([part == 'held' for part in parts])
    moving = body if not supports else count + np.arange(len(ends))
    floor_rows = down if np.isfinite(arm.floor) else []
    arm = arm._replace(
        capsule_joint=np.concatenate([arm.capsule_joint, joint]),
        capsule_a=np.concatenate([arm.capsule_a, a]),
        capsule_b=np.concatenate([arm.capsule_b, b]),
        capsule_radius=np.concatenate([arm.capsule_radius, radius]),
        lever=np.concatenate([arm.lever, _levers(arm.turn, arm.offset, arm.axis, joint, a, b)]),
        pairs=np.concatenate(
            [arm.pairs, np.array([(i, k) for k in body for i in others], np.int64).reshape(-1, 2)]
        ),
        above_floor=np.concatenate([arm.above_floor, np.array(floor_rows, np.int64)]),
        moving=np.concatenate([arm.moving, moving]),
    )
    capsules = (*model.capsules, *names)
    return CollisionModel(
        arm=arm,
        capsules=capsules,
        parts=(*model.parts, *parts),
        excess=(*model.excess, *excess),
        names=_row_names(arm, capsules),
        hand=model.hand,
    )


def _row_names(arm: Arm, names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of every pair and floor row."""
    pairs = [f'{names[i]}/{names[k]}' for i, k in arm.pairs]
    return (*pairs, *(f'{names[i]}/floor' for i in arm.above_floor))


def _in_joint_frame(
    kinematics: Kinematics, link: str, a: tuple[float, ...], b: tuple[float, ...]
) -> tuple[int, Array, Array]:
    """Return the joint that carries a link (-1: base) and two points of it in that frame."""
    kinematics.frame_pose(np.zeros(kinematics.model.nq), link)  # an unknown link is named here
    frame = kinematics.model.frames[kinematics.model.getFrameId(link)]
    place = frame.placement
    return int(frame.parentJoint) - 1, place.act(np.array(a)), place.act(np.array(b))


def _pairs(
    names: Sequence[str], joint: Ints, ignored: set[frozenset[str]]
) -> list[tuple[int, int]]:
    """Return every pair of capsules that can move against each other, the inner one first."""
    found = []
    for i in range(len(names)):
        for k in range(i + 1, len(names)):
            if joint[i] != joint[k] and frozenset((names[i], names[k])) not in ignored:
                found.append((i, k) if joint[i] < joint[k] else (k, i))
    return found


def _levers(turn: Array, offset: Array, axis: Array, joint: Ints, a: Array, b: Array) -> Array:
    """Return for every capsule and joint a bound of the segment's distance from the axis.

    D(j, k) bounds |o_k - o_j| over all q: exact for one hop and, with the joint between free,
    |u + R w|^2 <= |u|^2 + |w|^2 + 2 (u_par w_par + |u_perp| |w_perp|) for two; longer ways by the
    triangle inequality over the best split. The capsule's end is the last hop.
    """
    lever = np.zeros((len(joint), len(axis)))
    inner = [turn[j].T @ offset[j] for j in range(len(axis))]  # o_j in the frame of joint j at 0
    for last in set(joint[joint >= 0]):
        mine = joint == last
        for ends in (a[mine], b[mine]):  # nodes after o_j: o_(j+1), ..., o_last, the end
            bound = np.zeros((last + 2, len(ends)))
            for j in range(last, -1, -1):
                node = ends if j == last else offset[j + 1][None]
                bound[j] = np.linalg.norm(node, axis=1) + bound[j + 1]
                if j < last:
                    node = ends if j + 1 == last else offset[j + 2][None]
                    two = _two_hops(inner[j + 1], node, axis[j + 1])
                    bound[j] = np.minimum(bound[j], two + bound[j + 2])
            lever[mine, : last + 1] = np.maximum(lever[mine, : last + 1], bound[:-1].T)
    return lever


def _two_hops(u: Array, w: Array, axis: Array) -> Array:
    """Return the largest |u + R w| over all turns R about an axis [m], for w (p, 3)."""
    u_par, w_par = float(u @ axis), w @ axis
    u_perp = np.linalg.norm(u - u_par * axis)
    w_perp = np.linalg.norm(w - w_par[:, None] * axis, axis=1)
    return np.hypot(u_par + w_par, u_perp + w_perp)
