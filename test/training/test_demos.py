"""Recorded demonstrations: what was seen and what was true, whole shards or none."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import fields

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.robot import load_robot
from vla_ros.sim.layout import AREA, COLOURS, REST_HEIGHT, SHAPES
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import sample_episode
from vla_ros.training import demos
from vla_ros.training.demos import CAMERAS, Frames, IMAGE_SIZE, load_shards, record, TASK_NAMES


class Here:
    """Runs the jobs of a pool in this process, one by one, as they are handed in."""

    def __init__(self, workers, mp_context=None):
        assert workers >= 1

    def submit(self, function, *args):
        job = Future()
        try:
            job.set_result(function(*args))
        except Exception as error:
            job.set_exception(error)
        return job

    def shutdown(self, cancel_futures=False):
        pass


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(demos, 'ProcessPoolExecutor', Here)
    monkeypatch.setattr(demos, 'EPISODES_PER_SHARD', 1)
    monkeypatch.setattr(demos, 'MIX', {'reach': 1.0})  # the shortest


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """Return a folder with two shards of one episode each."""
    folder = tmp_path_factory.mktemp('demos')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demos, 'ProcessPoolExecutor', Here)
        patch.setattr(demos, 'EPISODES_PER_SHARD', 1)
        patch.setattr(demos, 'MIX', {'reach': 1.0})
        assert list(record(folder, 2, 1)) == [(0, 2), (1, 2), (2, 2)]
    return folder


def test_frames_hold_pictures_and_the_truth(recorded):
    frames = load_shards(recorded)
    count = len(frames)
    assert count > 6
    assert frames.images.shape == (count, len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE, 3)
    assert frames.images.dtype == np.uint8
    for camera in range(len(CAMERAS)):
        assert frames.images[:, camera].std() > 10.0  # no blank pictures
    assert (frames.tool[:, 2] > 0.0).all()
    assert ((frames.opening > -0.02) & (frames.opening < 1.02)).all()
    centres = frames.objects[0]
    assert ((centres[:, :2] > AREA[:, 0] - 0.02) & (centres[:, :2] < AREA[:, 1] + 0.02)).all()
    np.testing.assert_allclose(centres[:, 2], [REST_HEIGHT[s] for s in SHAPES], atol=2e-3)
    assert {TASK_NAMES[t] for t in frames.task} == {'reach'}


def test_frames_belong_to_the_episode_of_their_seed(recorded):
    with np.load(recorded / 'shard_0001.npz') as data:
        frames = Frames(**{f.name: data[f.name] for f in fields(Frames)})
    episode = sample_episode('reach', demos.FIRST_SEED + 1)
    layout = frames.layout(0)
    assert (frames.target == episode.target).all()
    for seen, true in zip(layout.objects, episode.layout.objects):
        assert (seen.shape, seen.colour) == (true.shape, true.colour)
        assert seen.position == pytest.approx(true.position, abs=2e-3)
    assert layout.plate == pytest.approx(episode.layout.plate)


def test_a_picture_shows_the_recorded_instant(recorded):
    """Draw the first frame's layout again: only the arm's exact pose may differ."""
    with np.load(recorded / 'shard_0000.npz') as data:
        frames = Frames(**{f.name: data[f.name] for f in fields(Frames)})
    robot = load_robot(paths.find('robots', 'panda'))
    table = Tabletop(robot, robot.urdf_path)
    table.reset(sample_episode('reach', demos.FIRST_SEED))
    drawn = table.square('scene', IMAGE_SIZE)
    other = sample_episode('reach', demos.FIRST_SEED + 1)
    table.reset(other)
    wrong = table.square('scene', IMAGE_SIZE)
    table.world.close()
    seen = frames.images[0, CAMERAS.index('scene')].astype(float)

    def changed(picture) -> float:
        return float((np.abs(seen - picture).max(-1) > 40.0).mean())

    assert changed(drawn) < changed(wrong)


def test_recording_ends_after_it_has_stayed_at_success(recorded):
    frames = load_shards(recorded)
    gap = np.linalg.norm(
        frames.tool - frames.objects[np.arange(len(frames)), frames.target], axis=1
    )
    assert gap[-1] < 0.08
    assert len(frames) < 2 * sample_episode('reach', 0).time_limit / (demos.REPLAN * 0.1)


def test_finished_shards_are_not_recorded_again(recorded, monkeypatch):
    def forbidden(folder, index):
        raise AssertionError('recorded again')

    monkeypatch.setattr(demos, '_record_shard', forbidden)
    assert list(record(recorded, 2, 1)) == [(2, 2)]


def test_an_interrupted_folder_is_completed_and_a_shard_depends_on_its_index_alone(
    recorded, tmp_path
):
    first = recorded / 'shard_0000.npz'
    (tmp_path / first.name).write_bytes(first.read_bytes())
    assert list(record(tmp_path, 2, 1)) == [(1, 2), (2, 2)]
    again, before = load_shards(tmp_path), load_shards(recorded)
    for f in fields(Frames):
        np.testing.assert_array_equal(getattr(again, f.name), getattr(before, f.name))


def test_a_write_that_breaks_leaves_no_shard(recorded, tmp_path, monkeypatch):
    def half(path, **arrays):
        path.write_bytes(b'half a file')
        raise OSError('disk full')

    class Quick:
        def __init__(self, robot):
            pass

        def run(self, episode, rng):
            return load_shards(recorded)

    monkeypatch.setattr(demos, '_Recorder', Quick)
    with monkeypatch.context() as patch:
        patch.setattr(demos.np, 'savez', half)
        with pytest.raises(OSError, match='disk full'):
            list(record(tmp_path, 1, 1))
    (tmp_path / 'shard_0001.npz').write_bytes((recorded / 'shard_0001.npz').read_bytes())
    assert len(load_shards(tmp_path)) < len(load_shards(recorded))  # what is broken is not read
    assert list(record(tmp_path, 2, 1))[-1] == (2, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['shard_0000.npz', 'shard_0001.npz']


def test_frames_are_cut_and_joined_in_order(recorded):
    frames = load_shards(recorded)
    parts = [frames.part(slice(0, 3)), frames.part(slice(3, None))]
    assert [len(p) for p in parts] == [3, len(frames) - 3]
    joined = Frames.join(parts)
    for f in fields(Frames):
        np.testing.assert_array_equal(getattr(joined, f.name), getattr(frames, f.name))


def test_colours_are_names_again():
    blank = np.zeros(1)
    frames = Frames(
        images=blank, tool=blank, opening=blank, objects=np.zeros((1, 3, 3)),
        plate=np.array([[0.5, 0.1]]), colours=np.array([[2, 0, 3]], np.int8), task=blank,
        target=blank, direction=blank,
    )  # fmt: skip
    colours = [o.colour for o in frames.layout(0).objects]
    assert colours == [COLOURS[2], COLOURS[0], COLOURS[3]]
    assert frames.layout(0).plate == (0.5, 0.1)
