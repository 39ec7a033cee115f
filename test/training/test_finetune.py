"""Fine-tuning on a data set: what it sees, that it learns and resumes, what it refuses."""

from __future__ import annotations

from dataclasses import replace
import json
from types import SimpleNamespace

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.alignment import Episode
from vla_ros.bags.lerobot_reader import open_data_set
from vla_ros.bags.lerobot_writer import DataSetWriter
from vla_ros.config import load
from vla_ros.errors import ConfigError, PolicyError
from vla_ros.kinematics import Kinematics
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec
from vla_ros.statistics import load_norm_stats
from vla_ros.training.finetune import finetune, tokens, Tuning
from vla_ros.training.model import build_tokenizer, MAX_WORDS
from vla_ros.training.samples import load_samples

ROBOT = load_robot(paths.find('robots', 'panda'))
SPEC = load(paths.find('policies', 'tiny_pi0'), PolicySpec)
ROWS = (15, 20)
SENTENCES = ('push the red cube left', 'reach the ball')


def write(folder, rate=10, cameras=('scene', 'wrist'), sentences=SENTENCES) -> list[Episode]:
    """Write a data set of random walks about home and return its episodes."""
    rng = np.random.default_rng(0)
    episodes = []
    for rows, sentence in zip(ROWS, sentences):
        walk = np.cumsum(rng.normal(0.0, 0.01, (rows + 1, 7)), axis=0) + ROBOT.home
        state = np.column_stack([walk[:-1], rng.uniform(0.0, 0.04, rows)])
        action = np.column_stack([walk[1:], rng.uniform(0.0, 0.04, rows)])
        none = np.zeros(rows, bool)
        episodes.append(Episode(sentence, np.arange(rows) / rate, state, action, none, {}))
    features = fmt.features(ROBOT, dict.fromkeys(cameras, (96, 128)), rate)
    with DataSetWriter(folder, 'panda', features, rate, episodes) as writer:
        for number in range(sum(ROWS)):
            for camera in cameras:
                shade = 60 + 5 * number if camera == 'scene' else 10
                writer.picture(camera, np.full((96, 128, 3), shade, np.uint8))
        writer.finish()
    return episodes


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets') / 'data'
    return SimpleNamespace(folder=folder, episodes=write(folder))


def test_samples_are_tool_positions_relative_to_the_row(data):
    samples = load_samples(data.folder, SPEC, ROBOT, lambda done, total: None)
    arm = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
    assert samples.images.shape == (sum(ROWS), 2, 96, 96, 3)
    row = 0
    for index, episode in enumerate(data.episodes):
        commanded = episode.action.astype(np.float32).astype(float)
        measured = episode.state.astype(np.float32).astype(float)
        goals = np.array([arm.fk(q[:-1])[1] for q in commanded])
        for k in range(len(episode)):
            place = arm.fk(measured[k, :-1])[1]
            np.testing.assert_allclose(samples.state[row, :3], place, atol=1e-9)
            assert samples.state[row, 3] == pytest.approx(measured[k, -1] / 0.04)
            due = np.minimum(k + 1 + np.arange(12), len(episode) - 1)
            np.testing.assert_allclose(samples.actions[row, :, :3], goals[due] - place, atol=1e-9)
            np.testing.assert_allclose(
                samples.actions[row, :, 3], commanded[due, -1] / 0.04, atol=1e-9
            )
            assert samples.sentences[samples.sentence[row]] == SENTENCES[index]
            assert samples.images[row, 0].mean() == pytest.approx(60 + 5 * row, abs=2.0)
            assert samples.images[row, 1].mean() == pytest.approx(10, abs=2.0)
            row += 1


def test_a_set_of_twice_the_rate_takes_every_second_row(tmp_path):
    (episode, _) = write(tmp_path / 'data', rate=20)
    samples = load_samples(tmp_path / 'data', SPEC, ROBOT, lambda done, total: None)
    commanded = episode.action.astype(np.float32)[:, -1] / 0.04
    np.testing.assert_allclose(samples.actions[0, :7, 3], commanded[2::2], atol=1e-6)


