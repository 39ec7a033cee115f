"""The one buffer of the core: what is put in comes out, and calls on it are the plain calls."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.obstacle import Obstacle
from vla_ros.safety import SafetyFilter, World
from vla_ros.safety.chain import Pose
from vla_ros.safety.core import look_in, make_core, Parts, SIZES
from vla_ros.safety.tick import look
from vla_ros.safety.work import make_work


def leaves(tree):
    """Return every array and number of a tree of tuples, in order."""
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def world(count: int) -> World:
    return World(
        0.0,
        tuple(
            Obstacle(f'ball {k}', 'sphere', np.array([0.05]), np.array([0.6, 0.2 * k, 0.4]))
            for k in range(count)
        ),
    )


@pytest.fixture
def scene(robot, config):
    return SafetyFilter(robot, config).scene


@pytest.mark.parametrize('count', [0, 1, 3])
def test_parts_survive_in_shape_and_value(scene, robot, count):
    rng = np.random.default_rng(count)
    scene.set_world(world(count))
    rows = len(scene.margins)
    work = make_work(robot.dof, 1, 1, len(scene.model.capsules), rows)
    for leaf in leaves(work):
        leaf[...] = rng.integers(0, 9, leaf.shape)
    other = Pose(*(rng.normal(size=leaf.shape) for leaf in work.pose))
    knobs = np.array(scene.knobs, dtype=np.float64)
    parts = Parts(
        scene.model.arm, scene.limits, world(count).bodies, scene.margins, knobs, work, other
    )
    core, mine = make_core(parts)
    for before, after in zip(leaves(parts), leaves(mine), strict=True):
        np.testing.assert_array_equal(before, after)
    sizes = sum(leaf.size for leaf in leaves(mine) if isinstance(leaf, np.ndarray))
    assert sizes + 1 + SIZES == core.floats.size + core.ints.size  # every number has one place


def test_views_are_of_the_buffer_and_stay_when_obstacles_move(scene):
    scene.set_world(world(2))
    core, bodies = scene.core, scene.bodies
    core.floats[:] += 0.0
    assert all(np.shares_memory(leaf, core.floats) for leaf in (bodies.centre, scene.work.h))
    moved = World(1.0, tuple(reversed(world(2).obstacles)))
    scene.set_world(moved)
    assert scene.core is core
    np.testing.assert_array_equal(scene.bodies.centre, moved.bodies.centre)
    scene.set_world(world(3))
    assert scene.core is not core and len(scene.bodies.kind) == 3


def test_a_call_on_the_buffer_is_the_plain_call(robot, config):
    safety = SafetyFilter(robot, config)
    scene = safety.scene
    scene.set_world(world(2))
    rng, still = np.random.default_rng(3), np.zeros(robot.dof)
    plain = make_work(robot.dof, 1, 1, len(scene.model.capsules), len(scene.margins))
    for _ in range(20):
        q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        got = look_in(scene.core, q, still, still, 0.005, 0.0)
        want = look(
            scene.model.arm, world(2).bodies, scene.limits, q, still, still, 0.005, 0.0,
            scene.margins, scene.knobs, plain,
        )  # fmt: skip
        assert got == want
        for before, after in zip(leaves(plain), leaves(scene.work), strict=True):
            np.testing.assert_array_equal(before, after)
