"""Solids against coal, their growth against sampled motions, and what a world refuses."""

from __future__ import annotations

import coal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.errors import ShapeError, UnknownNameError
from vla_ros.obstacle import DIMENSIONS, Obstacle
from vla_ros.safety.chain import Arm, Pose
from vla_ros.safety.distance import box_distance, clearance, into, put_at
from vla_ros.safety.world import quaternion_of, rotation, solids, World

COAL = {
    'box': lambda size: coal.Box(*size),
    'sphere': lambda size: coal.Sphere(size[0]),
    'cylinder': lambda size: coal.Cylinder(size[1], size[0]),
    'capsule': lambda size: coal.Capsule(size[1], size[0]),
    'plane': lambda size: coal.Halfspace(np.array([0.0, 0.0, 1.0]), 0.0),
}
vectors = hnp.arrays(np.float64, 3, elements=st.floats(-1.0, 1.0))
seeds = st.integers(0, 2**32 - 1)


def obstacle(shape='sphere', rng=None, **changes):
    """Return an obstacle of a shape, of random size and pose."""
    rng = rng or np.random.default_rng(0)
    values = {
        'name': 'thing',
        'shape': shape,
        'size': rng.uniform(0.02, 0.4, len(DIMENSIONS[shape])),
        'position': rng.uniform(-0.5, 0.5, 3),
        'orientation': Rotation.random(random_state=rng.integers(2**31)).as_quat(),
    }
    return Obstacle(**{**values, **changes})


def free_capsule(a, b, radius):
    """Return an arm that is one capsule, and the pose of its ends."""
    one = np.zeros(1, np.int64)
    arm = Arm(
        turn=np.eye(3)[None], offset=np.zeros((1, 3)), axis=np.array([[0.0, 0.0, 1.0]]),
        capsule_joint=one, capsule_a=a[None], capsule_b=b[None],
        capsule_radius=np.array([radius]), lever=np.zeros((1, 1)),
        pairs=np.zeros((0, 2), np.int64), above_floor=np.zeros(0, np.int64), moving=one,
        floor=-np.inf, tool=np.zeros((1, 3)), chains=np.zeros((1, 2), np.int64), first=one,
        within=0,
    )  # fmt: skip
    frames = (np.zeros((1, 3, 3)), np.zeros((1, 3)), np.zeros((1, 3)))
    return arm, Pose(*frames, np.array([[a, b]]))


def coal_distance(one, turn, place, a, b, radius):
    """Return coal's distance of a shape from a capsule; 0 or less where they overlap."""
    axis, length = b - a, np.linalg.norm(b - a)
    along = np.eye(3)
    if length > 0.0:
        along = Rotation.align_vectors([axis / length], [[0.0, 0.0, 1.0]])[0].as_matrix()
    return coal.distance(
        one, coal.Transform3s(turn, place), coal.Capsule(radius, length),
        coal.Transform3s(along, (a + b) / 2), coal.DistanceRequest(), coal.DistanceResult(),
    )  # fmt: skip


@given(seeds, vectors, vectors, st.sampled_from(sorted(COAL)))
@settings(max_examples=200)
def test_clearance_is_coals_distance(seed, a, b, shape):
    """Exact for convex bodies the core knows; a cylinder's is never above, and near it."""
    rng = np.random.default_rng(seed)
    solid = obstacle(shape, rng)
    radius = rng.uniform(0.01, 0.1)
    arm, pose = free_capsule(a, b, radius)
    found, _ = clearance(arm, solids([solid]), pose, 0, np.zeros(3), np.zeros(3))
    turn = Rotation.from_quat(solid.orientation).as_matrix()
    true = coal_distance(COAL[shape](solid.size), turn, solid.position, a, b, radius)
    if true <= 1e-6:
        assert found <= 1e-5
    elif shape == 'cylinder':
        assert found <= true + 1e-5  # and not far below, unless what encloses it is touched
        assert found >= true - solid.size[1] - 1e-5 or found <= 0.0
    else:
        assert found == pytest.approx(true, abs=1e-5)


def test_a_flat_cylinder_does_not_grow_upwards():
    """A plate on a table, approached from above: no round end stands on it."""
    plate = obstacle('cylinder', size=[0.02, 0.2], position=np.zeros(3), orientation=[0, 0, 0, 1])
    a = np.array([0.05, 0.0, 0.5])
    arm, pose = free_capsule(a, a, 0.01)
    found, _ = clearance(arm, solids([plate]), pose, 0, np.zeros(3), np.zeros(3))
    assert found == pytest.approx(0.5 - 0.01 - 0.01)


