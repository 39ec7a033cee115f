"""The tabletop in MuJoCo: the table is laid as drawn, and both ways to a square picture agree."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vla_ros import paths
from vla_ros.robot import load_robot
from vla_ros.sim.layout import SHAPES
from vla_ros.sim.scene import COLOURS
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import sample_episode

ROBOT = load_robot(paths.find('robots', 'panda'))
SIZE = 96  # [px]


@pytest.fixture(scope='module')
def table():
    table = Tabletop(ROBOT, ROBOT.urdf_path)
    yield table
    table.world.close()


@pytest.mark.parametrize('seed', range(5))
def test_the_table_is_laid_as_the_episode_says(table, seed):
    episode = sample_episode('place', seed)
    table.reset(episode)
    table.world.step(0.3)  # things settle, and stay
    state = table.state()
    for index, item in enumerate(episode.layout.objects):
        assert np.abs(state.objects[index, :2] - item.position).max() < 1e-3
        painted = table.world.model.geom(item.shape).rgba[:3]
        np.testing.assert_allclose(painted, COLOURS[item.colour], atol=1e-6)
    assert state.plate == pytest.approx(episode.layout.plate)
    assert state.opening == pytest.approx(1.0, abs=0.01)
    np.testing.assert_allclose(state.tool, table.world.tool_pose()[1])
    assert not table.success()


def test_the_yaw_of_an_object_is_that_of_the_layout(table):
    episode = sample_episode('pick', 3)
    table.reset(episode)
    for item in episode.layout.objects:
        x, y, z, w = table.world.object_pose(item.shape)[1]
        assert 2.0 * np.arctan2(z, w) == pytest.approx(item.yaw)
        assert (x, y) == (0.0, 0.0)


def test_an_episode_leaves_nothing_behind(table):
    first = sample_episode('push', 1)
    table.reset(first)
    fresh, picture = table.state(), table.square('scene', SIZE)
    table.reset(sample_episode('place', 2), np.array(ROBOT.home) + 0.05, 0.0)
    table.world.step(0.2)
    table.reset(first)
    again = table.state()
    for name in ('tool', 'opening', 'objects', 'plate'):
        np.testing.assert_array_equal(getattr(again, name), getattr(fresh, name))
    np.testing.assert_array_equal(table.square('scene', SIZE), picture)


def test_success_is_that_of_the_tool_and_the_named_object(table):
    episode = sample_episode('pick', 4)
    table.reset(episode)
    tool = table.world.tool_pose()[1]
    table.world.set_object_pose(SHAPES[(episode.target + 1) % 3], tool)
    assert not table.success()
    table.world.set_object_pose(episode.target_shape, tool)
    assert table.success()
    assert table.surface_distances()[episode.target] == 0.0


def test_distances_are_in_the_order_of_the_shapes(table):
    table.reset(sample_episode('pick', 4))
    tool = table.world.tool_pose()[1]
    for index, shape in enumerate(SHAPES):
        table.world.set_object_pose(shape, tool + [0.0, 0.0, 0.1 + 0.1 * index])
    found = table.surface_distances()
    np.testing.assert_allclose(found, [0.1 - 0.022, 0.2 - 0.025, 0.3 - 0.023], atol=1e-9)


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the grey-level difference of two pictures, smoothed by one pixel [0-255]."""
    return np.abs(cv2.blur(a.astype(np.float32) - b.astype(np.float32), (3, 3)))


@pytest.mark.parametrize('camera', ['scene', 'wrist'])
def test_training_pictures_equal_the_reduced_published_ones(table, camera):
    """Training draws squares; nodes cut them from 640x480. Both must show the same."""
    spec = ROBOT.camera(camera)
    left = (spec.width - spec.height) // 2
    for seed in range(4):
        table.reset(sample_episode('place', seed))
        trained = table.square(camera, SIZE)
        whole = table.world.render(camera, spec.width, spec.height)
        square = whole[:, left : left + spec.height]
        served = cv2.resize(square, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        gap = difference(trained, served)
        assert gap.mean() < 0.7
        assert np.quantile(gap, 0.99) < 8.0
        assert np.abs(trained.astype(float) - served).mean() < 1.5
        for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)):  # they agree best in place
            off = difference(np.roll(trained, shift, (0, 1)), served)[2:-2, 2:-2]
            assert gap[2:-2, 2:-2].mean() < 0.5 * off.mean()


def test_a_square_is_an_rgb_picture_of_the_size_asked(table):
    table.reset(sample_episode('reach', 0))
    for oversampling in (1, 2, 3):
        picture = table.square('wrist', 32, oversampling)
        assert picture.shape == (32, 32, 3)
        assert picture.dtype == np.uint8
        drawn = table.world.render('wrist', 32 * oversampling, 32 * oversampling)
        blocks = drawn.reshape(32, oversampling, 32, oversampling, 3)
        np.testing.assert_array_equal(picture, blocks.mean(axis=(1, 3)).round())
