"""Which pairs of capsules need no check, and which capsules cannot reach the floor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pinocchio as pin

from vla_ros.importing.body import Body
from vla_ros.importing.parts import Parts
from vla_ros.kinematics import read_model
from vla_ros.robot import RobotSpec
from vla_ros.safety.model import build_model
from vla_ros.safety.survey import survey
from vla_ros.types import Array

PLACES = 20_000  # joint positions inside the limits at which every pair is looked at
APART = 0.004  # [m] pairs that never come nearer are not checked
OFTEN = 0.5  # share of the places beyond which a touch of capsules is compared with the shapes
ALWAYS = 0.999
LOOKS = 300  # places at which shapes are compared
REASONS = {
    'neighbours': 'one joint between them',
    'apart': f'stay {1e3 * APART:g} mm or more apart',
    'shapes': f'their capsules overlap, the shapes in them stay {1e3 * APART:g} mm or more apart',
    'always': 'always overlap',
    'srdf': 'disabled by the SRDF',
}


@dataclass(frozen=True)
class Pairs:
    """What the safety filter leaves out, and why."""

    ignored: Mapping[tuple[str, str], str]  # pair of capsules -> key of REASONS
    floor_exempt: tuple[str, ...]
    checked: int
    nearest: float  # [m] smallest clearance seen of an ignored pair that stays apart
    thick: frozenset[tuple[str, str]]  # pairs whose capsules overlap often, and shapes may meet
    doubts: Mapping[tuple[str, str], float]  # [m] room of shapes whose capsules always overlap


def find_pairs(
    robot: RobotSpec,
    parts: Parts,
    body: Body,
    disabled: Collection[frozenset[str]],
    rng: np.random.Generator,
) -> Pairs:
    """Look at every pair at places drawn evenly inside the limits, by the filter's own distance.

    Args:
        robot: With no pair ignored.
        parts: Its joints.
        body: Its capsules, and the shapes in them.
        disabled: Pairs of links that need no check.
        rng: Draws the places.
    """
    robot = replace(robot, ignored_pairs=(), floor_exempt=())
    model = build_model(robot, robot.urdf_path)
    places = rng.uniform(robot.limits('lower'), robot.limits('upper'), (PLACES, robot.dof))
    seen = survey(model, places)
    shapes = Shapes(robot.urdf_path, parts, body)
    ignored: dict[tuple[str, str], str] = {}
    thick: set[tuple[str, str]] = set()
    doubts, nearest = {}, np.inf
    for row, (i, k) in enumerate(model.arm.pairs):
        pair, clear = (model.capsules[i], model.capsules[k]), seen[:, row]
        touching = float((clear <= 0.0).mean())
        links = [[link for link, names in body.links.items() if name in names] for name in pair]
        if abs(int(model.arm.capsule_joint[k]) - int(model.arm.capsule_joint[i])) == 1:
            ignored[pair] = 'neighbours'
        elif clear.min() >= APART:
            ignored[pair] = 'apart'
            nearest = min(nearest, float(clear.min()))
        elif all(frozenset((a, b)) in disabled for a in links[0] for b in links[1]):
            ignored[pair] = 'srdf'
        elif touching > OFTEN:
            room = shapes.nearest(links[0], links[1], places[clear <= 0.0][:LOOKS])
            if room >= APART:
                ignored[pair] = 'shapes'
            else:
                thick.add(pair)
                if touching >= ALWAYS:
                    ignored[pair] = 'always'
                    doubts[pair] = room
    floor = seen[:, len(model.arm.pairs) :]
    exempt = [
        model.capsules[capsule]
        for capsule, height in zip(model.arm.above_floor, floor.T)
        if model.arm.capsule_joint[capsule] < 0
        or np.ptp(height) < 1e-6
        or (height <= 0.0).mean() >= ALWAYS
    ]
    checked = len(model.arm.pairs) - len(ignored)
    return Pairs(ignored, tuple(exempt), checked, nearest, frozenset(thick), doubts)


class Shapes:
    """The shapes of a URDF at any place of the arm."""

    def __init__(self, urdf: Path, parts: Parts, body: Body) -> None:
        """Read the collision shapes, else visual ones, of every link; fingers stay at 0."""
        self._model = read_model(urdf)
        self._data = self._model.createData()
        self._columns = [
            self._model.joints[self._model.getJointId(joint.name)].idx_q for joint in parts.arm
        ]
        self._shapes, visual = (
            pin.buildGeomFromUrdf(self._model, str(urdf), kind)
            for kind in (pin.GeometryType.COLLISION, pin.GeometryType.VISUAL)
        )
        solid = {item.parentFrame for item in self._shapes.geometryObjects}
        for item in visual.geometryObjects:
            if item.parentFrame not in solid:  # all that is known of such a link
                self._shapes.addGeometryObject(item)
        self._of: dict[str, list[int]] = {link: [] for link in body.links}
        for index, item in enumerate(self._shapes.geometryObjects):
            self._of[self._model.frames[item.parentFrame].name].append(index)

    def nearest(self, first: Collection[str], second: Collection[str], places: Array) -> float:
        """Return the smallest distance of two groups of links at places (N, n) [m]."""
        pairs = [(a, b) for x in first for y in second for a in self._of[x] for b in self._of[y]]
        self._shapes.removeAllCollisionPairs()
        for a, b in pairs:
            self._shapes.addCollisionPair(pin.CollisionPair(a, b))
        results = pin.GeometryData(self._shapes)
        least = np.inf
        for place in places:
            q = pin.neutral(self._model)
            q[self._columns] = place
            pin.updateGeometryPlacements(self._model, self._data, self._shapes, results, q)
            pin.computeDistances(self._shapes, results)
            least = min(least, *(result.min_distance for result in results.distanceResults))
            if least <= 0.0:
                break
        return float(least)
