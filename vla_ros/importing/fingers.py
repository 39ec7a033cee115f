"""Where the fingers of a gripper can be, and which end of its range is open."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import pinocchio as pin
from scipy.spatial import cKDTree, ConvexHull, QhullError

from vla_ros.importing.description import Joint
from vla_ros.importing.parts import Parts
from vla_ros.kinematics.solids import joined, Solid
from vla_ros.types import Array

SLACK = 1e-3  # [m] that a finger may be from the nearest place that is looked at
MOST = {1: 200, 2: 24}  # joints that move a finger -> most places of each; of more joints, 6


def sweep(model: pin.Model, parts: Parts, link: str, solid: Solid) -> Solid:
    """Return all places of a finger in the frame of its carrier, for every place of its joints.

    No point moves further than its lever for one radian, so what lies between two places that
    are looked at is within lever times half of their distance of one, which the radius takes up.
    """
    chain = chain_of(model, parts, link)
    leaders = sorted({joint.leader or joint.name for joint in chain})
    levers = _levers(model, chain, link, solid)
    known = {joint.name: joint for joint in parts.fingers}
    ways, slack = [], 0.0
    for name in leaders:
        low, high = known[name].lower, known[name].upper
        wanted = np.ceil(levers[name] * (high - low) / (2.0 * SLACK))
        count = int(np.clip(wanted, 1, MOST.get(len(leaders), 6)))
        step = (high - low) / count
        ways.append(low + step * (np.arange(count) + 0.5))
        slack += levers[name] * step / 2.0
    hull, found = _hull(solid), []
    for values in product(*ways):
        turn, place = pose(model, parts, link, dict(zip(leaders, values)))
        found.append(hull.moved(turn, place))
    whole = joined(found)
    return Solid(whole.triangles, whole.radius + slack)


def pose(
    model: pin.Model, parts: Parts, link: str, values: Mapping[str, float]
) -> tuple[Array, Array]:
    """Return rotation (3, 3) and position (3,) [m] of a finger in the frame of its carrier."""
    q = pin.neutral(model)
    for joint in parts.fingers:
        value = values.get(joint.leader or joint.name, 0.0)
        q[model.joints[model.getJointId(joint.name)].idx_q] = joint.ratio * value + joint.shift
    data = model.createData()
    pin.framesForwardKinematics(model, data, q)
    base, finger = (data.oMf[model.getFrameId(name)] for name in (parts.carrier, link))
    place = base.actInv(finger)
    return place.rotation, place.translation


def ends(model: pin.Model, parts: Parts, solids: Mapping[str, Solid]) -> tuple[float, float]:
    """Return where the gripper is closed and where it is open [m] or [rad].

    Open is where the tips, the points of each finger farthest from the carrier, have more room to
    what else there is in the hand.
    """
    assert parts.gripper is not None
    low, high = parts.gripper.lower, parts.gripper.upper
    rooms = []
    for value in (low, high):
        clouds = {}
        for link in solids:
            if link == parts.carrier or chain_of(model, parts, link):
                turn, place = pose(model, parts, link, {parts.gripper.name: value})
                clouds[link] = solids[link].moved(turn, place).triangles.reshape(-1, 3)
        nearest = []
        for link, cloud in clouds.items():
            others = [c for other, c in clouds.items() if other != link]
            if link != parts.carrier and others:
                tip = cloud[np.argmax(np.linalg.norm(cloud, axis=1))]
                nearest.append(cKDTree(np.concatenate(others)).query(tip)[0])
        rooms.append(min(nearest, default=0.0))
    return (low, high) if rooms[1] >= rooms[0] else (high, low)


def chain_of(model: pin.Model, parts: Parts, link: str) -> list[Joint]:
    """Return the finger joints that move a link, the last one first; none of a still link."""
    known = {joint.name: joint for joint in parts.fingers}
    joint, chain = model.frames[model.getFrameId(link)].parentJoint, []
    while model.names[joint] in known:
        chain.append(known[model.names[joint]])
        joint = model.parents[joint]
    return chain


def _levers(model: pin.Model, chain: list[Joint], link: str, solid: Solid) -> dict[str, float]:
    """Return how far any point of a finger moves at most, for one unit of each leader [m]."""
    levers: dict[str, float] = {}
    reach = float(np.linalg.norm(solid.triangles, axis=2).max() + solid.radius.max())
    reach += float(np.linalg.norm(model.frames[model.getFrameId(link)].placement.translation))
    for joint in chain:
        sliding = joint.kind == 'prismatic'
        leader = joint.leader or joint.name
        levers[leader] = levers.get(leader, 0.0) + abs(joint.ratio) * (1.0 if sliding else reach)
        place = model.jointPlacements[model.getJointId(joint.name)].translation
        reach += float(np.linalg.norm(place))
        reach += max(abs(joint.lower), abs(joint.upper)) if sliding else 0.0
    return levers


def _hull(solid: Solid) -> Solid:
    """Return the convex hull of a solid; itself, where it is round or flat."""
    points = solid.triangles.reshape(-1, 3)
    try:
        faces = points[ConvexHull(points).simplices]
    except (QhullError, ValueError):
        return solid
    if solid.radius.any():
        return solid
    return Solid(faces, np.zeros(len(faces)))
