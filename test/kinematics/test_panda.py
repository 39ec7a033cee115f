"""The Panda's own files: URDF against robot file, capsules against coal."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import coal
import numpy as np
import pinocchio as pin
import pytest

from vla_ros.kinematics import Kinematics
from vla_ros.robot import load_robot

ROOT = Path(__file__).parents[2]
ROBOT = load_robot(ROOT / 'config/robots/panda.yaml')
URDF = ROBOT.urdf_path
MODEL = pin.buildModelFromUrdf(str(URDF))
SOLIDS = pin.buildGeomFromUrdf(MODEL, str(URDF), pin.GeometryType.COLLISION)
CAPSULES = {c.name: c for c in ROBOT.capsules}
OPENINGS = (ROBOT.gripper.closed, 0.5 * ROBOT.gripper.open, ROBOT.gripper.open)


def link_of(solid):
    return MODEL.frames[solid.parentFrame].name


def carrier(link):
    """The link whose capsules answer for a link: the fingers are carried by the hand."""
    return 'panda_hand' if link.endswith('finger') else link


def full(arm, opening):
    q = pin.neutral(MODEL)
    for name, value in zip(ROBOT.arm_joints, arm):
        q[MODEL.joints[MODEL.getJointId(name)].idx_q] = value
    for joint in MODEL.names:
        if 'finger' in joint:
            q[MODEL.joints[MODEL.getJointId(joint)].idx_q] = opening
    return q


def surface(shape, rng, count=2000):
    """Extreme points: corners of boxes, rims of cylinders; their hulls are the shapes."""
    if isinstance(shape, coal.Box):
        signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
        face = rng.uniform(-1.0, 1.0, (count, 3))
        axis = rng.integers(0, 3, count)
        face[np.arange(count), axis] = np.sign(face[np.arange(count), axis])
        return np.vstack((signs, face)) * shape.halfSide
    assert isinstance(shape, coal.Cylinder)
    turn = rng.uniform(-np.pi, np.pi, count)
    end = rng.choice([-1.0, 1.0], count) * shape.halfLength
    return np.column_stack((shape.radius * np.cos(turn), shape.radius * np.sin(turn), end))


def distance_to(capsule, points):
    a, axis = np.array(capsule.a), np.array(capsule.b) - np.array(capsule.a)
    along = np.clip((points - a) @ axis / (axis @ axis), 0.0, 1.0)
    return np.linalg.norm(points - a - along[:, None] * axis, axis=1) - capsule.radius


def samples(count, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(ROBOT.limits('lower'), ROBOT.limits('upper'), (count, ROBOT.dof))


@pytest.mark.parametrize('opening', OPENINGS)
def test_capsules_enclose_the_collision_geometry(opening):
    rng = np.random.default_rng(0)
    data, solids = MODEL.createData(), pin.GeometryData(SOLIDS)
    q = full(ROBOT.home, opening)
    pin.framesForwardKinematics(MODEL, data, q)
    pin.updateGeometryPlacements(MODEL, data, SOLIDS, solids, q)
    assert len(SOLIDS.geometryObjects) >= 12
    for solid, pose in zip(SOLIDS.geometryObjects, solids.oMg):
        link = carrier(link_of(solid))
        local = data.oMf[MODEL.getFrameId(link)].actInv(pose)
        points = surface(solid.geometry, rng) @ local.rotation.T + local.translation
        own = [distance_to(c, points) for c in ROBOT.capsules if c.link == link]
        assert np.min(own, axis=0).max() <= 1e-9, solid.name


def test_a_checked_pair_is_never_farther_apart_than_its_solids():
    """coal measures the URDF's solids; capsules must never claim more room than there is."""
    ignored = {frozenset(pair) for pair in ROBOT.ignored_pairs}
    data, solids = MODEL.createData(), pin.GeometryData(SOLIDS)
    links = {link_of(s) for s in SOLIDS.geometryObjects}
    checked = {
        (a, b)
        for a, b in combinations(sorted(links), 2)
        if carrier(a) != carrier(b)
        and all(
            frozenset((x.name, y.name)) not in ignored
            for x in ROBOT.capsules
            for y in ROBOT.capsules
            if x.link == carrier(a) and y.link == carrier(b)
        )
    }
    assert ('panda_hand', 'panda_link0') in checked
    for arm in samples(40, seed=1):
        q = full(arm, ROBOT.gripper.open)
        pin.framesForwardKinematics(MODEL, data, q)
        pin.updateGeometryPlacements(MODEL, data, SOLIDS, solids, q)
        for a, b in checked:
            claimed = min(
                capsule_distance(data, x, y)
                for x in ROBOT.capsules
                for y in ROBOT.capsules
                if x.link == carrier(a) and y.link == carrier(b)
            )
            assert claimed <= solid_distance(solids, a, b) + 1e-6


