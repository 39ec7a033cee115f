"""What stage 2 is fed: the tokenizer's own words, the expert's answers, statistics that undo."""

from __future__ import annotations

import feed
import numpy as np
import pytest
import torch

from vla_ros.sim.experts import plan
from vla_ros.sim.tasks import DIRECTIONS, Episode, NOUNS, sample_episode, SceneState, TASKS
from vla_ros.statistics import load_norm_stats
from vla_ros.training import policy
from vla_ros.training.demos import DIRECTION_NAMES, Frames, TASK_NAMES
from vla_ros.training.model import build_tokenizer, HORIZON, MAX_WORDS, vocabulary

COUNT = 12


@pytest.fixture(scope='module')
def frames() -> Frames:
    """Return frames without pictures, of episodes of every task."""
    return feed.frames(COUNT, np.empty((0,), np.uint8))


@pytest.fixture(scope='module')
def asked(frames) -> policy.Requests:
    return policy._ask(frames, 0)


def test_every_sentence_has_the_tokens_of_the_tokenizer():
    tokenizer = build_tokenizer()
    words = vocabulary()
    sentences = {sample_episode(task, s).instruction for task in TASKS for s in range(200)}
    for text in sentences:
        own = tokenizer(f'<bos> {text}', padding='max_length', truncation=True)['input_ids']
        assert policy._words(text, words) == own
        assert words['<unk>'] not in own
        assert len(own) == MAX_WORDS
        assert own.count(words['<bos>']) == 1


def test_row_zero_is_the_request_that_was_recorded(frames, asked):
    for name in ('task', 'target', 'direction'):
        np.testing.assert_array_equal(getattr(asked, name)[0], getattr(frames, name))
    assert asked.actions.shape == (policy.REQUESTS, COUNT, HORIZON, 4)


def test_every_answer_is_the_experts_plan_relative_to_the_tool(frames, asked):
    for n in range(COUNT):
        for m in range(policy.REQUESTS):
            task = TASK_NAMES[asked.task[m, n]]
            sweep = (
                DIRECTIONS[DIRECTION_NAMES[asked.direction[m, n]]] if task == 'push' else (0, 0)
            )
            episode = Episode(task, frames.layout(n), int(asked.target[m, n]), '', sweep, 0)
            state = SceneState(
                frames.tool[n], frames.opening[n], frames.objects[n], frames.plate[n]
            )
            points = plan(episode, state, HORIZON)
            points[:, :3] -= frames.tool[n]
            np.testing.assert_allclose(asked.actions[m, n], points, atol=1e-6)


def test_requests_are_asked_once_and_again_when_frames_are_added(frames, tmp_path, monkeypatch):
    asks, ask = [], policy._ask

    def counted(part, seed):
        asks.append(len(part))
        return ask(part, seed)

    monkeypatch.setattr(policy, '_ask', counted)
    monkeypatch.setattr(policy, 'ProcessPoolExecutor', feed.Here)
    pictures = np.zeros((COUNT, 1), np.uint8)
    whole = Frames(pictures, *(getattr(frames, f) for f in list(vars(frames))[1:]))
    path = tmp_path / 'requests.npz'
    first = policy.requests(whole, 1, path)
    again = policy.requests(whole, 1, path)
    assert asks == [COUNT]
    np.testing.assert_array_equal(first.actions, again.actions)
    policy.requests(whole.part(slice(0, 5)), 1, path)
    assert asks == [COUNT, 5]


@pytest.fixture(scope='module')
def stats(frames, asked) -> dict:
    return policy.statistics(frames, asked)


