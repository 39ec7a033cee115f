"""Hulls of held solids: nothing of the solid sticks out, and not much of the hull does."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.obstacle import Obstacle
from vla_ros.safety.enclose import enclose

seeds = st.integers(0, 2**32 - 1)
SIZES = {'box': 3, 'cylinder': 2, 'sphere': 1, 'capsule': 2}


def held(shape, size, rng, **changes):
    return Obstacle(
        'cube', shape, size, rng.uniform(-0.1, 0.1, 3),
        Rotation.random(random_state=rng.integers(2**31)).as_quat(), attached_to='hand', **changes,
    )  # fmt: skip


def inside(shape, size, rng, count=400):
    """Return points (count, 3) of a shape in its own frame, its corners and rims among them."""
    unit = rng.uniform(-1, 1, (count, 3))
    unit[::2] = np.sign(unit[::2])
    if shape == 'box':
        return unit * size / 2
    angle, reach = rng.uniform(0, 2 * np.pi, count), np.abs(unit[:, 0])
    ball = rng.normal(size=(count, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    if shape == 'cylinder':
        flat = size[1] * reach
        return np.stack([flat * np.cos(angle), flat * np.sin(angle), unit[:, 2] * size[0] / 2], 1)
    ends = np.zeros((count, 3))
    if shape == 'capsule':
        ends[:, 2] = unit[:, 2] * size[0] / 2
    return ends + ball * size[-1]


def distance_from_shape(shape, size, points):
    """Return how far points (p, 3) are from a shape about the origin [m]."""
    if shape == 'box':
        return np.linalg.norm(np.maximum(np.abs(points) - size / 2, 0.0), axis=1)
    along = np.maximum(np.abs(points[:, 2]) - (0 if shape == 'sphere' else size[0] / 2), 0.0)
    flat = np.hypot(points[:, 0], points[:, 1])
    if shape == 'cylinder':
        return np.hypot(along, np.maximum(flat - size[1], 0.0))
    return np.maximum(np.hypot(along, flat) - size[-1], 0.0)


def from_segments(points, segments):
    """Return the distance (p,) of points from the nearest of some segments (s, 2, 3)."""
    a, d = segments[:, 0], segments[:, 1] - segments[:, 0]
    length = np.maximum((d * d).sum(1), 1e-30)
    u = np.clip(((points[:, None] - a) * d).sum(2) / length, 0.0, 1.0)
    return np.linalg.norm(points[:, None] - a - u[..., None] * d, axis=2).min(1)


@given(seeds, st.sampled_from(sorted(SIZES)))
@settings(max_examples=150)
def test_every_point_of_a_solid_is_inside_its_hull(seed, shape):
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.005, 0.3, SIZES[shape])
    solid = held(shape, size, rng, uncertainty=rng.uniform(0, 0.02))
    hull = enclose(solid)
    turn = Rotation.from_quat(solid.orientation)
    points = turn.apply(inside(shape, size, rng)) + solid.position
    away = rng.normal(size=points.shape)
    points += solid.uncertainty * away / np.linalg.norm(away, axis=1, keepdims=True)
    assert (from_segments(points, hull.body) <= hull.radius + 1e-9).all()
    corners = hull.outline if len(hull.outline) else hull.body
    reach = hull.slack if len(hull.outline) else hull.radius
    for direction in rng.normal(size=(20, 3)):
        direction /= np.linalg.norm(direction)
        assert (points @ direction).max() <= (corners @ direction).max() + reach + 1e-9


@given(seeds, st.sampled_from(sorted(SIZES)))
@settings(max_examples=150)
def test_no_point_of_a_hull_is_further_out_than_it_says(seed, shape):
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.005, 0.3, SIZES[shape])
    solid = held(shape, size, rng)
    hull = enclose(solid)
    turn = Rotation.from_quat(solid.orientation)
    ball = rng.normal(size=(300, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    axes = turn.apply(np.concatenate([np.eye(3), -np.eye(3)]))
    for segment in hull.body:
        for end in segment:
            out = turn.inv().apply(
                end + hull.radius * np.concatenate([ball, axes]) - solid.position
            )
            assert distance_from_shape(shape, size, out).max() <= hull.excess + 1e-9
    if shape in ('sphere', 'capsule'):
        assert hull.excess == 0.0 and not len(hull.outline)


@pytest.mark.parametrize(
    ('shape', 'size', 'most'),
    [
        ('box', [0.04, 0.04, 0.04], 0.016),
        ('box', [0.2, 0.15, 0.03], 0.016),
        ('cylinder', [0.12, 0.03], 0.013),
        ('cylinder', [0.01, 0.1], 0.065),
    ],
)
def test_the_hull_of_a_household_thing_is_tight(shape, size, most):
    hull = enclose(held(shape, size, np.random.default_rng(0)))
    assert hull.excess < most and len(hull.body) <= 4


def test_the_outline_of_a_box_is_its_corners():
    """Exact, so that it can be put down as low as it is."""
    solid = Obstacle('cube', 'box', [0.04, 0.06, 0.10], np.zeros(3), attached_to='hand')
    ends = enclose(solid).outline.reshape(-1, 3)
    corners = {tuple(c) for c in np.round(ends, 12)}
    assert corners == {
        (x, y, z) for x in (-0.02, 0.02) for y in (-0.03, 0.03) for z in (-0.05, 0.05)
    }


def test_a_standing_cylinder_is_put_down_exactly():
    solid = Obstacle('can', 'cylinder', [0.12, 0.03], np.zeros(3), attached_to='hand')
    hull = enclose(solid)
    assert hull.outline[..., 2].min() == pytest.approx(-0.06) and hull.slack == 0.0
