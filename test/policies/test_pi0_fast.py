"""pi0-FAST's adapter: networks that write a known chunk, and what is no chunk."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil

from case import ROBOT
import numpy as np
from pi_cases import observation, spec, STATS
from pi_fast_case import (
    answer,
    BEGIN,
    expected,
    fast,
    KIND,
    number,
    table,
    text,
    write_checkpoint,
)
from pi_layout import FAST, SIZES, WORDS
import pytest
from safetensors.torch import load_file, save_file

from vla_ros.actions.decode import Codec
from vla_ros.errors import CheckpointError, PolicyError
from vla_ros.policies.registry import create, statistics


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    """Return a whole checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp('fast') / 'folder')


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / 'copy'))


@pytest.mark.parametrize('end', ['|', '<eos>'])
def test_a_written_chunk_is_decoded_into_radians(copy, end):
    words = fast(copy, text())
    assert len(words) == 3
    policy, found = answer(copy, [*table(*BEGIN), *words, *table(end)])
    want = expected()
    np.testing.assert_allclose(found.actions, want, atol=1e-6)
    assert (found.stamp, found.step) == (1.0, 0.1)
    assert set(found.timings) == {'preprocess', 'inference'}
    assert policy.offers == frozenset()
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    path = codec.decode(found, observation().joints)
    arm = observation().joints.position[:-1] + want[:, :-1]
    np.testing.assert_allclose(path.positions[:, :-1], arm, atol=1e-6)
    assert np.array_equal(policy.infer(observation()).actions, found.actions)  # nothing is drawn


def test_the_network_is_told_where_to_end(copy, monkeypatch):
    words = [*table(*BEGIN), *fast(copy, text()), *table('|')]
    policy, _ = answer(copy, words)
    seen = {}
    monkeypatch.setattr(policy._model, 'write', lambda *_, **told: seen.update(told) or words)
    policy.infer(observation())
    assert set(seen['ends']) == {1, WORDS.index('|')}
    assert seen['limit'] == 12


@pytest.mark.parametrize(
    ('words', 'match'),
    [
        (lambda f: [*table(*BEGIN), *fast(f, text()[:32]), *table('|')],
         '32 frequencies, expected 6 steps of 8'),
        (lambda f: [*table(*BEGIN), *table('|')], '0 frequencies'),
        (lambda f: [*fast(f, text()), *table('|')], "began with words .*expected 'Action: '"),
        (lambda f: table('<eos>'), "expected 'Action: '"),
        (lambda f: [*table(*BEGIN), *fast(f, text())[:2], *table('x', '|')],
         f'1 words that are not of FAST, such as {WORDS.index("x")}'),
        (lambda f: [*table(*BEGIN), *table('<seg007>', '|')], 'not of FAST'),
        (lambda f: [*table(*BEGIN), *table(*'abcdefghi')], '12 words without an end'),
        (lambda f: [*table(*BEGIN), number(200), *table('|')], 'no text|1 frequencies'),
    ],
    ids=['short', 'empty', 'headless', 'silent', 'stray', 'tail', 'endless', 'bytes'],
)  # fmt: skip
def test_what_is_no_chunk_gives_no_actions(copy, words, match):
    with pytest.raises(PolicyError, match=match) as caught:
        answer(copy, words(copy))
    assert 'no actions; plan kept' in str(caught.value)


def test_fast_may_lie_elsewhere_and_must_be_whole(copy, tmp_path):
    words = [*table(*BEGIN), *fast(copy, text()), *table('|')]
    elsewhere = copy.parent / 'fast'
    (copy / 'action_tokenizer').rename(elsewhere)
    with pytest.raises(CheckpointError, match='action_tokenizer has no processor_config.json.*'
                       'physical-intelligence/fast'):  # fmt: skip
        answer(copy, words)
    _, found = answer(copy, words, options={'action_tokenizer': str(elsewhere)})
    assert found.actions.shape == (SIZES.horizon, 8)
    config = elsewhere / 'processor_config.json'
    whole = json.loads(config.read_text(encoding='utf-8'))
    for changes, match in (
        ({'scale': None}, 'processor_config.json is not that of FAST'),
        ({'time_horizon': 50}, 'time_horizon 50, the policy file 6'),
        ({'action_dim': 7}, 'action_dim 7, the policy file 8'),
    ):
        config.write_text(json.dumps({**whole, **changes}), encoding='utf-8')
        with pytest.raises(CheckpointError, match=match):
            answer(copy, words, options={'action_tokenizer': str(elsewhere)})
    config.write_text(json.dumps(whole), encoding='utf-8')
    (elsewhere / 'tokenizer.json').write_text('{', encoding='utf-8')
    with pytest.raises(CheckpointError, match='cannot read .*tokenizer.json'):
        answer(copy, words, options={'action_tokenizer': str(elsewhere)})


def test_a_broken_checkpoint_is_refused(copy):
    path = copy / 'model.safetensors'
    tensors = load_file(path)
    head = 'paligemma_with_expert.paligemma.model.language_model.norm.weight'
    save_file({k: v for k, v in tensors.items() if head not in k}, path)
    with pytest.raises(CheckpointError, match='1 missing tensors.*language_model.norm.weight'):
        create(spec(KIND, copy), ROBOT)


def test_statistics_and_refusals_are_those_of_the_family(whole):
    state, action = statistics(spec(KIND, whole))
    assert state.width == action.width == 8
    mean = action.denormalize(np.zeros(8))
    np.testing.assert_allclose(mean, STATS['actions']['mean'], atol=1e-6)
    policy = create(spec(KIND, whole), ROBOT)
    obs = observation()
    with pytest.raises(PolicyError, match="no picture of camera 'scene'"):
        policy.infer(replace(obs, frames={}))
    with pytest.raises(PolicyError, match='most 200: shorten'):
        policy.infer(observation('y' * 300))
    assert policy._bpe.get_vocab_size() <= FAST
