"""One episode of the simulated arm, driven by the shipped tiny policy and recorded as a bag."""

from __future__ import annotations

from pathlib import Path
import sys

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from live import Kit, Live, play, START
from live import kit as make_kit
from recorded import write_bag

from vla_ros import paths
from vla_ros.evaluation.replay.episode import load_track
from vla_ros.evaluation.replay.injection import Injection
from vla_ros.evaluation.replay.track import Track
from vla_ros.evaluation.suite import load_suite
from vla_ros.sim.tabletop import Tabletop

SEED = 7
SECONDS = 5.0


@pytest.fixture(scope='session')
def kit() -> Kit:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield make_kit('tiny_pi0')
    torch.set_num_threads(threads)


@pytest.fixture(scope='session')
def table(kit: Kit) -> Tabletop:
    table = Tabletop(kit.robot, paths.share() / 'urdf' / kit.robot.urdf)
    yield table
    table.world.close()


@pytest.fixture(scope='session')
def episode():
    return load_suite('tabletop').episodes(2, 0)[1]


@pytest.fixture(scope='session')
def recorded(kit: Kit, table: Tabletop, episode) -> Live:
    return play(kit, table, episode, Injection(), SECONDS, SEED)


@pytest.fixture(scope='session')
def bag(recorded: Live, kit: Kit, tmp_path_factory) -> Path:
    pytest.importorskip('rclpy')
    folder = tmp_path_factory.mktemp('bags') / 'episode'
    write_bag(folder, recorded.track(START + SECONDS))
    return folder


@pytest.fixture(scope='session')
def track(bag: Path, kit: Kit) -> Track:
    return load_track(bag, kit.robot)
