"""One compiled filter for the whole folder, plan doubles, and coal as the independent oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import sys

import coal
import numpy as np
import pinocchio as pin
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from vla_ros import paths
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety import load_safety, SafetyConfig, SafetyFilter
from vla_ros.types import Array, JointState, PlanPieces


@pytest.fixture(scope='session')
def robot() -> RobotSpec:
    return load_robot(paths.find('robots', 'panda'))


@pytest.fixture(scope='session')
def config() -> SafetyConfig:
    return load_safety(paths.find('safety', 'default'))


@pytest.fixture(scope='session')
def shared_filter(robot: RobotSpec, config: SafetyConfig) -> SafetyFilter:
    return SafetyFilter(robot, config)


@pytest.fixture
def safety(shared_filter: SafetyFilter, robot: RobotSpec) -> SafetyFilter:
    """The shared filter, at rest at home."""
    shared_filter.reset(np.append(robot.home, 0.04))
    return shared_filter


class Adversary:
    """A plan that wants a velocity from wherever the reference is, or a position far away."""

    def __init__(self, position: Array) -> None:
        self.position, self.velocity = position, np.zeros_like(position)
        self.phi, self.now = 0.0, -np.inf
        self.accepted_at, self.refusal, self.lasting = 0.0, None, False
        self.start, self.end = -np.inf, np.inf

    @property
    def stamp(self) -> float:
        return self.now

    def advance(self, now: float, rate: float, dt: float) -> float:
        self.phi += rate * dt
        self.now = self.accepted_at = now
        return self.phi

    @property
    def pieces(self) -> PlanPieces:
        """A straight line through the position, two seconds long."""
        due = self.phi + np.array([-1.0, 1.0])
        points = self.position + (due - self.phi)[:, None] * self.velocity
        cubics = np.zeros((1, 4, len(self.position)))
        cubics[0, 0], cubics[0, 1] = points[0], self.velocity
        fastest = np.abs(self.velocity)[None]
        return PlanPieces(due, points, cubics, fastest, np.zeros_like(fastest))


class Oracle:
    """Distances between the URDF's own collision shapes, by coal; knows nothing of capsules."""

    def __init__(self, robot: RobotSpec) -> None:
        urdf = str(robot.urdf_path)
        self.model = pin.buildModelFromUrdf(urdf)
        self.geometry = pin.buildGeomFromUrdf(self.model, urdf, pin.GeometryType.COLLISION)
        self.data = self.model.createData()
        objects = self.geometry.geometryObjects
        for i in range(len(objects)):
            for k in range(i + 1, len(objects)):
                a, b = objects[i].parentJoint, objects[k].parentJoint
                near = a == b or self.model.parents[b] == a or self.model.parents[a] == b
                fingers = min(a, b) >= robot.dof
                if not near and not fingers:
                    self.geometry.addCollisionPair(pin.CollisionPair(i, k))
        self.shapes = pin.GeometryData(self.geometry)
        self.floor = coal.Box(4.0, 4.0, 1.0)
        self.floor_pose = coal.Transform3s(np.eye(3), np.array([0.0, 0.0, -0.5]))
        self.above = [i for i, o in enumerate(objects) if o.parentJoint > 0]

    def move(self, q: Array, opening: float) -> None:
        full = np.concatenate([q, [opening, opening]])
        pin.updateGeometryPlacements(self.model, self.data, self.geometry, self.shapes, full)

    def distance(self, q: Array, opening: float = 0.04) -> float:
        """Return the smallest distance of the arm from itself and from the floor [m]."""
        self.move(q, opening)
        pin.computeDistances(self.geometry, self.shapes)
        nearest = min(r.min_distance for r in self.shapes.distanceResults)
        return min(nearest, self.to_solid(self.floor, self.floor_pose))

    def to_solid(self, shape: coal.ShapeBase, pose: coal.Transform3s) -> float:
        """Return the smallest distance of the moving links at the last `move` from a solid [m]."""
        best = np.inf
        for i in self.above:
            place = self.shapes.oMg[i]
            at = coal.Transform3s(place.rotation, place.translation)
            request, result = coal.DistanceRequest(), coal.DistanceResult()
            mine = self.geometry.geometryObjects[i].geometry
            best = min(best, coal.distance(mine, at, shape, pose, request, result))
        return best


@pytest.fixture(scope='session')
def oracle(robot: RobotSpec) -> Oracle:
    return Oracle(robot)


@pytest.fixture
def adversary(robot: RobotSpec) -> Adversary:
    """A plan that wants to stay at home until it is told otherwise."""
    return Adversary(np.append(robot.home, 0.04))


@pytest.fixture(scope='session')
def state_of() -> Callable[[Array, float], JointState]:
    """Return the joint state of a position (n,) at rest."""
    return lambda position, now: JointState(now, position, np.zeros_like(position))
