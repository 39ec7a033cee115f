from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.errors import KinematicsError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import load_robot

ROOT = Path(__file__).parents[2]
ROBOT = load_robot(ROOT / 'config/robots/panda.yaml')
ARM = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
HOME = np.array(ROBOT.home)
LOWER, UPPER = ROBOT.limits('lower'), ROBOT.limits('upper')
DOWN = np.diag([1.0, -1.0, -1.0])


@pytest.fixture
def solver():
    return InverseKinematics(ARM, lower=LOWER, upper=UPPER, posture=HOME)


workspace = st.tuples(st.floats(0.30, 0.70), st.floats(-0.28, 0.28), st.floats(0.01, 0.40))


@given(workspace, st.floats(-1.2, 1.2))
@settings(max_examples=60)
def test_every_downward_pose_of_the_workspace_is_reached_from_home(target, yaw):
    solver = InverseKinematics(ARM, lower=LOWER, upper=UPPER, posture=HOME)
    c, s = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ DOWN
    result = solver.solve(HOME, rotation, np.array(target))
    assert result.converged
    assert (result.q >= LOWER).all()
    assert (result.q <= UPPER).all()
    reached, position = ARM.fk(result.q)
    assert np.linalg.norm(position - target) < 1e-5
    assert np.abs(reached - rotation).max() < 2e-5


@given(st.lists(st.floats(-0.4, 0.4), min_size=7, max_size=7))
@settings(max_examples=40)
def test_the_reported_error_is_the_error_of_the_reported_joints(offset):
    target = np.clip(HOME + offset, LOWER, UPPER)
    rotation, position = ARM.fk(target)
    result = InverseKinematics(ARM, lower=LOWER, upper=UPPER).solve(
        HOME, rotation, position, iterations=2
    )
    _, reached = ARM.fk(result.q)
    assert result.position_error == pytest.approx(np.linalg.norm(reached - position), abs=1e-12)
    assert result.converged == (max(result.position_error, result.rotation_error) < 1e-5)


def test_a_pose_out_of_reach_reports_its_residual_inside_the_limits(solver):
    target = np.array([1.5, 0.0, 0.3])
    result = solver.solve(HOME, DOWN, target)
    assert not result.converged
    assert 0.4 < result.position_error < 1.2  # the arm reaches less than 0.95 m
    assert (result.q >= LOWER).all()
    assert (result.q <= UPPER).all()


def test_a_blocked_joint_leaves_its_task_to_the_others():
    lower, upper = LOWER.copy(), UPPER.copy()
    lower[3] = HOME[3]  # the elbow may not fold further
    tight = InverseKinematics(ARM, lower=lower, upper=upper, posture=HOME)
    target = np.array([0.45, 0.10, 0.30])
    result = tight.solve(HOME, DOWN, target)
    assert result.converged
    assert result.q[3] >= lower[3]


def test_most_poses_that_have_joints_at_their_limits_are_found_from_home(solver):
    """Clamping alone, without solving again for the free joints, finds little over half."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(120):
        ends = np.where(rng.random(7) < 0.5, LOWER, UPPER)
        q = np.where(rng.random(7) < 0.3, ends, rng.uniform(LOWER, UPPER))
        found += solver.solve(HOME, *ARM.fk(q)).converged
    assert found > 0.65 * 120


def test_redundancy_is_spent_on_the_posture(solver):
    start = HOME + np.array([0.5, 0.0, -0.5, 0.0, 0.3, 0.0, 0.0])
    target = np.array([0.5, 0.1, 0.25])
    without = InverseKinematics(ARM, lower=LOWER, upper=UPPER).solve(start, DOWN, target)
    towards = solver.solve(start, DOWN, target)
    assert without.converged
    assert towards.converged
    assert np.linalg.norm(towards.q - HOME) < np.linalg.norm(without.q - HOME)


def test_a_path_is_followed_at_every_point_without_jumps(solver):
    path = np.linspace([0.45, 0.0, 0.30], [0.60, 0.15, 0.05], 16)
    result = solver.solve_path(HOME, DOWN, path)
    assert result.converged
    assert result.q.shape == (16, 7)
    for q, position in zip(result.q, path):
        assert np.linalg.norm(ARM.fk(q)[1] - position) < 1e-5
    assert np.abs(np.diff(result.q, axis=0)).max() < 0.1


def test_an_empty_path_is_an_empty_answer(solver):
    result = solver.solve_path(HOME, DOWN, np.empty((0, 3)))
    assert result.q.shape == (0, 7)
    assert result.converged


@pytest.mark.parametrize('bad', [np.nan, np.inf])
def test_a_target_that_is_not_finite_is_refused(solver, bad):
    with pytest.raises(KinematicsError, match='not finite'):
        solver.solve(HOME, DOWN, np.array([0.5, bad, 0.3]))


def test_wrong_shapes_are_refused(solver):
    with pytest.raises(KinematicsError, match='expected'):
        solver.solve(HOME[:6], DOWN, np.zeros(3))
    with pytest.raises(KinematicsError, match='expected'):
        solver.solve_path(HOME, DOWN, np.zeros(3))
    for wide in (1, 2, 4):
        with pytest.raises(KinematicsError, match='expected'):
            solver.solve_path(HOME, DOWN, np.zeros((5, wide)))
