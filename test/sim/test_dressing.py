"""Dressing changes pictures and nothing else, and comes off without a trace."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.robot import load_robot
from vla_ros.sim.dressing import Dressing
from vla_ros.sim.perturbation import Perturbation
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, sample_episode

ROBOT = load_robot(paths.find('robots', 'panda'))
EPISODE = sample_episode('reach', 3)


@pytest.fixture(scope='module')
def table() -> Iterator[Tabletop]:
    table = Tabletop(ROBOT, ROBOT.urdf_path, eggs=5)
    yield table
    table.world.close()


def pictures(table: Tabletop, episode: Episode = EPISODE) -> np.ndarray:
    table.reset(episode)
    return np.stack([table.square(camera.name, 64) for camera in ROBOT.cameras]).astype(int)


@pytest.mark.parametrize('axis', ['camera', 'light', 'background'])
def test_it_is_seen_more_the_severer_and_leaves_no_trace(table: Tabletop, axis: str) -> None:
    dressing, plain = Dressing(table.world), pictures(table)
    changes = []
    for severity in (0, 1, 5):
        dressing.wear(Perturbation(axis, severity, 11))
        changes.append([np.abs(p).mean() for p in pictures(table) - plain])
    assert changes[0] == [0.0, 0.0]
    assert (np.array(changes[1]) > 0.3).all()
    assert (np.array(changes[2]) > 1.5 * np.array(changes[1])).all()
    dressing.wear(None)
    assert (pictures(table) == plain).all()


def test_the_physics_does_not_know(table: Tabletop) -> None:
    dressing, ends = Dressing(table.world), []
    for axis in (None, 'camera', 'light', 'background'):
        dressing.wear(Perturbation(axis, 5, 2) if axis else None)
        table.reset(EPISODE)
        table.world.set_command(np.array(ROBOT.home) + 0.1, 0.0, over=0.2)
        table.world.step(0.3)
        ends.append(table.world.data.qpos.copy())
    dressing.wear(None)
    assert (np.array(ends) == ends[0]).all()


def test_eggs_lie_still_where_the_layout_has_them(table: Tabletop) -> None:
    episode = Perturbation('layout', 5, 4).episode(EPISODE)
    assert len(episode.layout.eggs) == 5
    table.reset(episode)
    table.world.step(1.0)
    for k, (x, y, _) in enumerate(episode.layout.eggs):
        assert table.world.object_position(f'egg{k}') == pytest.approx((x, y, 0.02), abs=0.002)
