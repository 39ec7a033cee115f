"""The oracle: true distances between the URDF's own shapes, by coal placed by pinocchio.

It knows nothing of the filter's capsules. Looking at every pair at every tick would cost more
than the filter, so a pair is looked at again only when it could have closed: after a distance d,
the motion of joint j by |dq_j| brings the two bodies nearer by no more than lever_j |dq_j|, with
the lever a bound that holds at every pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

import coal
import numpy as np
import pinocchio as pin

from vla_ros.errors import UnknownNameError
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.safety.world import rotation
from vla_ros.types import Array

FLOOR = (6.0, 6.0, 1.0)  # [m] the slab that stands for the table's top and all below it


def shape_of(obstacle: Obstacle) -> coal.ShapeBase:
    """Return the exact shape of an obstacle, centred.

    Raises:
        UnknownNameError: There is no such shape here.
    """
    size = [float(x) for x in obstacle.size]
    made = {
        'box': lambda: coal.Box(*size),
        'sphere': lambda: coal.Sphere(*size),
        'cylinder': lambda: coal.Cylinder(size[1], size[0]),
    }
    if obstacle.shape not in made:
        raise UnknownNameError('obstacle shape', obstacle.shape, made)
    return made[obstacle.shape]()


class Oracle:
    """One robot among solids; every pair that can meet, but neighbours in the chain.

    Links of one joint and of two joints in a row overlap by design in any URDF, and so do the
    moving parts of one gripper with each other: these pairs are left out.
    """

    def __init__(self, robot: RobotSpec, obstacles: Sequence[Obstacle] = ()) -> None:
        """Place the robot's collision shapes, its floor and the obstacles' shapes."""
        self.robot = robot
        urdf = robot.urdf_path
        self.model = pin.buildModelFromUrdf(str(urdf))
        self._data = self.model.createData()
        self._columns, self._sources, self._ratios, self._offsets = self._wiring()
        geometry = pin.buildGeomFromUrdf(self.model, str(urdf), pin.GeometryType.COLLISION)
        self.links = len(geometry.geometryObjects)
        solids = [(o.name, shape_of(o), o) for o in obstacles]
        if robot.floor_height is not None:
            geometry.addGeometryObject(
                pin.GeometryObject(
                    'floor',
                    0,
                    pin.SE3(np.eye(3), np.array([0, 0, robot.floor_height - FLOOR[2] / 2])),
                    coal.Box(*FLOOR),
                )
            )
        self.first = len(geometry.geometryObjects)  # geometry index of the first obstacle
        for name, shape, obstacle in solids:
            place = pin.SE3(rotation(obstacle.orientation), obstacle.position)
            geometry.addGeometryObject(pin.GeometryObject(name, 0, place, shape))
        self.geometry = geometry
        pairs = self._pairs()
        for i, k in pairs:
            geometry.addCollisionPair(pin.CollisionPair(i, k))
        self.shapes = pin.GeometryData(geometry)
        self.levers = np.array([self._relative(i, k) for i, k in pairs])  # (P, nq) [m/rad], [1]
        self.solid = np.array([max(k - self.first, -1) for _, k in pairs], np.int64)  # (P,) or -1
        self.room = np.full(len(pairs), -np.inf)  # (P,) [m] what each distance is at least
        self._speed = np.zeros(len(pairs))  # (P,) [m/s] of the obstacle's surface
        self.nearest = np.full(len(pairs), np.inf)  # (P,) [m] smallest distance seen
        self.looks = 0  # distances computed
        self._q = np.zeros(self.model.nq)

    def full(self, joints: Array) -> Array:
        """Return all joints of the URDF (nq,) at those of the robot (n,).

        What mimics a joint q is at multiplier * q + offset.
        """
        out = np.zeros(self.model.nq)
        out[self._columns] = self._ratios * joints[self._sources] + self._offsets
        return out

    def name(self, pair: int) -> str:
        """Return the two bodies of a pair, such as 'panda_hand_0/box'."""
        both = self.geometry.collisionPairs[int(pair)]
        objects = self.geometry.geometryObjects
        return f'{objects[both.first].name}/{objects[both.second].name}'

    def place(self, index: int, turn: Array, centre: Array) -> None:
        """Put obstacle `index` somewhere, turn (3, 3), centre (3,) [m]."""
        solid = self.geometry.geometryObjects[self.first + index]
        solid.placement = pin.SE3(turn, centre)

    def moves(self, index: int, speed: float, spin: float) -> None:
        """Let obstacle `index` move by up to `speed` [m/s] and turn by up to `spin` [rad/s]."""
        shape = self.geometry.geometryObjects[self.first + index].geometry
        shape.computeLocalAABB()
        size = float(shape.aabb_radius + np.linalg.norm(shape.aabb_center))
        self._speed[self.solid == index] = speed + spin * size

    def due(self, q: Array, elapsed: float) -> list[int]:
        """Return the pairs that may touch, having moved straight to q (nq,) in `elapsed` [s]."""
        self.room -= self.levers @ np.abs(q - self._q) + self._speed * elapsed
        self._q = q
        return list((self.room <= 0.0).nonzero()[0].tolist())

    def look(self, pairs: list[int]) -> list[tuple[int, float]]:
        """Return (pair, distance [m]) of those of `pairs` that touch at the last q."""
        pin.updateGeometryPlacements(self.model, self._data, self.geometry, self.shapes, self._q)
        self.looks += len(pairs)
        found = []
        for pair in pairs:
            distance = pin.computeDistance(self.geometry, self.shapes, pair).min_distance
            self.room[pair] = distance
            self.nearest[pair] = min(self.nearest[pair], distance)
            if not distance > 0.0:
                found.append((pair, distance))
        return found

    def distances(self, q: Array) -> Array:
        """Return the distance of every pair at q (nq,), (P,) [m]; no state is kept."""
        pin.updateGeometryPlacements(self.model, self._data, self.geometry, self.shapes, q)
        pin.computeDistances(self.geometry, self.shapes)
        return np.array([result.min_distance for result in self.shapes.distanceResults])

    def _wiring(self) -> tuple[list[int], list[int], Array, Array]:
        """Return columns of the URDF's joints, the robot's joint of each, ratios and offsets."""
        names = self.robot.joint_names
        mimics = {
            joint.attrib['name']: mimic.attrib
            for joint in ElementTree.parse(self.robot.urdf_path).getroot().iter('joint')
            for mimic in joint.findall('mimic')
        }
        columns, sources, ratios, offsets = [], [], [], []
        for index, name in enumerate(self.model.names):
            mimic = mimics.get(name, {})
            leader = mimic.get('joint', name)
            if index and leader in names:
                columns.append(self.model.joints[index].idx_q)
                sources.append(names.index(leader))
                ratios.append(float(mimic.get('multiplier', 1.0)))
                offsets.append(float(mimic.get('offset', 0.0)))
        return columns, sources, np.array(ratios), np.array(offsets)

    def _pairs(self) -> list[tuple[int, int]]:
        objects = self.geometry.geometryObjects
        arm = {self.model.getJointId(name) for name in self.robot.arm_joints} | {0}
        found = []
        for i in range(self.links):
            for k in range(i + 1, len(objects)):
                a, b = objects[i].parentJoint, objects[k].parentJoint
                if k >= self.links:
                    if a > 0:  # what is bolted to the table cannot leave it
                        found.append((i, k))
                    continue
                near = a == b or self.model.parents[b] == a or self.model.parents[a] == b
                one_hand = not {a, b} & arm and self._wrist(a, arm) == self._wrist(b, arm)
                if not near and not one_hand:
                    found.append((i, k))
        return found

    def _wrist(self, joint: int, arm: set[int]) -> int:
        """Return the arm's joint, or the base, that carries a joint of a hand."""
        while joint not in arm:
            joint = self.model.parents[joint]
        return joint

    def _relative(self, i: int, k: int) -> Array:
        """Return how fast two bodies can close for each joint's speed, (nq,)."""
        one, other = self._levers(i), self._levers(k)
        return np.where((one > 0.0) & (other > 0.0), 0.0, one + other)

    def _levers(self, index: int) -> Array:
        """Return how fast any point of a body can move for each joint's speed, (nq,).

        The way from joint j along the joints' placements to the body's bounding sphere is never
        longer than the sum of its pieces; a prismatic joint moves every point alike and adds its
        stroke to the way of the joints before it.
        """
        body = self.geometry.geometryObjects[index]
        body.geometry.computeLocalAABB()
        reach = float(np.linalg.norm(body.placement.act(body.geometry.aabb_center)))
        reach += float(body.geometry.aabb_radius)
        levers = np.zeros(self.model.nq)
        joint = body.parentJoint
        while joint > 0:
            sliding = self.model.joints[joint].shortname().startswith('JointModelP')
            column = self.model.joints[joint].idx_q
            levers[column] = 1.0 if sliding else reach
            if sliding:
                ends = self.model.lowerPositionLimit, self.model.upperPositionLimit
                reach += max(abs(ends[0][column]), abs(ends[1][column]))
            reach += float(np.linalg.norm(self.model.jointPlacements[joint].translation))
            joint = self.model.parents[joint]
        return levers