def test_statistics_normalise_what_they_were_taken_from(frames, asked, stats, tmp_path):
    policy.save_statistics(tmp_path, stats)
    loaded = load_norm_stats(tmp_path / 'norm_stats.json')
    # The gripper command of a plan may be constant at some step; what varies has deviation 1.
    actions = loaded['actions'].normalize(asked.actions.reshape(-1, HORIZON, 4).astype(float))
    np.testing.assert_allclose(actions.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(actions.std(0), 1.0, rtol=1e-6)
    state = loaded['state'].normalize(np.column_stack([frames.tool, frames.opening]))
    np.testing.assert_allclose(state.mean(0), 0.0, atol=1e-9)
    np.testing.assert_allclose(state.std(0), 1.0, rtol=1e-9)


def test_batches_keep_frame_request_sentence_and_state_together(
    frames, asked, stats, tmp_path, monkeypatch
):
    said = []
    say = policy._say
    monkeypatch.setattr(policy, '_say', lambda *args: said.append(say(*args)) or said[-1])
    monkeypatch.setattr(policy, 'STATE_NOISE', np.zeros(4))
    policy.save_statistics(tmp_path, stats)
    loaded = load_norm_stats(tmp_path / 'norm_stats.json')
    features = np.zeros((policy.FEATURE_COPIES, COUNT, 2, 3), np.float16)
    features += np.arange(COUNT)[:, None, None]
    tokenizer = build_tokenizer()
    source = policy.batches(
        frames, asked, features, tokenizer, stats, 64, np.random.default_rng(0)
    )
    batch = next(source)
    index = batch['features'][:, 0, 0].long().numpy()
    assert set(index) == set(range(COUNT))
    state = loaded['state'].denormalize(batch['state'].double().numpy())
    np.testing.assert_allclose(state[:, :3], frames.tool[index], atol=1e-5)
    np.testing.assert_allclose(state[:, 3], frames.opening[index], atol=1e-5)
    actions = loaded['actions'].denormalize(batch['actions'].double().numpy())
    own = 0
    for row, n in enumerate(index):
        gaps = np.abs(asked.actions[:, n] - actions[row]).reshape(policy.REQUESTS, -1).max(1)
        which = int(gaps.argmin())
        assert gaps[which] < 1e-5
        own += which == 0
        # The words are about the target whose plan is learnt.
        told = set(said[row].split())
        item = frames.layout(n).objects[int(asked.target[which, n])]
        same = np.flatnonzero(gaps < 1e-5)
        if len(same) == 1:
            assert told & {item.colour, *NOUNS[item.shape]}
    assert 0.4 < own / len(index) < 0.85  # OWN_REQUEST
    expected = tokenizer([f'<bos> {t}' for t in said], padding='max_length', return_tensors='pt')
    assert torch.equal(batch['words'], expected['input_ids'])
    assert torch.equal(batch['word_mask'], expected['attention_mask'])


def test_the_features_of_a_picture_are_kept_and_made_again_for_more(tmp_path):
    class Tower(torch.nn.Module):
        calls = 0

        def __init__(self):
            super().__init__()
            self.place = torch.nn.Parameter(torch.empty(0))  # tells the device

        def forward(self, pixels):
            Tower.calls += 1
            hidden = pixels.mean((2, 3))[:, None].expand(-1, 4, -1)
            return type('Output', (), {'last_hidden_state': hidden})()

    rng = np.random.default_rng(0)
    levels = rng.integers(60, 200, (3, 2, 1, 1, 3), dtype=np.uint8)
    size = policy.IMAGE_SIZE
    images = np.broadcast_to(levels, (3, 2, size, size, 3))
    frames = Frames(images, *([np.zeros(3)] * 8))
    path = tmp_path / 'features.npy'
    features = policy.encode(Tower(), frames.images, path)
    assert features.shape == (policy.FEATURE_COPIES, 3, 2 * 4, 3)
    calls = Tower.calls
    np.testing.assert_array_equal(policy.encode(Tower(), frames.images, path), features)
    assert Tower.calls == calls
    assert policy.encode(Tower(), frames.images[:2], path).shape[1] == 2
    assert Tower.calls > calls
    plain = levels[:, :, 0, 0].astype(float) / 127.5 - 1.0  # (N, cameras, 3)
    seen = np.asarray(features, float).reshape(policy.FEATURE_COPIES, 3, 2, 4, 3)
    assert np.abs(seen - plain[None, :, :, None]).max() < 0.6
