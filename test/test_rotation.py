"""Rotations against SciPy, and against their definitions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from vla_ros.errors import ShapeError
from vla_ros.rotation import (
    between,
    EULER,
    from_quaternions,
    mean,
    SEVERAL,
    slerp,
    to_quaternions,
    WIDTHS,
)  # fmt: skip

SEEDS = st.integers(0, 2**31)


def turns(seed: int, count: int = 5) -> Rotation:
    return Rotation.random(count, random_state=seed)


def same(first, second) -> None:
    """Assert that quaternions (K, 4) are the same rotations."""
    np.testing.assert_allclose(np.abs((first * second).sum(axis=1)), 1.0, atol=1e-12)


@pytest.mark.parametrize('rotation', WIDTHS)
@given(seed=SEEDS)
def test_every_representation_comes_back(rotation, seed):
    quaternions = turns(seed).as_quat()
    values = from_quaternions(quaternions, rotation)
    assert values.shape == (5, WIDTHS[rotation])
    same(to_quaternions(values, rotation), quaternions)
    again = from_quaternions(to_quaternions(values, rotation), rotation)
    np.testing.assert_allclose(again, values, atol=1e-6)  # Euler angles near a gimbal lock


def test_representations_are_what_their_names_say():
    quarter = Rotation.from_euler('z', np.pi / 2)
    q = quarter.as_quat()[None]  # x -> y, y -> -x
    half = np.sqrt(0.5)
    for rotation, expected in (
        ('quaternion_xyzw', [0, 0, half, half]),
        ('quaternion_wxyz', [half, 0, 0, half]),
        ('axis_angle', [0, 0, np.pi / 2]),
        ('matrix', [0, -1, 0, 1, 0, 0, 0, 0, 1]),
        ('rotation_6d', [0, 1, 0, -1, 0, 0]),
        ('rotation_6d_rows', [0, -1, 0, 1, 0, 0]),
        ('euler_xyz', [0, 0, np.pi / 2]),
    ):
        np.testing.assert_allclose(from_quaternions(q, rotation)[0], expected, atol=1e-12)


def test_small_letters_turn_about_fixed_axes_and_capitals_about_turned_ones():
    a, b, c = 0.3, -0.4, 0.5
    x, y, z = (Rotation.from_euler(axis, v) for axis, v in zip('xyz', (a, b, c)))
    angles = np.array([[a, b, c]])
    same(to_quaternions(angles, 'euler_xyz'), (z * y * x).as_quat()[None])
    same(to_quaternions(angles, 'euler_XYZ'), (x * y * z).as_quat()[None])
    assert len(EULER) == 24


@pytest.mark.parametrize('rotation', ['rotation_6d', 'rotation_6d_rows'])
def test_vectors_that_are_nearly_perpendicular_are_made_so(rotation):
    """Zhou et al.: the first keeps its direction, the second gives up what lies along it."""
    first, second = np.array([0.0, 3.0, 0.0]), np.array([2.0, 5.0, 0.0])
    q = to_quaternions(np.concatenate([first, second])[None], rotation)
    matrix = Rotation.from_quat(q[0]).as_matrix()
    matrix = matrix if rotation.endswith('rows') else matrix.T
    np.testing.assert_allclose(matrix, [[0, 1, 0], [1, 0, 0], [0, 0, -1]], atol=1e-12)


@pytest.mark.parametrize(
    ('rotation', 'values'),
    [
        ('quaternion_xyzw', np.zeros(4)),
        ('quaternion_wxyz', np.zeros(4)),
        ('rotation_6d', [0, 0, 0, 1, 0, 0]),
        ('rotation_6d', [1, 0, 0, 2, 0, 0]),
        ('matrix', np.diag([1.0, 1.0, -1.0]).ravel()),
        ('matrix', np.zeros(9)),
    ],
)
def test_numbers_that_are_no_rotation_are_refused(rotation, values):
    with pytest.raises(ShapeError, match='no rotation'):
        to_quaternions(np.array([values], dtype=float), rotation)


@given(SEEDS, st.floats(0.0, 1.0))
def test_slerp_is_scipys(seed, share):
    pair = turns(seed, 2)
    expected = Slerp([0.0, 1.0], pair)([share]).as_quat()
    q = pair.as_quat()
    for sign in (1.0, -1.0):  # the other quaternion of the same rotation
        same(slerp(q[:1], sign * q[1:], np.array([share])), expected)


@given(SEEDS)
def test_between_is_the_angle_and_leads_from_one_to_the_other(seed):
    first, second = turns(seed).as_quat(), turns(seed + 1).as_quat()
    way = between(first, second)
    angle = (Rotation.from_quat(first).inv() * Rotation.from_quat(second)).magnitude()
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), angle, atol=1e-9)
    same((Rotation.from_rotvec(way) * Rotation.from_quat(first)).as_quat(), second)


@given(SEEDS)
def test_the_mean_is_scipys_and_knows_both_quaternions_of_a_rotation(seed):
    rng = np.random.default_rng(seed)
    q = Rotation.random(12, random_state=seed).as_quat().reshape(4, 3, 4)
    weights = rng.random((4, 3)) + 0.1
    found = mean(q * rng.choice([-1.0, 1.0], (4, 3, 1)), weights)
    expected = [Rotation.from_quat(q[:, k]).mean(weights[:, k]).as_quat() for k in range(3)]
    same(found, np.array(expected))


@pytest.mark.parametrize('rotation', SEVERAL)
@given(seed=SEEDS, away=st.floats(-0.4, 0.4))
def test_of_several_numbers_the_nearest_are_meant(rotation, seed, away):
    """Whatever numbers of whatever branch: near them, they come back as they were."""
    rng = np.random.default_rng(seed)
    if rotation.startswith('quaternion'):
        values = rng.normal(size=(1, 4))
        values /= np.linalg.norm(values)
    elif rotation == 'axis_angle':
        values = rng.normal(size=(1, 3))
        values *= rng.uniform(0.5, 2.0 * np.pi - 0.5) / np.linalg.norm(values)
    else:
        values = rng.uniform(-np.pi, np.pi, (1, 3))
    near = values[0] + away * rng.dirichlet(np.ones(values.shape[1]))
    quaternions = to_quaternions(values, rotation)
    found = from_quaternions(quaternions, rotation, tuple(near))
    same(to_quaternions(found, rotation), quaternions)  # another name of the same rotation
    assert np.linalg.norm(found - near) <= np.linalg.norm(values - near) + 1e-6


def test_a_tool_that_hangs_down_does_not_jump_between_pi_and_minus_pi():
    wobble = Rotation.from_rotvec(1e-3 * np.vstack([np.eye(3), -np.eye(3)]))
    around = (wobble * Rotation.from_euler('x', np.pi)).as_quat()
    for rotation, near in (
        ('axis_angle', (3.14, 0.0, 0.0)),
        ('axis_angle', (-3.0, 0.1, 0.0)),
        ('euler_xyz', (3.14, 0.0, 0.0)),
        ('euler_xyz', (-3.14, 0.0, 0.0)),
        ('euler_xyz', (0.0, 3.14, 3.14)),
        ('quaternion_xyzw', (1.0, 0.0, 0.0, 0.0)),
        ('quaternion_wxyz', (0.0, -1.0, 0.0, 0.0)),
    ):
        found = from_quaternions(around, rotation, near)
        np.testing.assert_allclose(found, np.tile(near, (6, 1)), atol=0.2)
    assert np.ptp(from_quaternions(around, 'euler_xyz')[:, 0]) > 6.0  # without it, it jumps
