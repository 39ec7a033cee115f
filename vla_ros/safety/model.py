"""The collision model: constants of the compiled core, the names of its rows, what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pinocchio as pin

from vla_ros.errors import KinematicsError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.safety.chain import Arm, Ints
from vla_ros.safety.config import SETTINGS
from vla_ros.safety.enclose import enclose
from vla_ros.types import Array

ORIGIN = (0.0, 0.0, 0.0)


class Grip(NamedTuple):
    """Where a link that can hold something is."""

    joint: int  # the last one of its arm
    turn: Array  # (3, 3) in the frame of that joint
    place: Array  # (3,) [m]


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
    hand: Mapping[str, Grip]  # links that can hold something


def build_model(robot: RobotSpec, urdf: Path) -> CollisionModel:
    """Build the collision model of a robot.

    Raises:
        KinematicsError: An arm is not one chain of revolute joints, or a capsule is fixed to a
            link that another joint moves.
        UnknownNameError: A capsule names a link that the URDF lacks.
    """
    arms = [Kinematics(urdf, arm.joint_names, arm.tool_frame) for arm in robot.arms]
    firsts = [robot.columns(arm).start for arm in robot.arms]
    joints = [_chain(robot, kinematics) for kinematics in arms]
    turn, offset, axis = (np.concatenate(rows) for rows in zip(*joints))
    chains = np.array([(f, f + len(k.joints) - 1) for f, k in zip(firsts, arms)], np.int64)
    capsules = [_in_joint_frame(arms, firsts, c.link, c.a, c.b) for c in robot.capsules]
    joint = np.array([c[0] for c in capsules], np.int64)
    a, b = np.array([c[1] for c in capsules]), np.array([c[2] for c in capsules])
    names = tuple(c.name for c in robot.capsules)
    floor = -np.inf if robot.floor_height is None else robot.floor_height
    above = [
        i for i in range(len(names)) if np.isfinite(floor) and names[i] not in robot.floor_exempt
    ]
    tools = [_in_joint_frame(arms, firsts, k.tool_frame, ORIGIN, ORIGIN)[1] for k in arms]
    arm = Arm(
        turn=turn,
        offset=offset,
        axis=axis,
        capsule_joint=joint,
        capsule_a=a,
        capsule_b=b,
        capsule_radius=np.array([c.radius for c in robot.capsules]),
        lever=_levers(turn, offset, axis, chains, joint, a, b),
        pairs=np.zeros((0, 2), np.int64),
        above_floor=np.array(above, np.int64),
        moving=np.flatnonzero(joint >= 0),
        floor=floor,
        tool=np.array(tools),
        chains=chains,
        first=_first(chains, joint),
        within=0,
    )
    ignored = {frozenset(pair) for pair in robot.ignored_pairs}
    arm = _with_pairs(arm, _pairs(arm, names, ignored))
    return CollisionModel(
        arm=arm,
        capsules=names,
        parts=tuple('finger' if n in robot.finger_capsules else 'link' for n in names),
        excess=(0.0,) * len(names),
        names=_row_names(arm, names),
        hand=links_in_hand(arms),
    )


def links_in_hand(arms: Sequence[Kinematics]) -> dict[str, Grip]:
    """Return the links that the last joint of an arm carries, with their poses in its frame."""
    links, last = {}, -1
    for kinematics in arms:
        last += len(kinematics.joints)
        for link, joint in kinematics.carriers.items():
            if joint == kinematics.joints[-1]:
                place = kinematics.model.frames[kinematics.model.getFrameId(link)].placement
                links[link] = Grip(last, place.rotation.copy(), place.translation.copy())
    return links


def with_held(
    model: CollisionModel, held: Sequence[Obstacle], supports: bool = False
) -> CollisionModel:
    """Return the model of a robot that holds something.

    What is held is checked against the links that do not carry it, what another hand holds, the
    floor and the obstacles. Its capsules reach beyond it, so its corners stand for it where it is
    put down.

    Args:
        model: The robot with empty hands.
        held: Solids in the frame of the link each is attached to.
        supports: Whether any obstacle is a support.

    Raises:
        UnknownNameError: A link is not in a hand.
    """
    if not held:
        return model
    arm, count = model.arm, len(model.capsules)
    ends: list[Array] = []
    names: list[str] = []
    parts: list[str] = []
    radius: list[float] = []
    excess: list[float] = []
    carriers: list[int] = []  # joint of each
    down: list[int] = []  # those above the floor
    for o in held:
        if o.attached_to not in model.hand:
            raise UnknownNameError('link that can hold', o.attached_to, model.hand)
        grip = model.hand[o.attached_to]
        hull = enclose(o)
        corners = hull.outline if len(hull.outline) else hull.body
        for part, segments, r, e in (
            ('held', hull.body, hull.radius, hull.excess),
            ('outline', hull.outline, hull.slack, 0.0),
        ):
            for segment in segments:
                if segments is corners:
                    down.append(count + len(ends))
                ends.append(segment @ grip.turn.T + grip.place)
                names.append(f'held:{o.name}')
                parts.append(part)
                radius.append(r)
                excess.append(e)
                carriers.append(grip.joint)
    a, b = np.array([e[0] for e in ends]), np.array([e[1] for e in ends])
    joint = np.array(carriers, np.int64)
    lever = _levers(arm.turn, arm.offset, arm.axis, arm.chains, joint, a, b)
    body = count + np.flatnonzero([part == 'held' for part in parts])
    moving = body if not supports else count + np.arange(len(ends))
    floor_rows = down if np.isfinite(arm.floor) else []
    every = np.concatenate([arm.capsule_joint, joint])
    pairs = [tuple(pair) for pair in arm.pairs.tolist()]
    for k in body:
        others = (*range(count), *body[body < k])
        pairs += [(i, k) for i in others if every[i] != every[k]]
    arm = arm._replace(
        capsule_joint=every,
        capsule_a=np.concatenate([arm.capsule_a, a]),
        capsule_b=np.concatenate([arm.capsule_b, b]),
        capsule_radius=np.concatenate([arm.capsule_radius, radius]),
        lever=np.concatenate([arm.lever, lever]),
        above_floor=np.concatenate([arm.above_floor, np.array(floor_rows, np.int64)]),
        moving=np.concatenate([arm.moving, moving]),
        first=np.concatenate([arm.first, _first(arm.chains, joint)]),
    )
    arm = _with_pairs(arm, pairs)
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


def _chain(robot: RobotSpec, kinematics: Kinematics) -> tuple[Array, Array, Array]:
    """Return rotation (k, 3, 3), position (k, 3) [m] and axis (k, 3) of the joints of an arm."""
    model, n = kinematics.model, len(kinematics.joints)
    if [int(model.parents[j + 1]) for j in range(n)] != list(range(n)):
        raise KinematicsError(f'robot {robot.name}: the joints are not one chain in order.')
    data, axis = model.createData(), np.zeros((n, 3))
    pin.computeJointJacobians(model, data, pin.neutral(model))
    for j in range(n):
        twist = pin.getJointJacobian(model, data, j + 1, pin.LOCAL)[:, j]
        axis[j] = twist[3:]
        if np.abs(twist[:3]).max() > 1e-12:
            name = kinematics.joints[j]
            raise KinematicsError(f"joint '{name}' is not revolute; the filter needs that.")
    placements = [model.jointPlacements[j + 1] for j in range(n)]
    turn = np.array([p.rotation for p in placements])
    return turn, np.array([p.translation for p in placements]), axis


def _first(chains: Ints, joint: Ints) -> Ints:
    """Return the first joint of the chain of each joint (m,), 0 for the base."""
    return np.array([chains[chains[:, 0] <= max(j, 0)][-1, 0] if j >= 0 else 0 for j in joint])


def _in_joint_frame(
    arms: Sequence[Kinematics],
    firsts: Sequence[int],
    link: str,
    a: tuple[float, ...],
    b: tuple[float, ...],
) -> tuple[int, Array, Array]:
    """Return the joint that carries a link (-1: base) and two points of it in that frame."""
    joint = -1
    for kinematics, first in zip(arms, firsts):
        kinematics.frame_pose(np.zeros(kinematics.model.nq), link)  # names an unknown link
        frame = kinematics.model.frames[kinematics.model.getFrameId(link)]
        place = frame.placement
        if frame.parentJoint > 0:
            joint = first + int(frame.parentJoint) - 1
            break
    return joint, place.act(np.array(a)), place.act(np.array(b))


def _with_pairs(arm: Arm, pairs: Sequence[tuple[int, ...]]) -> Arm:
    """Return the arm with pairs of capsules, those within a chain first."""
    across = [bool(min(arm.capsule_joint[[i, k]]) >= 0 and arm.first[i] != arm.first[k])
              for i, k in pairs]  # fmt: skip
    order = sorted(range(len(pairs)), key=across.__getitem__)
    found = np.array([pairs[i] for i in order], np.int64).reshape(-1, 2)
    return arm._replace(pairs=found, within=len(pairs) - sum(across))


def _pairs(arm: Arm, names: Sequence[str], ignored: set[frozenset[str]]) -> list[tuple[int, int]]:
    """Return every pair of capsules that can meet, the inner one first."""
    found, joint = [], arm.capsule_joint
    for i in range(len(names)):
        for k in range(i + 1, len(names)):
            if joint[i] == joint[k] or frozenset((names[i], names[k])) in ignored:
                continue
            if not _never_near(arm, i, k):
                found.append((i, k) if joint[i] < joint[k] else (k, i))
    return found


def _never_near(arm: Arm, i: int, k: int) -> bool:
    """Whether two capsules that no chain joins stay apart by the largest margin there is.

    Each is within its lever about the first joint of its chain, what the base carries at itself:
    |o_i - o_k| - lever_i - lever_k - r_i - r_k.
    """
    centres, reach = [], 0.0
    for c in i, k:
        middle = (arm.capsule_a[c] + arm.capsule_b[c]) / 2.0
        if arm.capsule_joint[c] < 0:
            centres.append(middle)
            reach += float(np.linalg.norm(arm.capsule_b[c] - middle)) + arm.capsule_radius[c]
        else:
            centres.append(arm.offset[arm.first[c]])
            reach += arm.lever[c, arm.first[c]] + arm.capsule_radius[c]
    return float(np.linalg.norm(centres[0] - centres[1])) - reach > SETTINGS['margin_self'].high


def _levers(
    turn: Array, offset: Array, axis: Array, chains: Ints, joint: Ints, a: Array, b: Array
) -> Array:
    """Return for every capsule and joint a bound of the segment's distance from the axis [m].

    0 for the joints that do not carry it. D(j, k) bounds |o_k - o_j| over all q: exact for one
    hop and, with the joint between free, |u + R w|^2 <= |u|^2 + |w|^2 +
    2 (u_par w_par + |u_perp| |w_perp|) for two; longer ways by the triangle inequality over the
    best split. The capsule's end is the last hop.
    """
    lever = np.zeros((len(joint), len(axis)))
    inner = [turn[j].T @ offset[j] for j in range(len(axis))]  # o_j in the frame of joint j at 0
    for last in set(joint[joint >= 0]):
        mine = joint == last
        first = int(_first(chains, np.array([last]))[0])
        for ends in (a[mine], b[mine]):  # nodes after o_j: o_(j+1), ..., o_last, the end
            bound = np.zeros((last + 2, len(ends)))
            for j in range(last, first - 1, -1):
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
