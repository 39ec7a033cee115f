"""Random scenes: everything stands apart, and a push that is called clear is clear."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.errors import SimulationError
from vla_ros.sim import layout as module
from vla_ros.sim import scene
from vla_ros.sim.layout import (
    AREA,
    COLOURS,
    Layout,
    PLATE_RADIUS,
    PUSH_CLEARANCE,
    push_is_clear,
    PUSH_SWEEP,
    REST_HEIGHT,
    sample_layout,
    SceneObject,
    SHAPES,
    SPACING,
)

SEEDS = st.integers(0, 2**63)


def centres(layout: Layout) -> np.ndarray:
    return np.array([*(o.position for o in layout.objects), layout.plate])


@given(SEEDS)
def test_everything_stands_apart_inside_the_area(seed):
    layout = sample_layout(np.random.default_rng(seed))
    points = centres(layout)
    assert ((points >= AREA[:, 0]) & (points <= AREA[:, 1])).all()
    for i, a in enumerate(points):
        for b in points[i + 1 :]:
            assert np.hypot(*(a - b)) >= SPACING
    assert tuple(o.shape for o in layout.objects) == SHAPES
    colours = [o.colour for o in layout.objects]
    assert len(set(colours)) == len(colours)
    assert set(colours) <= set(COLOURS)


@given(SEEDS)
@settings(max_examples=20)
def test_the_same_seed_lays_the_same_table(seed):
    first, second = (sample_layout(np.random.default_rng(seed)) for _ in range(2))
    assert first == second


def test_every_place_of_the_area_and_every_colour_occurs():
    rng = np.random.default_rng(0)
    layouts = [sample_layout(rng) for _ in range(400)]
    points = np.array([centres(layout) for layout in layouts])
    for index in range(points.shape[1]):
        low, high = points[:, index].min(0), points[:, index].max(0)
        assert (low - AREA[:, 0] < 0.02).all()
        assert (AREA[:, 1] - high < 0.02).all()
    for index in range(len(SHAPES)):
        assert {layout.objects[index].colour for layout in layouts} == set(COLOURS)


def test_an_area_that_is_too_small_says_so(monkeypatch):
    monkeypatch.setattr(module, 'AREA', np.array([[0.4, 0.5], [0.0, 0.1]]))
    with pytest.raises(SimulationError, match='enlarge AREA'):
        sample_layout(np.random.default_rng(0))


def test_sizes_are_those_of_the_simulated_bodies():
    for shape in SHAPES:
        half = scene.SHAPES[shape][1]
        assert REST_HEIGHT[shape] == half[-1]
        assert module.HALF_WIDTH[shape] == half[0]
    assert scene.SHAPES['plate'][1][0] == PLATE_RADIUS
    assert set(COLOURS) < set(scene.COLOURS)


@given(SEEDS, st.floats(-np.pi, np.pi), st.integers(0, len(SHAPES) - 1))
def test_a_clear_push_keeps_its_distance_all_along_the_sweep(seed, angle, target):
    layout = sample_layout(np.random.default_rng(seed))
    direction = np.array([np.cos(angle), np.sin(angle)])
    points = centres(layout)
    others = np.delete(points, target, axis=0)
    swept = points[target] + np.linspace(*PUSH_SWEEP, 2001)[:, None] * direction
    nearest = np.linalg.norm(swept[:, None] - others[None], axis=2).min()
    if abs(nearest - PUSH_CLEARANCE) < 1e-6:
        return  # the dense sampling is no judge this close
    inside = abs(swept[-1, 1]) < 0.30
    assert push_is_clear(layout, target, direction) == (nearest > PUSH_CLEARANCE and inside)


@pytest.mark.parametrize(
    ('along', 'aside', 'clear'),
    [
        (0.14, 0.101, True),
        (0.14, 0.099, False),
        (0.235, 0.0, False),
        (0.245, 0.0, True),
        (-0.185, 0.0, False),
        (-0.195, 0.0, True),
    ],
)
def test_the_swept_line_ends_where_it_should(along, aside, clear):
    def at(x, y):
        return SceneObject('cube', 'red', (x, y), 0.0)

    target, other, far = at(0.5, -0.1), at(0.5 + aside, -0.1 + along), at(0.9, -0.6)
    layout = Layout((target, other, far), (0.9, 0.6))
    assert push_is_clear(layout, 0, np.array([0.0, 1.0])) is clear
    assert push_is_clear(Layout((target, far, far), other.position), 0, np.array([0, 1])) is clear