def test_tokens_are_the_tokenizers_and_strange_words_are_named():
    tokenizer = build_tokenizer()
    expected = [
        tokenizer(f'<bos> {s}', padding='max_length', truncation=True)['input_ids']
        for s in SENTENCES
    ]
    assert tokens(SENTENCES, tokenizer).tolist() == expected
    with pytest.raises(PolicyError, match="does not know 'banana' of 'push the banana'"):
        tokens(('push the banana',), tokenizer)
    with pytest.raises(PolicyError, match=f'{MAX_WORDS} words'):
        tokens(('push ' * MAX_WORDS,), tokenizer)


@pytest.mark.parametrize(
    'change, said',
    [
        ({'rate': 15}, 'of which a step of 0.1 s is 1.5, expected a whole number.*--fps 10'),
        ({'cameras': ('scene',)}, 'it has no camera wrist; it has scene'),
    ],
)
def test_a_data_set_that_does_not_fit_is_refused(tmp_path, change, said):
    write(tmp_path / 'data', **change)
    with pytest.raises(PolicyError, match=said):
        load_samples(tmp_path / 'data', SPEC, ROBOT, lambda done, total: None)


def test_a_data_set_of_another_arm_is_refused(data):
    other = ROBOT.with_arm(gripper=replace(ROBOT.gripper, joint='thumb'))
    with pytest.raises(PolicyError, match="'action' holds .*expected the joints .*thumb"):
        load_samples(data.folder, SPEC, other, lambda done, total: None)


@pytest.mark.slow
def test_it_learns_resumes_and_leaves_a_checkpoint_that_loads(data, tmp_path):
    from vla_ros.policies.registry import create

    tuning = Tuning(steps=60, batch=8, samples=2, rate=1e-3)
    work, output = tmp_path / 'work', tmp_path / 'checkpoint'
    losses = {}

    def run(steps):
        def heard(advance):
            if advance.stage == 'finetune':
                losses[advance.done] = float(advance.detail.split()[1])

        return finetune(
            replace(tuning, steps=steps),
            data.folder,
            SPEC,
            ROBOT,
            work,
            output,
            100.0,
            'cpu',
            heard,
        )

    assert run(2)
    assert run(60)
    assert sorted(losses) == list(range(1, 61))  # the second run went on where the first ended
    assert losses[60] < 0.8 * losses[1]  # smoothed, so that it is no luck of one batch
    facts = json.loads((output / 'training.json').read_text())
    assert facts['frames'] == sum(ROWS) and facts['finetune']['steps'] == 60
    spec = replace(SPEC, checkpoint=str(output))
    policy = create(spec, ROBOT)
    assert policy.spec.name == 'tiny_pi0'
    shipped = paths.share() / 'checkpoints' / 'tiny_pi0'
    for key, value in load_norm_stats(shipped / 'norm_stats.json').items():
        np.testing.assert_array_equal(
            load_norm_stats(output / 'norm_stats.json')[key].mean, value.mean
        )
    frozen, moved = tensors(shipped, output)
    assert any('vision_tower' in name for name in frozen)
    assert not any('vision_tower' in name for name in moved)
    assert any('gemma_expert' in name for name in moved)
    write(tmp_path / 'other', sentences=SENTENCES[::-1])
    with pytest.raises(ConfigError, match='holds the state of'):
        finetune(tuning, tmp_path / 'other', SPEC, ROBOT, work, output, 1.0, 'cpu', lambda a: None)


def tensors(one, other) -> tuple[list[str], list[str]]:
    """Return the names of the tensors that are equal in two checkpoints, and of the others."""
    from safetensors.numpy import load_file

    a, b = (load_file(folder / 'model.safetensors') for folder in (one, other))
    assert a.keys() == b.keys()
    same = [name for name in a if np.array_equal(a[name], b[name])]
    return same, [name for name in a if name not in same]


def test_the_writer_and_the_reader_agree_on_this_set(data):
    assert open_data_set(data.folder).tasks == SENTENCES
