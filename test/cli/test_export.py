"""`vla export` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result
import numpy as np
import pytest

from vla_ros import paths
from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.alignment import Episode
from vla_ros.bags.lerobot_reader import open_data_set
from vla_ros.bags.lerobot_writer import DataSetWriter
from vla_ros.cli.main import vla
from vla_ros.robot import load_robot

ROBOT = load_robot(paths.find('robots', 'panda'))
SHAPES = {'scene': (48, 64), 'wrist': (32, 32)}


def run(*args: object) -> Result:
    return CliRunner().invoke(vla, [str(a) for a in args], prog_name='vla')


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    """Return a data set of two episodes of an arm that moves slowly."""
    folder = tmp_path_factory.mktemp('sets') / 'data'
    episodes = []
    for number, rows in enumerate((12, 25)):
        place = np.append(ROBOT.home, 0.02) + 0.001 * np.arange(rows)[:, None]
        none = np.zeros(rows, bool)
        stamps = 1e9 + 100.0 * number + np.arange(rows) / 10
        episodes.append(Episode(f'task {number}', stamps, place, place + 0.001, none, {}))
    features = fmt.features(ROBOT, SHAPES, 10)
    with DataSetWriter(folder, 'panda', features, 10, episodes) as writer:
        for camera, (height, width) in SHAPES.items():
            for row in range(37):
                writer.picture(camera, np.full((height, width, 3), 5 * row, np.uint8))
        writer.finish()
    return folder


def test_an_episode_goes_to_a_bag_and_the_bag_to_a_data_set_that_grows(data, tmp_path):
    answer = run('export', data, '--bag', tmp_path / 'bag', '--episode', 1, '--json', '-')
    assert answer.exit_code == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert (said['episodes'], said['frames'], said['task']) == (1, 25, 'task 1')
    assert said['topics']['/joint_states'] == 25
    for times in (1, 2):
        answer = run('export', tmp_path / 'bag', '--lerobot', tmp_path / 'new', '--json', '-')
        assert answer.exit_code == 0, answer.stderr
        said = json.loads(answer.stdout)
        assert (said['episodes'], said['frames'], said['total_frames']) == (1, 25, 25 * times)
        assert set(said['features']) == set(open_data_set(data).features)
    new = open_data_set(tmp_path / 'new')
    assert [new.task(n) for n in range(2)] == ['task 1', 'task 1']
    np.testing.assert_allclose(new.column(1, fmt.STATE), open_data_set(data).column(1, fmt.STATE))


def test_the_final_line_counts(data, tmp_path):
    run('export', data, '--bag', tmp_path / 'bag')
    answer = run('export', tmp_path / 'bag', '--lerobot', tmp_path / 'new')
    line = ' '.join(answer.output.split()).split('new: ')[-1]
    assert line == '1 episodes, 12 frames added (1 and 12 in all).'


@pytest.mark.parametrize(
    'args, said',
    [
        ((), 'say where to: --lerobot DIR for a data set, or --bag DIR for a bag'),
        (('--lerobot', 'a', '--bag', 'b'), 'say where to'),
        (('--lerobot', 'a'), 'holds no .mcap and no .db3 file'),
        (('--bag', 'b', '--episode', '7'), 'has no episode 7: it has 2, counted from 0'),
        (('--bag', 'b', '--robot', 'pandaa'), "Did you mean 'panda'?"),
    ],
)
def test_what_cannot_be_done_is_one_line(data, tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    answer = run('export', data, *args)
    assert answer.exit_code != 0
    assert said in ' '.join(answer.stderr.split())
    assert not list(tmp_path.iterdir())


def test_train_refuses_what_is_no_data_set(tmp_path):
    answer = run('train', '--data', tmp_path / 'none', '--work', tmp_path / 'work')
    assert answer.exit_code == 1
    assert 'is no LeRobot data set' in ' '.join(answer.stderr.split())


@pytest.mark.parametrize(
    ('args', 'said'),
    [
        (('--from', 'none'), 'none'),
        (('--from', 'none', '--data', 'none'), '--from and --data exclude each other'),
        (('--steps', 5), '--steps goes with --from or --data'),
        (('--hazards', 2), '--hazards goes with --from'),
    ],
)
def test_train_refuses_a_wrong_beginning_at_once(tmp_path, monkeypatch, args, said):
    monkeypatch.chdir(tmp_path)
    answer = run('train', *args, '--work', 'work')
    assert answer.exit_code != 0
    assert said in ' '.join(answer.stderr.split())
    assert not list(tmp_path.iterdir())
