"""Two arms in one filter: they keep clear of each other, and each behaves as it does alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest

from vla_ros import paths
from vla_ros.actions import Plan
from vla_ros.bench.invariance import Invariance, settings
from vla_ros.bench.oracle import Oracle
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import build_robot, load_robot
from vla_ros.safety import load_safety, SafetyFilter, World
from vla_ros.safety.model import build_model, with_held
from vla_ros.safety.tick import tool_speed
from vla_ros.types import JointState, Trajectory

PAIR = load_robot(paths.find('robots', 'dual_panda'))
PANDA = load_robot(paths.find('robots', 'panda'))
CONFIG = load_safety(paths.find('safety', 'default'))
DT = CONFIG.period


@pytest.fixture(scope='module')
def guard() -> SafetyFilter:
    return SafetyFilter(PAIR, CONFIG)


def drive(safety: SafetyFilter, way: Trajectory, ticks: int):
    """Yield results of a plan that is walked; the arm follows at once."""
    robot = safety.robot
    n, grippers = len(robot.joint_names), len(robot.grippers)
    place = robot.ready
    safety.reset(place)
    plan = Plan(n, grippers, lasting=True, accel=robot.limits('acceleration'))
    plan.reset(100.0)
    assert plan.accept(replace(way, stamp=100.0 + DT), 100.0 + DT, place).ok
    for k in range(ticks):
        now = 100.0 + (k + 1) * DT
        result = safety.step(JointState(now, place, np.zeros(n)), plan, World(), now, DT)
        place = result.command.positions[0]
        yield result


def together() -> Trajectory:
    """Return a way on which both hands go to one place between the arms, grippers closing."""
    goal = PAIR.ready
    for arm in PAIR.arms:
        kinematics = Kinematics(PAIR.urdf_path, arm.joint_names, arm.tool_frame)
        ik = InverseKinematics(kinematics, lower=arm.limits('lower'), upper=arm.limits('upper'))
        turn, _ = kinematics.fk(np.array(arm.home))
        found = ik.solve(np.array(arm.home), turn, np.array([0.45, 0.0, 0.3]), iterations=200)
        assert found.converged
        goal[PAIR.columns(arm)] = found.q
    goal[14:] = 0.0
    times = np.linspace(0.1, 2.5, 25)
    share = (0.5 - 0.5 * np.cos(np.pi * times / 2.5))[:, None]
    return Trajectory(100.0, times, PAIR.ready + share * (goal - PAIR.ready))


def test_clearances_of_every_pair_are_those_of_pinocchio(guard):
    """Capsule against capsule, at poses of both arms: the filter's rows and an own formula."""
    rng = np.random.default_rng(0)
    model = pin.buildModelFromUrdf(str(PAIR.urdf_path))
    data = model.createData()
    capsules = {c.name: c for c in PAIR.capsules}
    names = guard.scene.model.names
    for _ in range(5):
        q = rng.uniform(PAIR.limits('lower'), PAIR.limits('upper'))
        full = pin.neutral(model)
        for name, value in zip(PAIR.arm_joints, q):
            full[model.joints[model.getJointId(name)].idx_q] = value
        pin.framesForwardKinematics(model, data, full)
        found = guard.scene.rows(q, 0.0).clearance
        for row in rng.choice(len(guard.scene.model.arm.pairs), 60, replace=False):
            one, other = (capsules[name] for name in names[row].split('/'))
            ends = [
                np.array([data.oMf[model.getFrameId(c.link)].act(np.array(p)) for p in (c.a, c.b)])
                for c in (one, other)
            ]
            u = np.linspace(0.0, 1.0, 41)
            lines = [e[0] + u[:, None] * (e[1] - e[0]) for e in ends]
            gaps = np.linalg.norm(lines[0][:, None] - lines[1][None], axis=2)
            sampled = gaps.min() - one.radius - other.radius
            assert found[row] <= sampled + 1e-9
            assert found[row] >= sampled - 0.02  # a sample is at most half a step off, both ways


def test_pairs_that_are_left_out_never_come_near(guard):
    """Of two arms that stand apart some capsules never meet: so says every pose that is drawn."""
    kept = {frozenset(name.split('/')) for name in guard.scene.model.names}
    ignored = {frozenset(pair) for pair in PAIR.ignored_pairs}
    left = [c.name for c in PAIR.capsules if c.name.startswith('left')]
    right = [c.name for c in PAIR.capsules if c.name.startswith('right')]
    dropped = [
        (i, k) for i, a in enumerate(left) for k, b in enumerate(right, len(left))
        if frozenset((a, b)) not in kept | ignored
    ]  # fmt: skip
    assert dropped  # two bases and what is near them
    radius = guard.scene.model.arm.capsule_radius
    rng = np.random.default_rng(1)
    for _ in range(200):
        guard.scene.rows(rng.uniform(PAIR.limits('lower'), PAIR.limits('upper')), 0.0)
        for i, k in dropped:
            ends = guard.scene.ends
            gap = np.linalg.norm(ends[i][:, None] - ends[k][None], axis=2).min()
            length = max(np.linalg.norm(e[1] - e[0]) for e in (ends[i], ends[k]))
            assert gap - length - radius[i] - radius[k] > 0.0


