"""An import of arms never seen: what it finds, encloses and leaves out, and its safety."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

from arms import crane, odd
from click.testing import CliRunner
from hypothesis import given, HealthCheck, settings
from hypothesis import strategies as st
import numpy as np
from PIL import Image
import pinocchio as pin
import pytest

from vla_ros import config, paths
from vla_ros.bench.invariance import Invariance
from vla_ros.cli.main import vla
from vla_ros.fit import check
from vla_ros.importing.importer import import_robot, Imported
from vla_ros.kinematics import Kinematics
from vla_ros.kinematics.solids import solid_of
from vla_ros.robot import load_robot
from vla_ros.safety import load_safety
from vla_ros.safety.model import build_model
from vla_ros.safety.survey import survey
from vla_ros.spec import PolicySpec


@pytest.fixture(scope='module')
def answer(tmp_path_factory) -> tuple[dict, Path]:
    """What the command said of the crane, and where it wrote."""
    folder = tmp_path_factory.mktemp('crane')
    file = crane(folder)
    out = folder / 'out'
    result = CliRunner().invoke(
        vla, ['robot', 'import', str(file), '--out', str(out), '--json', '-'], prog_name='vla'
    )
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout), out


def world_points(urdf: Path, q, rng, count):
    """Points of every collision, else visual, shape in the base frame, by pinocchio and coal."""
    model = pin.buildModelFromUrdf(str(urdf))
    data = model.createData()
    pin.forwardKinematics(model, data, q)
    found = {}
    for kind in (pin.GeometryType.VISUAL, pin.GeometryType.COLLISION):
        shapes = pin.buildGeomFromUrdf(model, str(urdf), kind)
        placed = pin.GeometryData(shapes)
        pin.updateGeometryPlacements(model, data, shapes, placed, q)
        links = {}
        for item, place in zip(shapes.geometryObjects, placed.oMg):
            solid = solid_of(item.geometry)
            t = solid.triangles
            pick = rng.integers(0, len(t), count)
            mix = rng.dirichlet(np.ones(3), count)
            way = rng.normal(size=(count, 3))
            way /= np.linalg.norm(way, axis=1)[:, None]
            points = np.einsum('ij,ijk->ik', mix, t[pick]) + way * solid.radius[pick, None]
            points = points @ place.rotation.T + place.translation
            links.setdefault(item.parentFrame, []).append(points)
        found |= links
    return np.concatenate([p for group in found.values() for p in group])


def uncovered(robot, q, points):
    """How far the worst point is outside of the capsules where the filter places them."""
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    each = []
    for c in robot.capsules:
        turn, place = kinematics.frame_pose(q, c.link)
        a, b = turn @ np.array(c.a) + place, turn @ np.array(c.b) + place
        way = b - a
        share = np.clip((points - a) @ way / max(way @ way, 1e-18), 0.0, 1.0)
        each.append(np.linalg.norm(points - a - share[:, None] * way, axis=1) - c.radius)
    return np.min(each, axis=0).max()


def test_it_finds_arm_tool_gripper_and_their_ends(answer):
    said, out = answer
    assert said['ok'] and said['findings'] == []
    assert said['joints'] == ['turn', 'lift', 'bend', 'roll']
    assert said['tool_frame'] == 'pinch_tcp' and said['gripper'] == 'slide'
    assert said['base_frame'] == 'foot' and said['robot'] == 'crane_4'
    robot = load_robot(out / 'crane_4.yaml')
    assert robot.urdf_path == (out / 'crane_4.urdf').resolve()
    assert (robot.gripper.closed, robot.gripper.open) == (0.0, 0.03)
    assert robot.floor_height == 0.0  # the foot stands on z = 0
    assert 'foot' in robot.floor_exempt and 'lift' not in robot.floor_exempt
    assert robot.finger_capsules and set(robot.finger_capsules) <= {c.name for c in robot.capsules}


def test_vla_check_passes_on_the_file(answer):
    _, out = answer
    result = CliRunner().invoke(vla, ['check', str(out / 'crane_4.yaml'), 'hold'])
    assert result.exit_code == 0, result.output


def test_limits_are_inside_those_of_the_urdf(answer):
    robot = load_robot(answer[1] / 'crane_4.yaml')
    np.testing.assert_allclose(robot.limits('velocity')[1:], [1.2, 1.6, 2.4])
    assert robot.limits('velocity')[0] > 0.0
    lower, upper = robot.limits('lower'), robot.limits('upper')
    np.testing.assert_allclose(lower[1:3], [-1.5 + 0.05, 0.1 + 0.046], atol=2e-4)
    np.testing.assert_allclose(upper[1:3], [1.5 - 0.05, 2.4 - 0.046], atol=2e-4)
    assert upper[0] < 2 * np.pi  # a continuous joint, given two turns either way
    ratio = robot.limits('acceleration') / robot.limits('velocity')
    assert (ratio >= 1.99).all() and (ratio <= 8.01).all()
    assert ratio[3] == pytest.approx(3.0, rel=0.01)  # no effort: the default of its class
    np.testing.assert_allclose(
        robot.limits('jerk') / robot.limits('acceleration'), 40.0, rtol=0.01
    )


def test_capsules_enclose_every_link_and_the_fingers_at_every_opening(answer):
    robot = load_robot(answer[1] / 'crane_4.yaml')
    rng = np.random.default_rng(4)
    for opening in (0.0, 0.011, 0.03):
        arm = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        points = world_points(robot.urdf_path, np.append(arm, [opening, opening]), rng, 4000)
        assert len(points) >= 30_000
        assert uncovered(robot, arm, points) <= 1e-6


def test_the_picture_shows_something_blue_and_something_orange(answer):
    picture = np.asarray(Image.open(answer[1] / 'crane_4.png').convert('RGB')).astype(int)
    r, _, b = picture.transpose(2, 0, 1)
    for half in (slice(None, picture.shape[1] // 2), slice(picture.shape[1] // 2, None)):
        assert ((b - r)[:, half] > 25).sum() > 1000  # capsules
        assert ((r - b)[:, half] > 25).sum() > 50  # those of the fingers


def test_pairs_that_stay_apart_do_so_at_other_places_too(answer):
    robot = load_robot(answer[1] / 'crane_4.yaml')
    model = build_model(replace(robot, ignored_pairs=()), robot.urdf_path)
    rng = np.random.default_rng(99)
    places = rng.uniform(robot.limits('lower'), robot.limits('upper'), (5000, robot.dof))
    seen = survey(model, places)
    ignored = {frozenset(pair) for pair in robot.ignored_pairs}
    joint = model.arm.capsule_joint
    kept = left = 0
    for row, (i, k) in enumerate(model.arm.pairs):
        pair = frozenset((model.capsules[i], model.capsules[k]))
        if pair not in ignored:
            kept += 1
            assert seen[:, row].min() < 0.02  # not far apart: it had to be kept
        elif joint[k] - joint[i] > 1 and (seen[:, row] > 0.0).any():
            left += 1
            assert seen[:, row].min() > 0.0
    assert kept == answer[0]['checked_pairs'] > 0
    assert kept + len(ignored) == len(model.arm.pairs)
    home = survey(build_model(robot, robot.urdf_path), np.array([robot.home]))
    assert home.min() > 0.0


def attack(done: Imported, ticks: int) -> None:
    config = load_safety(paths.find('safety', 'default'))
    tally = Invariance(load_robot(done.file), [config], seed=5).episode(0, ticks)
    assert tally.ticks > ticks // 2
    assert not tally.violations, tally.violations[0]


@given(joints=st.integers(3, 7), seed=st.integers(0, 10**6))
@settings(
    max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@pytest.mark.slow
def test_any_arm_is_imported_and_stays_safe_under_attack(joints, seed, tmp_path):
    text = odd(joints, seed)
    done = import_robot(text, 'odd.urdf', tmp_path, [tmp_path])
    assert [joint.name for joint in done.parts.arm] == list(done.robot.arm_joints)
    assert done.robot.dof == joints and done.parts.tool == 'pinch_tcp'
    lower, upper = done.robot.limits('lower'), done.robot.limits('upper')
    assert ((done.robot.home > lower) & (done.robot.home < upper)).all()
    rng = np.random.default_rng(seed)
    arm = rng.uniform(lower, upper)
    points = world_points(done.urdf, np.append(arm, [0.02, 0.02]), rng, 2000)
    assert uncovered(done.robot, arm, points) <= 1e-6
    attack(done, 150)


def test_an_arm_without_a_gripper_is_imported_and_held(tmp_path):
    done = import_robot(odd(3, 1, handed=False), 'odd.urdf', tmp_path, [tmp_path])
    assert done.robot.grippers == () and any('no gripper' in note for note in done.notes)
    assert done.robot.joint_names == tuple(joint.name for joint in done.parts.arm)
    held, gripped = (
        config.load(paths.find('policies', n), PolicySpec) for n in ('hold_arm', 'hold')
    )
    assert check(done.robot, held) == []
    assert any('leave the slice out' in finding for finding in check(done.robot, gripped))
    attack(done, 100)
