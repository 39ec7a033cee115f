"""Training that begins from a checkpoint: its words, eyes and units stay what they are."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path

import feed
import numpy as np
import pytest
import torch

from vla_ros.errors import CheckpointError, ConfigError
from vla_ros.training import demos, model, policy, train
from vla_ros.training.flow import FlowLoss
from vla_ros.training.start import begin_from, claim, statistics_of

SENTENCE = 'put the red cube on the plate'
COUNT = 6


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """Write a checkpoint that knows fewer words than today's, in another order, and one more."""
    today = model.vocabulary()
    kept = [w for w in reversed(today) if w not in (*model.SPECIAL, 'stack', 'left')]
    older = {word: index for index, word in enumerate((*model.SPECIAL, *kept, 'banana'))}
    folder = tmp_path_factory.mktemp('older')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, 'vocabulary', lambda: older)
        torch.manual_seed(3)
        model.save_checkpoint(folder, model.build_model(), model.build_tokenizer())
    stats = {
        'state': {'mean': [0.5, 0.0, 0.1, 0.6], 'std': [0.1, 0.1, 0.1, 0.4]},
        'actions': {'mean': [[0.0] * 4] * model.HORIZON, 'std': [[0.1] * 4] * model.HORIZON},
    }
    policy.save_statistics(folder, stats)
    return folder


def said(network, tokenizer, sentence) -> torch.Tensor:
    """Return the velocities of a network that hears a sentence."""
    words = torch.tensor([tokenizer(f'<bos> {sentence}')['input_ids']])
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 72, model.WIDTH, generator=generator)
    noisy = torch.randn(1, 1, model.HORIZON, model.ACTION_DIM, generator=generator)
    state = torch.zeros(1, model.STATE_DIM)
    with torch.no_grad():
        return FlowLoss(network, 1)(
            features, words, torch.ones_like(words), state, noisy, torch.full((1, 1), 0.5)
        )


def test_known_words_mean_what_they_meant_and_new_ones_something(checkpoint):
    from transformers import PI0ForConditionalGeneration, PreTrainedTokenizerFast

    old = PI0ForConditionalGeneration.from_pretrained(checkpoint)
    theirs, ours = PreTrainedTokenizerFast.from_pretrained(checkpoint), model.build_tokenizer()
    network = begin_from(checkpoint)
    assert theirs('plate')['input_ids'] != ours('plate')['input_ids']
    before, after = said(old, theirs, SENTENCE), said(network, ours, SENTENCE)
    torch.testing.assert_close(after, before, rtol=0.0, atol=1e-6)
    words = model.vocabulary()
    rows = network.model.vlm.language_model.embed_tokens.weight.detach()
    assert rows.shape[0] == len(words)
    known = [index for word, index in words.items() if word not in ('stack', 'left')]
    for new in (words['stack'], words['left']):
        assert 0.3 < rows[new].std() / rows[known].std() < 3.0
        assert not (rows[new] == rows[known]).all(1).any()


def test_another_model_than_the_tiny_one_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(model, 'LAYERS', 2)
        model.save_checkpoint(tmp_path, model.build_model(), model.build_tokenizer())
    with pytest.raises(CheckpointError, match='another pi0 than the tiny one'):
        begin_from(tmp_path)


def test_a_work_folder_belongs_to_one_beginning(tmp_path, checkpoint):
    claim(tmp_path, checkpoint)
    claim(tmp_path, checkpoint)
    with pytest.raises(ConfigError, match='began from .*older.*, not from nothing: name another'):
        claim(tmp_path, None)


def test_only_the_policy_learns_and_a_run_is_taken_up_again(checkpoint, tmp_path, monkeypatch):
    from safetensors.torch import load_file

    size, rng = demos.IMAGE_SIZE, np.random.default_rng(0)
    images = rng.integers(0, 255, (COUNT, 2, size, size, 3), dtype=np.uint8)
    frames = feed.frames(COUNT, images)
    (tmp_path / 'work' / 'demos').mkdir(parents=True)
    monkeypatch.setattr(demos, 'record', lambda folder, shards, workers: iter([(1, 1)]))
    monkeypatch.setattr(demos, 'load_shards', lambda folder: frames)
    monkeypatch.setattr(policy, 'ProcessPoolExecutor', feed.Here)
    monkeypatch.setattr(train.torch, 'compile', lambda network: network)
    recipe = replace(train.WARM, policy_steps=3, policy_batch=4, policy_samples=1)
    work, output = tmp_path / 'work', tmp_path / 'out'

    def go(steps: int) -> tuple[bool, list[train.Advance]]:
        told: list[train.Advance] = []
        some = replace(recipe, policy_steps=steps)
        done = train.train(some, work, output, 600.0, 1, 'cpu', told.append, checkpoint, more)
        return done, told

    def more(folder):
        (folder / 'hazards_0000.npz').write_bytes(b'load_shards is not at work here')
        yield 1, 1

    assert go(2)[0]
    finished, told = go(3)
    assert finished
    assert [a.done for a in told if a.stage == 'policy'] == [3], 'two steps were taken before'
    assert {a.stage for a in told} == {'demonstrations', 'hazards', 'policy'}
    ours, theirs = (load_file(folder / 'model.safetensors') for folder in (output, checkpoint))
    for name, weight in ours.items():
        if 'vision_tower' in name:
            assert torch.equal(weight, theirs[name]), name
    changed = [n for n, w in ours.items() if w.shape == theirs[n].shape and (w != theirs[n]).any()]
    assert any('expert' in name for name in changed)
    assert statistics_of(output) == statistics_of(checkpoint)
    facts = json.loads((output / 'training.json').read_text(encoding='utf-8'))
    assert facts['episodes_with_hazards'] == 1
    assert facts['begun_from'] == str(checkpoint) and facts['policy']['steps'] == 3
    assert (output / policy.STATISTICS).exists() and begin_from(output)
