"""Surfaces, turns and capsules as they are drawn, against plain geometry."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.mark import Form
from vla_ros.obstacle import DIMENSIONS, Obstacle
from vla_ros.safety import drawing

GREY = (0.5, 0.5, 0.5, 1.0)
LENGTH = st.floats(1e-3, 1.0)
NUMBER = st.floats(-1.0, 1.0)


@given(half=st.tuples(LENGTH, LENGTH, LENGTH), radius=LENGTH)
def test_a_rounded_box_is_a_closed_surface_at_its_radius(half, radius):
    triangles = drawing.rounded(half, radius).reshape(-1, 3, 3)
    points = triangles.reshape(-1, 3)
    outside = np.maximum(np.abs(points) - half, 0.0)
    np.testing.assert_allclose(np.linalg.norm(outside, axis=1), radius, rtol=1e-9)

    corner = np.round(points / 1e-9).astype(np.int64)  # points that are one
    _, which = np.unique(corner, axis=0, return_inverse=True)
    directed = {(int(t[i]), int(t[(i + 1) % 3])) for t in which.reshape(-1, 3) for i in range(3)}
    assert len(directed) == 3 * len(triangles), 'no edge is walked twice in one direction'
    assert all((b, a) in directed for a, b in directed), 'and each is walked both ways'

    volume = np.einsum('ij,ij->i', np.cross(triangles[:, 0], triangles[:, 1]), triangles[:, 2])
    a, b, c = 2.0 * np.array(half)
    r = radius
    ball, rods = 4.0 / 3.0 * np.pi * r**3, np.pi * r**2 * (a + b + c)
    exact = a * b * c + 2.0 * r * (a * b + b * c + c * a) + rods + ball  # Steiner
    assert 0.7 * exact < volume.sum() / 6.0 <= exact * (1.0 + 1e-9)


@given(NUMBER, NUMBER, NUMBER)
def test_a_turn_leads_z_along_a_direction(x, y, z):
    direction = np.array([x, y, z])
    if np.linalg.norm(direction) < 1e-3:
        direction = np.array([0.0, 0.0, -1.0])
    direction /= np.linalg.norm(direction)
    turned = Rotation.from_quat(drawing.along(direction)).apply([0.0, 0.0, 1.0])
    np.testing.assert_allclose(turned, direction, atol=1e-7)


@pytest.mark.parametrize('length', [0.3, 0.0])
def test_a_capsule_reaches_from_end_to_end(length):
    a = np.array([0.1, -0.2, 0.3])
    b = a + length * np.array([0.6, 0.0, -0.8])
    marks = {m.form: m for m in drawing.capsule('s', 4, GREY, a, b, 0.05)}
    balls = marks.pop(Form.SPHERES)
    np.testing.assert_allclose(balls.points[[0, -1]], [a, b])
    np.testing.assert_allclose(balls.size, 0.1)
    if length:
        (rod,) = marks.values()
        half = Rotation.from_quat(np.array(rod.orientation)).apply([0.0, 0.0, rod.size[2] / 2.0])
        np.testing.assert_allclose([rod.position - half, rod.position + half], [a, b])
        np.testing.assert_allclose(rod.size[:2], 0.1)
        assert rod.key != balls.key
    else:
        assert not marks


@pytest.mark.parametrize('kind', DIMENSIONS)
def test_every_shape_is_drawn_where_it_is_and_as_large(kind):
    size = {'box': [0.1, 0.2, 0.3], 'sphere': [0.1], 'plane': []}.get(kind, [0.4, 0.1])
    turn = Rotation.from_rotvec([0.3, -0.5, 0.7])
    place = np.array([0.3, 0.2, 0.1])
    obstacle = Obstacle('o', kind, size, place, turn.as_quat())
    marks = drawing.shape('s', 0, GREY, obstacle, place, turn.as_matrix())
    lowest, highest = extent(marks, turn)
    half = {
        'box': [0.05, 0.1, 0.15], 'sphere': [0.1] * 3, 'cylinder': [0.1, 0.1, 0.2],
        'capsule': [0.1, 0.1, 0.3], 'plane': [1.0, 1.0, 0.0],
    }[kind]  # fmt: skip
    centre = turn.inv().apply(place)
    np.testing.assert_allclose(highest, centre + half, atol=1e-9)
    low = centre - half - ([0.0, 0.0, drawing.SHEET[2]] if kind == 'plane' else 0.0)
    np.testing.assert_allclose(lowest, low, atol=1e-9)


def extent(marks, turn: Rotation) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest coordinates of marks in a turned frame."""
    low, high = [], []
    for mark in marks:
        if mark.form is Form.SPHERES:
            points = turn.inv().apply(np.array(mark.points))
        else:
            own = turn.inv() * Rotation.from_quat(np.array(mark.orientation))
            axes = 2 if mark.form is Form.CYLINDER else slice(None)
            np.testing.assert_allclose(own.as_matrix()[:, axes], np.eye(3)[:, axes], atol=1e-6)
            points = turn.inv().apply(np.array(mark.position))[None]
        low.append((points - mark.size / 2.0).min(axis=0))
        high.append((points + mark.size / 2.0).max(axis=0))
    return np.min(low, axis=0), np.max(high, axis=0)