def test_a_row_between_arms_is_the_slope_of_its_clearance(guard):
    """Central differences over all 14 joints, of both arms."""
    scene, arm = guard.scene, guard.scene.model.arm
    q = np.array(PAIR.home) + np.tile([-0.55, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.55], 2)[:14]
    q[7:] = np.array(PANDA.home) + [0.5, 0.1, 0.2, -0.1, 0.3, 0.1, -0.2]
    rows = scene.rows(q, 0.0)
    across = [k for k, row in enumerate(rows.which) if arm.within <= row < len(arm.pairs)]
    assert len(across) > 10
    which, slopes = rows.which[across].copy(), rows.matrix[across].copy()
    for j in range(14):
        step = np.zeros(14)
        step[j] = 1e-5
        up = scene.rows(q + step, 0.0).clearance[which].copy()
        down = scene.rows(q - step, 0.0).clearance[which].copy()
        np.testing.assert_allclose(slopes[:, j], (up - down) / 2e-5, atol=2e-4)


@pytest.mark.parametrize('mode', ['path+cbf', 'path', 'cbf', 'stop'])
def test_hands_that_are_driven_into_each_other_stop_before_they_touch(mode):
    config = replace(CONFIG, mode=mode)
    safety, oracle = SafetyFilter(PAIR, config), Oracle(PAIR)
    nearest, barrier, met = np.inf, np.inf, set()
    for k, result in enumerate(drive(safety, together(), 800)):
        barrier = min(barrier, result.min_barrier)
        if 'left' in result.min_barrier_pair and 'right' in result.min_barrier_pair:
            met.add(result.min_barrier_pair)
        if k % 20 == 0:
            distances = oracle.distances(oracle.full(result.command.positions[0]))
            nearest = min(nearest, float(distances.min()))
    assert met  # it was the arms that came near each other
    assert barrier > -1e-6
    assert nearest > CONFIG.margin_self
    assert not result.command.velocities[0].any() or result.level >= 1


def test_far_apart_each_arm_moves_as_it_does_alone():
    """Bases 4 m apart: every command is, joint for joint, that of a filter of one arm."""
    arms = {
        name: {'robot': 'panda', 'prefix': f'{name}_', 'position': [0.0, y, 0.0]}
        for name, y in (('left', 2.0), ('right', -2.0))
    }
    far = build_robot({'name': 'far', 'arms': arms}, 'far.yaml')
    rng = np.random.default_rng(7)
    times = np.linspace(0.1, 2.0, 20)
    way = 0.4 * np.sin(times)[:, None] * rng.uniform(-1.0, 1.0, 7)
    whole, alone = np.tile(far.ready, (20, 1)), np.tile(PANDA.ready, (20, 1))
    whole[:, :7] += way
    whole[:, 7:14] += way
    alone[:, :7] += way
    both = list(drive(SafetyFilter(far, CONFIG), Trajectory(100.0, times, whole), 300))
    one = list(drive(SafetyFilter(PANDA, CONFIG), Trajectory(100.0, times, alone), 300))
    for a, b in zip(both, one):
        wanted = b.command.positions[0]
        np.testing.assert_allclose(a.command.positions[0, :7], wanted[:7], atol=1e-9)
        np.testing.assert_allclose(a.command.positions[0, 7:14], wanted[:7], atol=1e-9)
        assert a.level == b.level


def test_the_fastest_tool_counts(guard):
    rng = np.random.default_rng(3)
    q, v = rng.uniform(PAIR.limits('lower'), PAIR.limits('upper')), rng.normal(size=14)
    guard.scene.rows(q, 0.0)
    wanted = []
    for arm in PAIR.arms:
        kinematics = Kinematics(PAIR.urdf_path, arm.joint_names, arm.tool_frame)
        columns = PAIR.columns(arm)
        wanted.append(np.linalg.norm(kinematics.jacobian(q[columns])[:3] @ v[columns]))
    found = tool_speed(guard.scene.arm, guard.scene.work.pose, v)
    assert found == pytest.approx(max(wanted))


def test_what_one_hand_holds_is_kept_from_the_other_arm_and_what_it_holds():
    model = build_model(PAIR, PAIR.urdf_path)
    held = [
        Obstacle(f'{side}_tool', 'sphere', np.array([0.03]), np.zeros(3), attached_to=link)
        for side, link in (('left', 'left_panda_hand'), ('right', 'right_panda_hand'))
    ]
    names = set(with_held(model, held).names)
    both = {'held:left_tool/held:right_tool', 'held:right_tool/held:left_tool'}
    assert names & both
    assert 'right_elbow/held:left_tool' in names and 'left_elbow/held:right_tool' in names
    assert 'left_hand/held:left_tool' not in names  # the hand that holds it


def test_an_arm_without_a_gripper_is_filtered():
    bare = PANDA.with_arm(gripper=None, driver=replace(PANDA.driver, gripper_topic=''))
    times = np.linspace(0.1, 1.0, 10)
    way = np.tile(bare.ready, (10, 1)) + 0.2 * times[:, None]
    results = list(drive(SafetyFilter(bare, CONFIG), Trajectory(100.0, times, way), 100))
    assert results[-1].command.positions.shape[1] == 7
    assert results[-1].command.positions[0, 0] > bare.home[0] + 0.02


def test_attacks_on_a_pair_break_nothing():
    """Short; the figures of the long run are in docs/robots/bimanual.md."""
    run = Invariance(PAIR, settings(CONFIG)[:2], seed=5)
    tallies = [run.episode(number, 400) for number in range(4)]
    assert sum(tally.moved for tally in tallies) > 500
    assert [tally.violations for tally in tallies] == [[]] * 4
