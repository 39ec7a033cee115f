"""Bags to a data set and back: counts, stamps, values, pictures, and what goes wrong."""

from __future__ import annotations

from dataclasses import replace
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from vla_ros import paths
from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.alignment import Episode, Settings
from vla_ros.bags.export import export
from vla_ros.bags.lerobot_bag import write_bag
from vla_ros.bags.lerobot_reader import open_data_set
from vla_ros.bags.lerobot_stats import column_stats
from vla_ros.bags.lerobot_writer import DataSetWriter
from vla_ros.bags.staging import Staging
from vla_ros.bags.units import check_units
from vla_ros.errors import BagError, ShapeError, UnknownNameError
from vla_ros.robot import load_robot

from .conftest import number_of, RATES, SHAPES, T0

ROOT = Path(__file__).resolve().parents[3]


def run(bags, folder, robot, *, task='', **settings):
    return export(bags, folder, robot, Settings(**settings), task, lambda stage, share: None)


@pytest.fixture(scope='module')
def bag(tmp_path_factory, write_arm):
    """Return a bag of two instructions and what happened in it."""
    folder = tmp_path_factory.mktemp('bags') / 'arm'
    said = ((0.5, 'reach the ball'), (2.0, 'push the cube'), (3.5, ''))
    return folder, write_arm(folder, said=said)


@pytest.fixture(scope='module')
def data(bag, tmp_path_factory, robot):
    folder = tmp_path_factory.mktemp('sets') / 'data'
    done = run([bag[0]], folder, robot)
    assert done.notes == ()
    return open_data_set(folder)


def test_episodes_frames_and_sentences(data):
    assert (data.episodes, data.frames, data.rate, data.robot) == (2, 32, 10, 'panda')
    assert [data.task(n) for n in range(2)] == ['reach the ball', 'push the cube']
    assert [len(data.column(n, 'index')) for n in range(2)] == [16, 16]
    for episode, first in ((0, 0.5), (1, 2.0)):
        stamps = data.column(episode, fmt.STAMP) - T0
        np.testing.assert_allclose(stamps, first + np.arange(16) / 10, atol=1e-6)
        assert data.column(episode, 'timestamp').tolist() == [
            np.float32(k / 10) for k in range(16)
        ]
        assert data.column(episode, 'frame_index').tolist() == list(range(16))
        assert data.column(episode, 'index').tolist() == list(
            range(16 * episode, 16 * episode + 16)
        )
        assert set(data.column(episode, 'task_index')) == {episode}


def test_joints_and_commands_are_what_happened_then(bag, data):
    arm = bag[1]
    for episode in range(2):
        stamps = data.column(episode, fmt.STAMP) - T0
        state, action = (data.column(episode, key) for key in (fmt.STATE, fmt.ACTION))
        measured = np.array([arm.measured(t + 1e-6) for t in stamps])
        np.testing.assert_allclose(state, measured, atol=1e-6)
        sent = stamps > 0.61  # the first command takes 20 ms to be reached
        commanded = np.array([arm.commanded(t + 1e-6) for t in stamps])
        np.testing.assert_allclose(action[sent], commanded[sent], atol=1e-6)
        marked = [1.5 - 1e-6 <= t < 2.0 - 1e-6 for t in stamps]
        assert data.column(episode, fmt.INTERVENTION).tolist() == marked


def test_every_row_has_the_newest_picture_of_its_time(data):
    for episode in range(2):
        stamps = data.column(episode, fmt.STAMP) - T0
        for camera, rate in RATES.items():
            pictures = list(data.pictures(episode, camera))
            assert {p.shape for p in pictures} == {(*SHAPES[camera], 3)}
            expected = [int(np.floor((t - 0.1 + 1e-5) * rate)) for t in stamps]
            assert [number_of(p) for p in pictures] == expected


def test_tables_hold_what_the_format_says(data):
    (file,) = data.folder.glob('meta/episodes/*/*.parquet')
    table = pq.read_table(file).to_pylist()
    for episode, entry in enumerate(table):
        for key in (fmt.STATE, fmt.ACTION, fmt.STAMP, 'timestamp'):
            expected = column_stats(data.column(episode, key))
            for name, values in expected.items():
                # Statistics are of the rows before they became float32.
                np.testing.assert_allclose(
                    entry[f'stats/{key}/{name}'], values, rtol=1e-6, atol=1e-6
                )
        key = fmt.IMAGES + 'scene'
        assert np.shape(entry[f'stats/{key}/mean']) == (3, 1, 1)
        pictures = np.stack(list(data.pictures(episode, 'scene'))) / 255.0
        mean = np.ravel(entry[f'stats/{key}/mean'])
        np.testing.assert_allclose(mean, pictures.mean((0, 1, 2)), atol=0.02)
        span = [entry[f'videos/{key}/{end}_timestamp'] for end in ('from', 'to')]
        assert span == pytest.approx([1.6 * episode, 1.6 * episode + 1.6])
    assert data.info['codebase_version'] == 'v3.0'
    assert data.info['splits'] == {'train': '0:2'}
    assert data.features[fmt.STATE]['names'] == [f'panda_joint{k}' for k in range(1, 8)] + [
        'panda_finger_joint1'
    ]