@given(seeds, st.sampled_from(['box', 'sphere', 'cylinder', 'capsule']), st.floats(0.0, 1.0))
@settings(max_examples=100)
def test_a_solid_grows_over_all_that_it_may_do(seed, shape, age):
    """Points of a body that moves as declared, and as wrongly as declared, stay inside."""
    rng = np.random.default_rng(seed)
    solid = obstacle(
        shape, rng, linear_velocity=rng.normal(size=3), angular_velocity=rng.normal(size=3),
        uncertainty=rng.uniform(0, 0.05), uncertainty_rate=rng.uniform(0, 0.3),
        acceleration=rng.uniform(0, 3),
    )  # fmt: skip
    grown = solids([solid])
    put_at(grown, age)
    turn = Rotation.from_rotvec(solid.angular_velocity * age)
    error = solid.uncertainty + solid.uncertainty_rate * age + solid.acceleration * age**2 / 2
    for point in surface(shape, solid.size, rng, 40):
        seen = Rotation.from_quat(solid.orientation).apply(point)
        away = rng.normal(size=3)
        place = solid.position + solid.linear_velocity * age + turn.apply(seen)
        place = place + away / np.linalg.norm(away) * error
        local = into(grown.turn[0], grown.centre[0], place)
        assert box_distance(grown.half[0], *local) <= grown.radius[0] + 1e-9


def surface(shape, size, rng, count):
    """Return points (count, 3) of the surface of a shape about its centre."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    if shape == 'box':
        return direction / (np.abs(direction) / (size / 2)).max(axis=1, keepdims=True)
    if shape == 'sphere':
        return direction * size[0]
    flat = np.hypot(direction[:, 0], direction[:, 1])
    if shape == 'cylinder':
        scale = np.maximum(flat / size[1], np.abs(direction[:, 2]) / (size[0] / 2))
        return direction / scale[:, None]
    end = np.sign(direction[:, 2:]) * [[0.0, 0.0, size[0] / 2]]
    return direction * size[1] + end


@given(seeds)
@settings(max_examples=60)
def test_rotations_and_quaternions_are_scipys(seed):
    turn = Rotation.random(random_state=seed)
    np.testing.assert_allclose(rotation(turn.as_quat()), turn.as_matrix(), atol=1e-12)
    back = Rotation.from_quat(quaternion_of(turn.as_matrix()))
    assert (back * turn.inv()).magnitude() < 1e-7


@pytest.mark.parametrize('turn', [np.diag([1, -1, -1.0]), np.diag([-1, 1, -1.0]), np.eye(3)])
def test_a_half_turn_has_a_quaternion(turn):
    np.testing.assert_allclose(rotation(quaternion_of(turn)), turn, atol=1e-12)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'position': [0, np.nan, 0]}, 'not finite'),
        ({'linear_velocity': [0, np.inf, 0]}, 'not finite'),
        ({'position': [0, 0, 1e200]}, 'beyond'),
        ({'size': [1e-300]}, 'size'),
        ({'orientation': [0, 0, 0, 0]}, 'length 1'),
        ({'orientation': [0, 0, 0, np.nan]}, 'length 1'),
        ({'uncertainty': -0.1}, 'uncertainty'),
        ({'uncertainty_rate': np.nan}, 'uncertainty_rate'),
        ({'acceleration': np.inf}, 'acceleration'),
        ({'margin': 0.0}, 'margin'),
        ({'name': ''}, 'no name'),
        ({'attached_to': 'hand', 'linear_velocity': [1, 0, 0]}, 'attached'),
        ({'attached_to': 'hand', 'margin': 0.1}, 'attached'),
    ],
)
def test_what_cannot_be_trusted_is_a_problem(changes, words):
    good, bad = obstacle(name='good'), obstacle(**changes)
    assert World(0.0, (good,)).problem == ''
    world = World(0.0, (good, bad))
    assert words in world.problem
    assert world.fault(0.0, 1.0) == 'obstacle_invalid'


def test_planes_do_not_turn_and_are_not_held():
    assert 'turns' in World(0.0, (obstacle('plane', angular_velocity=[0, 0, 1.0]),)).problem
    assert 'plane' in World(0.0, (obstacle('plane', attached_to='hand'),)).problem


def test_a_name_that_stands_twice_is_a_problem():
    assert "'thing' stands twice" in World(0.0, (obstacle(), obstacle('box'))).problem


def test_a_shape_a_role_and_a_size_are_checked_at_once():
    with pytest.raises(UnknownNameError, match="Did you mean 'cylinder'"):
        Obstacle('o', 'cylindre', [1.0, 1.0], np.zeros(3))
    with pytest.raises(UnknownNameError, match="Did you mean 'target'"):
        obstacle(role='targets')
    with pytest.raises(ShapeError, match='all > 0'):
        obstacle(size=[-0.1])
    with pytest.raises(ShapeError, match='size'):
        obstacle('plane', size=[0.1])


@pytest.mark.parametrize(
    'motion',
    [
        {'linear_velocity': [0.1, 0, 0]},
        {'angular_velocity': [0, 0, 0.1]},
        {'uncertainty_rate': 0.01},
        {'acceleration': 0.1},
    ],
)
def test_only_a_world_that_moves_grows_too_old(motion):
    still = World(10.0, (obstacle(),))
    assert still.fault(1e6, 0.5) == ''
    moving = World(10.0, (obstacle(), obstacle('box', name='cart', **motion)))
    assert moving.fault(10.5, 0.5) == ''
    assert moving.fault(10.51, 0.5) == 'obstacle_stale'


def test_a_world_knows_what_is_held():
    held, free = obstacle(name='held', attached_to='hand'), obstacle(name='free')
    world = World(0.0, (held, free))
    assert (world.held, world.free) == ((held,), (free,))