def capsule_distance(data, first, second):
    shapes = []
    for capsule in (first, second):
        a, b = np.array(capsule.a), np.array(capsule.b)
        frame = data.oMf[MODEL.getFrameId(capsule.link)]
        turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), b - a).matrix()
        pose = frame * pin.SE3(turn, 0.5 * (a + b))
        shape = coal.Capsule(capsule.radius, float(np.linalg.norm(b - a)))
        shapes += [shape, coal.Transform3s(pose.rotation, pose.translation)]
    return coal.distance(*shapes, coal.DistanceRequest(), coal.DistanceResult())


def solid_distance(solids, first, second):
    found = np.inf
    for i, x in enumerate(SOLIDS.geometryObjects):
        for j, y in enumerate(SOLIDS.geometryObjects):
            if link_of(x) == first and link_of(y) == second:
                a, b = (
                    coal.Transform3s(p.rotation, p.translation)
                    for p in (solids.oMg[i], solids.oMg[j])
                )
                found = min(
                    found,
                    coal.distance(
                        x.geometry, a, y.geometry, b, coal.DistanceRequest(), coal.DistanceResult()
                    ),
                )
    return found


def test_ignored_pairs_are_neighbours_or_never_touch():
    data = MODEL.createData()
    chain = [c.link for c in ROBOT.capsules]
    order = {link: i for i, link in enumerate(dict.fromkeys(chain))}
    pairs = [(CAPSULES[a], CAPSULES[b]) for a, b in ROBOT.ignored_pairs]
    far = [
        (a, b)
        for a, b in pairs
        if abs(order[a.link] - order[b.link]) > 1
        and (a.link, b.link) != ('panda_link5', 'panda_link7')
    ]
    assert far
    for arm in samples(200, seed=2):
        pin.framesForwardKinematics(MODEL, data, full(arm, 0.0))
        for a, b in far:
            assert capsule_distance(data, a, b) > 0.0, (a.name, b.name)


def test_the_flange_passes_the_forearm_at_every_angle_of_the_joints_between():
    """That pair is not checked although capsules meet; the published meshes keep 9.4 mm."""
    data, solids = MODEL.createData(), pin.GeometryData(SOLIDS)
    lower, upper = ROBOT.limits('lower'), ROBOT.limits('upper')
    nearest = np.inf
    for wrist in np.linspace(lower[5], upper[5], 25):
        for turn in np.linspace(lower[6], upper[6], 25):
            q = full((*ROBOT.home[:5], wrist, turn), 0.0)
            pin.updateGeometryPlacements(MODEL, data, SOLIDS, solids, q)
            nearest = min(nearest, solid_distance(solids, 'panda_link5', 'panda_link7'))
    assert 0.009 < nearest < 0.011


def test_planning_limits_are_inside_the_hardware_limits():
    arm = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)
    assert (ROBOT.limits('lower') > arm.lower).all()
    assert (ROBOT.limits('upper') < arm.upper).all()
    assert (ROBOT.limits('velocity') < arm.model.velocityLimit).all()
    assert (ROBOT.limits('acceleration') <= [15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0]).all()


def test_home_points_straight_down_above_the_table():
    arm = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)
    rotation, position = arm.fk(np.array(ROBOT.home))
    assert np.abs(position - [0.45, 0.0, 0.30]).max() < 1e-5
    assert np.abs(rotation - np.diag([1.0, -1.0, -1.0])).max() < 1e-5


def test_a_grasp_20_mm_above_the_table_keeps_a_3_mm_margin():
    """With the hand upright, nothing it carries hangs more than 17 mm below the tool centre."""
    tool = MODEL.frames[MODEL.getFrameId(ROBOT.tool_frame)].placement.translation[2]
    hand = MODEL.frames[MODEL.getFrameId('panda_hand')].placement.translation[2]
    for capsule in ROBOT.capsules:
        if capsule.link == 'panda_hand':
            assert max(capsule.a[2], capsule.b[2]) + capsule.radius - (tool - hand) < 0.017


def test_every_inertia_is_physically_possible():
    for inertia in list(MODEL.inertias)[1:]:
        principal = np.linalg.eigvalsh(inertia.inertia)
        assert inertia.mass > 0.0
        assert principal[0] > 0.0
        assert principal[0] + principal[1] >= principal[2] * (1.0 - 1e-3)
