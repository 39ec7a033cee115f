from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.errors import KinematicsError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.robot import load_robot

ROOT = Path(__file__).parents[2]
ROBOT = load_robot(ROOT / 'config/robots/panda.yaml')
URDF = ROBOT.urdf_path
ARM = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)

# The manufacturer's table in Craig's convention: a [m], d [m], alpha [rad]; then flange, hand.
CRAIG = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.316, np.pi / 2),
    (0.0825, 0.0, np.pi / 2),
    (-0.0825, 0.384, -np.pi / 2),
    (0.0, 0.0, np.pi / 2),
    (0.088, 0.0, np.pi / 2),
    (0.0, 0.107 + 0.1034, 0.0),
)
inside = st.lists(st.floats(0.0, 1.0), min_size=7, max_size=7).map(
    lambda share: ARM.lower + np.array(share) * (ARM.upper - ARM.lower)
)


def by_table(q):
    pose = np.eye(4)
    for (a, d, alpha), theta in zip(CRAIG, [*q, -np.pi / 4]):
        ca, sa, ct, s = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -s, 0.0, a],
                [s * ca, ct * ca, -sa, -d * sa],
                [s * sa, ct * sa, ca, d * ca],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return pose


@given(inside)
def test_forward_kinematics_follow_the_published_table(q):
    rotation, position = ARM.fk(q)
    expected = by_table(q)
    assert np.abs(rotation - expected[:3, :3]).max() < 1e-9
    assert np.abs(position - expected[:3, 3]).max() < 1e-9


@given(inside)
@settings(max_examples=30)
def test_jacobian_is_the_derivative_of_the_pose(q):
    jacobian, h = ARM.jacobian(q), 1e-6
    for joint in range(ROBOT.dof):
        step = h * np.eye(ROBOT.dof)[joint]
        (r1, p1), (r0, p0) = ARM.fk(q + step), ARM.fk(q - step)
        assert np.abs((p1 - p0) / (2 * h) - jacobian[:3, joint]).max() < 1e-6
        turn = Rotation.from_matrix(r1 @ r0.T).as_rotvec() / (2 * h)
        assert np.abs(turn - jacobian[3:, joint]).max() < 1e-6


def test_results_stay_valid_after_the_next_call():
    q = np.array(ROBOT.home)
    rotation, position = ARM.fk(q)
    jacobian = ARM.jacobian(q)
    kept = rotation.copy(), position.copy(), jacobian.copy()
    ARM.fk(q + 0.3)
    ARM.jacobian(q + 0.3)
    for now, before in zip((rotation, position, jacobian), kept):
        assert np.array_equal(now, before)


def test_unknown_names_list_the_closest():
    with pytest.raises(UnknownNameError, match="'panda_joint1'"):
        Kinematics(URDF, ['panda_jont1'], ROBOT.tool_frame)
    with pytest.raises(UnknownNameError, match="'panda_hand'"):
        ARM.frame_pose(np.zeros(7), 'panda_hnad')


def test_joints_out_of_order_are_refused():
    with pytest.raises(KinematicsError, match='order of the chain'):
        Kinematics(URDF, ROBOT.arm_joints[::-1], ROBOT.tool_frame)


def test_an_unreadable_model_is_one_clear_error(tmp_path):
    broken = tmp_path / 'broken.urdf'
    broken.write_text('<robot name="x"><link')
    for path in (broken, tmp_path / 'missing.urdf'):
        with pytest.raises(KinematicsError, match=path.name):
            Kinematics(path, ROBOT.arm_joints, ROBOT.tool_frame)