def test_a_data_set_grows_and_what_was_there_stays(bag, write_arm, robot, tmp_path):
    folder, second = tmp_path / 'data', tmp_path / 'second'
    write_arm(second, said=((1.0, 'push the cube'), (2.6, '')))
    run([bag[0]], folder, robot)
    before = {
        p: p.read_bytes() for p in folder.rglob('*') if p.is_file() and 'meta' not in p.parts
    }
    old = open_data_set(folder)
    done = run([second], folder, robot)
    assert (done.episodes, done.frames, done.totals) == (1, 17, (3, 49, 2))
    assert all(p.read_bytes() == content for p, content in before.items())
    new = open_data_set(folder)
    assert new.tasks == ('reach the ball', 'push the cube')
    assert new.column(2, 'index').tolist() == list(range(32, 49))
    assert set(new.column(2, 'task_index')) == {1}
    assert [number_of(p) for p in new.pictures(2, 'wrist')][:3] == [18, 20, 22]
    rows = np.concatenate([new.column(n, fmt.STATE) for n in range(3)]).astype(float)
    np.testing.assert_allclose(new.stats[fmt.STATE]['mean'], rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(new.stats[fmt.STATE]['std'], rows.std(0), atol=1e-6)
    assert new.stats[fmt.STATE]['count'] == [49] and old.stats[fmt.STATE]['count'] == [32]
    assert not list(tmp_path.glob('.data.*'))


@pytest.mark.parametrize('rate, said', [(20, '10 rows a second, not 20')])
def test_another_rate_is_refused_and_nothing_changes(bag, data, robot, rate, said):
    before = {p: p.stat().st_mtime_ns for p in data.folder.rglob('*')}
    with pytest.raises(BagError, match=said):
        run([bag[0]], data.folder, robot, rate=rate)
    assert {p: p.stat().st_mtime_ns for p in data.folder.rglob('*')} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from vla_ros import paths
from vla_ros.bags import lerobot_writer
from vla_ros.bags.alignment import Episode, Settings
from vla_ros.bags.export import export
from vla_ros.robot import load_robot
def die(path, tasks):
    os.kill(os.getpid(), signal.SIGKILL)
lerobot_writer.write_tasks = die
bag, folder = map(Path, sys.argv[1:])
export([bag], folder, load_robot(paths.find('robots', 'panda')), Settings(), '', lambda *_: None)
"""


def test_a_killed_export_leaves_the_old_data_set_and_the_next_one_works(bag, robot, tmp_path):
    folder = tmp_path / 'data'
    run([bag[0]], folder, robot)
    before = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    ended = subprocess.run(
        [sys.executable, '-c', KILLED, str(bag[0]), str(folder)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == before
    assert run([bag[0]], folder, robot).totals == (4, 64, 2)
    assert open_data_set(folder).episodes == 4
    assert not list(tmp_path.glob('.data.*'))


FULL = """
import resource, sys
from pathlib import Path
from vla_ros import paths
from vla_ros.bags.alignment import Episode, Settings
from vla_ros.bags.export import export
from vla_ros.errors import BagError
from vla_ros.robot import load_robot
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
bag, folder = map(Path, sys.argv[1:3])
robot = load_robot(paths.find('robots', 'panda'))
try:
    export([bag], folder, robot, Settings(), '', lambda *_: None)
except BagError as error:
    print(error)
"""


@pytest.mark.parametrize('room', [1000, 9000])  # [byte] too little for a video, for a table
def test_a_disk_without_room_is_one_message_and_changes_nothing(bag, robot, tmp_path, room):
    folder = tmp_path / 'data'
    run([bag[0]], folder, robot)
    before = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    answer = subprocess.run(
        [sys.executable, '-c', FULL, str(bag[0]), str(folder), str(room)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=100, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert 'could not be written and is as it was' in answer.stdout
    assert {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ['data']


def test_a_kill_between_the_two_renames_is_mended(bag, robot, tmp_path):
    run([bag[0]], tmp_path / 'data', robot)
    (tmp_path / 'data').rename(tmp_path / '.data.before')
    assert run([bag[0]], tmp_path / 'data', robot).totals == (4, 64, 2)
    assert [p.name for p in tmp_path.iterdir()] == ['data']


def test_two_exports_to_one_folder_are_one_too_many(tmp_path):
    with Staging(tmp_path / 'data'), pytest.raises(BagError, match='another export'):
        Staging(tmp_path / 'data').__enter__()
    with Staging(tmp_path / 'data') as staging:
        staging.copy()
        staging.text('a/b', 'x')
        staging.publish()
    assert (tmp_path / 'data/a/b').read_text() == 'x'


def test_a_folder_of_something_else_is_refused(bag, robot, tmp_path):
    (tmp_path / 'letter').write_text('dear')
    with pytest.raises(BagError, match=r'meta/info\.json is missing'):
        run([bag[0]], tmp_path, robot)
    assert [p.name for p in tmp_path.iterdir()] == ['letter']


def test_degrees_are_told(write_arm, robot, tmp_path):
    write_arm(tmp_path / 'bag', scale=180.0 / np.pi)
    with pytest.raises(BagError, match='these are degrees: convert them to rad'):
        run([tmp_path / 'bag'], tmp_path / 'data', robot)
    assert not (tmp_path / 'data').exists()


def test_a_gripper_in_millimetres_is_told_and_a_glitch_is_none(robot):
    rows = np.tile(np.append(robot.home, 0.02), (500, 1))
    check_units(rows, robot, 'x')
    wild = rows.copy()
    wild[3] = 100.0
    check_units(wild, robot, 'x')
    rows[:, -1] = 20.0
    with pytest.raises(BagError, match="'panda_finger_joint1' of x is at 20.*millimetres"):
        check_units(rows, robot, 'x')


def test_a_gripper_that_turns_is_in_radians():
    robot = load_robot(paths.find('robots', 'ur5e'))
    rows = np.tile(robot.ready, (500, 1))
    rows[:, -1] = np.rad2deg(0.4)
    with pytest.raises(BagError, match='these are degrees: convert them to rad'):
        check_units(rows, robot, 'x')


def test_a_bag_without_instruction_needs_a_sentence(write_arm, robot, tmp_path):
    write_arm(tmp_path / 'bag', said=(), commands=False, seconds=2.0)
    with pytest.raises(BagError, match='--task'):
        run([tmp_path / 'bag'], tmp_path / 'data', robot)
    done = run([tmp_path / 'bag'], tmp_path / 'data', robot, task='wave')
    assert any('no command topic' in note for note in done.notes)
    data = open_data_set(tmp_path / 'data')
    assert data.task(0) == 'wave' and data.episodes == 1
    state, action = data.column(0, fmt.STATE), data.column(0, fmt.ACTION)
    np.testing.assert_allclose(action[:-1, :-1], state[1:, :-1], atol=1e-6)


def test_back_in_a_bag_and_out_again_gives_the_same_rows(data, robot, tmp_path):
    counts = write_bag(data, 1, tmp_path / 'bag', robot, {'robot': ''}, lambda rows: None)
    assert counts['/joint_states'] == counts['/camera/scene/image_raw'] == 16
    run([tmp_path / 'bag'], tmp_path / 'again', robot)
    again = open_data_set(tmp_path / 'again')
    assert again.task(0) == data.task(1) and again.episodes == 1
    for key in (fmt.STATE, fmt.ACTION):
        np.testing.assert_allclose(again.column(0, key), data.column(1, key), atol=1e-6)
    np.testing.assert_allclose(again.column(0, fmt.STAMP), data.column(1, fmt.STAMP), atol=1e-6)
    for camera in data.cameras:
        for one, other in zip(again.pictures(0, camera), data.pictures(1, camera)):
            assert np.abs(one.astype(int) - other).max() <= 12  # compressed twice


def test_what_a_data_set_lacks_is_named(data, tmp_path):
    with pytest.raises(BagError, match='no episode 2: it has 2'):
        data.task(2)
    with pytest.raises(UnknownNameError, match="unknown camera 'scen'.*Did you mean 'scene'"):
        next(data.pictures(0, 'scen'))
    with pytest.raises(UnknownNameError, match='unknown column'):
        data.column(0, 'observation.image')
    with pytest.raises(BagError, match='is no LeRobot data set'):
        open_data_set(tmp_path)


def test_a_video_that_was_cut_is_told(data, tmp_path):
    import shutil

    copy = tmp_path / 'copy'
    shutil.copytree(data.folder, copy)
    file = next(copy.glob('videos/*.scene/*/*.mp4'))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    started = time.monotonic()
    with pytest.raises(BagError, match='has no picture'):
        list(open_data_set(copy).pictures(1, 'scene'))
    assert time.monotonic() - started < 30.0


def test_a_damaged_picture_is_replaced_by_the_one_before_it(write_arm, robot, tmp_path):
    write_arm(tmp_path / 'bag', damaged=(18,))
    run([tmp_path / 'bag'], tmp_path / 'data', robot)
    data = open_data_set(tmp_path / 'data')
    assert [number_of(p) for p in data.pictures(0, 'scene')][:4] == [12, 15, 15, 21]
    wrist = [number_of(p) for p in data.pictures(0, 'wrist')]
    assert wrist[4:8] == [16, 16, 20, 22]  # its own eighteenth


def test_a_first_picture_that_is_damaged_is_told(write_arm, robot, tmp_path):
    write_arm(tmp_path / 'bag', damaged=(12,))
    with pytest.raises(BagError, match="first picture of camera 'scene'.*is damaged"):
        run([tmp_path / 'bag'], tmp_path / 'data', robot)


def test_odd_pictures_are_told(robot, tmp_path):
    none = np.zeros(3, bool)
    place = np.tile(np.append(robot.home, 0.02), (3, 1))
    episode = Episode('go', np.arange(3.0), place, place, none, {})
    features = fmt.features(robot, {'scene': (47, 64)}, 10)
    with pytest.raises(ShapeError, match='64x47, expected even sides'):
        DataSetWriter(tmp_path / 'data', 'panda', features, 10, [episode]).__enter__()
    assert not list(tmp_path.iterdir())


def test_a_camera_that_lacks_pictures_leaves_nothing(robot, tmp_path):
    none = np.zeros(3, bool)
    place = np.tile(np.append(robot.home, 0.02), (3, 1))
    episode = Episode('go', np.arange(3.0), place, place, none, {})
    features = fmt.features(robot, {'scene': (48, 64)}, 10)
    with DataSetWriter(tmp_path / 'data', 'panda', features, 10, [episode]) as writer:
        writer.picture('scene', np.zeros((48, 64, 3), np.uint8))
        with pytest.raises(BagError, match='no picture for every row'):
            writer.finish()
    assert not list(tmp_path.iterdir())


def test_the_policys_own_report_says_which_instruction_is_in_force(write_arm, robot, tmp_path):
    """It tells the same sentence said twice apart, and knows of one that no topic said."""
    reported = tuple(
        (t, 1 + (t >= 1.95) if 0.45 <= t < 3.5 else 0, 'reach the ball' if 0.45 <= t < 3.5 else '')
        for t in np.arange(0.0, 4.0, 0.05)
    )
    write_arm(tmp_path / 'bag', said=((0.1, 'something else'),), reported=reported)
    run([tmp_path / 'bag'], tmp_path / 'data', robot)
    data = open_data_set(tmp_path / 'data')
    assert data.tasks == ('reach the ball',)
    starts = [data.column(n, fmt.STAMP)[0] - T0 for n in range(data.episodes)]
    assert starts == pytest.approx([0.45, 1.95], abs=1e-5)


def test_log_times_of_another_clock_are_brought_to_that_of_the_headers(write_arm, robot, tmp_path):
    """Simulated time in the headers, the wall clock in the log: 1000 s apart, 3 times as fast."""
    arm = write_arm(tmp_path / 'bag', commands=False, log=lambda t: 1000.0 + t / 3.0)
    run([tmp_path / 'bag'], tmp_path / 'data', robot)
    data = open_data_set(tmp_path / 'data')
    stamps = data.column(0, fmt.STAMP) - T0
    assert stamps[[0, -1]] == pytest.approx([0.5, 3.5], abs=0.02)
    expected = [arm.measured(t) for t in stamps]
    np.testing.assert_allclose(data.column(0, fmt.STATE), expected, atol=1e-6)


def test_positions_for_a_streaming_controller_are_commands_too(write_arm, robot, tmp_path):
    topic = 'panda_arm/commands'
    driver = replace(robot.driver, kind='forward_position_controller', arm_topic=topic)
    arm = write_arm(tmp_path / 'bag', streamed='/' + topic)
    run([tmp_path / 'bag'], tmp_path / 'data', robot.with_arm(driver=driver))
    data = open_data_set(tmp_path / 'data')
    stamps = data.column(0, fmt.STAMP) - T0
    sent = stamps > 0.65
    # A position holds until the next, 20 ms later; its log time is brought back to the stamps.
    commanded = np.array([arm.commanded(t) for t in stamps])[:, :-1]
    found = data.column(0, fmt.ACTION)[:, :-1]
    assert np.abs(found - commanded)[sent].max() < 0.05 * 0.021
    assert np.abs(found - data.column(0, fmt.STATE)[:, :-1])[sent].max() > 0.05 * 0.07
