"""The SmolVLA adapter on checkpoints in the published layout, against a second writing of it."""

from __future__ import annotations

from dataclasses import replace
import json
import shutil

import lerobot_layout
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from smolvla_case import (
    answer,
    expected,
    HORIZON,
    LETTERS,
    observation,
    ROBOT,
    SIZES,
    spec_of,
    STATS,
    TABLE,
    write_checkpoint,
    write_tokenizer,
    write_vlm,
)
import smolvla_layout
import torch

from vla_ros.actions.decode import Codec
from vla_ros.errors import CheckpointError, ConfigError, PolicyError, UnknownNameError
from vla_ros.policies.registry import create
from vla_ros.policies.smolvla import SmolVLAPolicy
from vla_ros.spec import ActionSlice, ImageSpec
from vla_ros.types import ChunkPrefix, Guidance, Observation

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Return a whole checkpoint with the VLM's files beside it."""
    folder = tmp_path_factory.mktemp('smolvla')
    write_vlm(folder / 'vlm')
    write_checkpoint(folder, 'new')
    return folder


@pytest.fixture(scope='module')
def policy(folder):
    return create(spec_of(folder), ROBOT)


@pytest.fixture
def copy(folder, tmp_path):
    """Return a copy that a test may damage."""
    shutil.copytree(folder, tmp_path / 'copy')
    return tmp_path / 'copy'


@pytest.fixture(scope='module', name='observation')
def _observation() -> Observation:
    return observation()


def test_every_chunk_draws_its_own_noise(policy, observation):
    policy.reset(observation.instruction, seed=5)
    for index in range(2):
        found = policy.infer(observation).actions
        np.testing.assert_allclose(found, expected(observation, index), atol=2e-6)


def test_a_chunk_answers_its_observation_and_tells_its_times(policy, observation):
    chunk = policy.infer(observation)
    assert (chunk.stamp, chunk.step) == (2.0, 0.1)
    assert set(chunk.timings) == {'preprocess', 'inference'}


def test_the_number_of_flow_steps_is_that_of_the_policy_file(folder, observation):
    policy = create(spec_of(folder, flow_steps=2), ROBOT)
    found = answer(policy, observation)
    np.testing.assert_allclose(found, expected(observation, steps=2), atol=2e-6)
    assert np.abs(found - expected(observation)).max() > 1e-3


def test_slots_put_pictures_where_the_checkpoint_has_them(folder, observation):
    images = (ImageSpec('scene', 32, 'hand'), ImageSpec('wrist', 32, 'front'))
    found = answer(create(spec_of(folder, images=images), ROBOT), observation)
    np.testing.assert_allclose(found, expected(observation, cameras=('wrist', 'scene')), atol=2e-6)
    one = answer(create(spec_of(folder, images=images[:1]), ROBOT), observation)
    np.testing.assert_allclose(one, expected(observation, cameras=('scene',)), atol=2e-6)


def test_words_end_with_one_newline_and_are_cut_like_the_tokenizer(policy, observation):
    ended = replace(observation, instruction='lift the cube\n')
    np.testing.assert_array_equal(answer(policy, ended), answer(policy, observation))
    long = replace(observation, instruction='put the cube on the green plate')
    cut = expected(long, text='put the cube on the ')
    np.testing.assert_allclose(answer(policy, long), cut, atol=2e-6)


def test_half_the_precision_gives_nearly_the_same(folder, policy, observation):
    small = create(spec_of(folder, dtype='bfloat16'), ROBOT)
    gap = np.abs(answer(small, observation) - answer(policy, observation)).max()
    assert 1e-6 < gap < 0.02


def test_it_offers_samples_and_guidance(policy, observation):
    assert policy.offers == {'guidance', 'samples', 'announcement'}
    policy.reset(observation.instruction, seed=5)
    first, second = policy.samples(observation, 2)
    np.testing.assert_allclose(first.actions, answer(policy, observation), atol=1e-5)
    assert np.abs(first.actions - second.actions).max() > 1e-3
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    wanted = codec.absolute(first, observation.joints)[:5] + 0.03
    for jacobian in ('exact', 'identity'):
        prefix = ChunkPrefix(wanted, 3, 2, Guidance(jacobian, limit=10.0))
        guided = answer(policy, observation, prefix)[:3]
        before = np.abs(first.actions[:3] - wanted[:3]).mean()
        assert np.abs(guided - wanted[:3]).mean() < 0.6 * before


def test_from_the_registry_to_joint_positions(policy, observation):
    policy.reset(observation.instruction, seed=5)
    chunk = policy.infer(observation)
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    path = codec.decode(chunk, observation.joints)
    assert path.positions.shape == (HORIZON, 8) and np.isfinite(path.positions).all()
    np.testing.assert_allclose(path.positions[:, :7], chunk.actions[:, :7])
    np.testing.assert_allclose(path.times, 0.1 * np.arange(1, HORIZON + 1))


def test_eight_bits_give_nearly_the_same_and_say_their_error(folder, policy, observation, caplog):
    spec = spec_of(folder)
    spec = replace(spec, options={**spec.options, 'weights': 'int8'})
    with caplog.at_level('INFO'):
        small = create(spec, ROBOT)
    # 2 vision layers of 6 linear ones, 4 layers of 7 in the VLM and in the expert
    assert '68 layers in int8' in caplog.text and 'relative error of their weights' in caplog.text
    gap = np.abs(answer(small, observation) - answer(policy, observation)).max()
    assert 1e-6 < gap < 0.02
    guided = answer(small, observation, ChunkPrefix(
        answer(policy, observation)[:4], 2, 2, Guidance('exact')
    ))  # fmt: skip
    assert np.isfinite(guided).all()
    with pytest.raises(ConfigError, match="unknown weights 'int4'.*Known: fp8, int8"):
        create(replace(spec, options={**spec.options, 'weights': 'int4'}), ROBOT)


def write_adapter(folder) -> dict[str, torch.Tensor]:
    """Write an adapter of some of the expert's weights; return the weights with it."""
    folder.mkdir()
    config = {
        'peft_type': 'LORA', 'r': 2, 'lora_alpha': 4, 'lora_dropout': 0.0, 'bias': 'none',
        'target_modules': r'model\.vlm_with_expert\.lm_expert\..*\.(q|v)_proj',
        'init_lora_weights': True,
    }  # fmt: skip
    (folder / 'adapter_config.json').write_text(json.dumps(config), encoding='utf-8')
    whole, parts = smolvla_layout.weights(SIZES), {}
    generator = torch.Generator().manual_seed(9)
    for k in range(SIZES['layers']):
        for letter in 'qv':
            module = f'model.vlm_with_expert.lm_expert.layers.{k}.self_attn.{letter}_proj'
            out, inn = whole[f'{module}.weight'].shape
            b, a = (torch.randn(s, generator=generator) / 4 for s in ((out, 2), (2, inn)))
            parts |= {
                f'base_model.model.{module}.lora_A.weight': a,
                f'base_model.model.{module}.lora_B.weight': b,
            }
            whole[f'{module}.weight'] = whole[f'{module}.weight'] + 2.0 * b @ a
    save_file(parts, folder / 'adapter_model.safetensors')
    return whole


def test_an_adapter_is_added_to_the_weights(folder, observation, tmp_path):
    lora = tmp_path / 'lora'
    weights = write_adapter(lora)
    spec = spec_of(folder)
    spec = replace(spec, options={**spec.options, 'lora': str(lora)})
    found = answer(create(spec, ROBOT), observation)
    np.testing.assert_allclose(found, expected(observation, weights=weights), atol=2e-6)
    assert np.abs(found - expected(observation)).max() > 1e-3
    # LeRobot writes the statistics of the data set that the adapter was trained on beside it.
    moved = {name: {**table, 'mean': table['mean'] + 0.1} for name, table in STATS.items()}
    lerobot_layout.write_config(lora, 'smolvla', TABLE)
    lerobot_layout.write_pipelines(lora, TABLE, moved)
    found = answer(create(spec, ROBOT), observation)
    own = expected(observation, weights=weights, stats=moved)
    np.testing.assert_allclose(found, own, atol=2e-6)
    (lora / 'adapter_model.safetensors').unlink()
    with pytest.raises(CheckpointError, match='cannot read .*adapter_model'):
        create(spec, ROBOT)


def test_statistics_are_told_without_the_weights(copy):
    (copy / 'model.safetensors').unlink()
    for stats, name in zip(SmolVLAPolicy.statistics(spec_of(copy)), STATS):
        np.testing.assert_allclose(stats.mean, STATS[name]['mean'], rtol=1e-6)
        np.testing.assert_allclose(stats.std, STATS[name]['std'], rtol=1e-6)


def edit(path, **changes):
    table = {**json.loads(path.read_text(encoding='utf-8')), **changes}
    path.write_text(json.dumps(table), encoding='utf-8')


def tensors(folder, change):
    found = load_file(folder / 'model.safetensors')
    change(found)
    save_file(found, folder / 'model.safetensors')


OUT = 'model.action_out_proj.weight'
BREAKS = {
    'other shape': (
        lambda f: tensors(f, lambda t: t.update({OUT: t[OUT][:-1].clone()})),
        r'1 mismatched .*action_out_proj.weight is \(8, 24\), expected \(9, 24\)',
    ),
    'no tokenizer': (
        lambda f: (f / 'vlm' / 'tokenizer.json').unlink(),
        'no tokenizer.json in .*vlm: copy .* of Some/TinyVLM',
    ),
    'damaged tokenizer': (
        lambda f: (f / 'vlm' / 'tokenizer.json').write_text('{'),
        'cannot read .*tokenizer.json',
    ),
    'tokenizer of another model': (
        lambda f: write_tokenizer(f / 'vlm', [*LETTERS, *map(str, range(70))]),
        'has 99 words, the network 64: it is of another model',
    ),
    'VLM of another kind': (
        lambda f: edit(f / 'vlm' / 'config.json', model_type='idefics3'),
        "has model_type 'idefics3', expected 'smolvlm'",
    ),
    'config without a size': (
        lambda f: edit(f / 'config.json', chunk_size=None),
        'config.json cannot be used: TypeError',
    ),
    'aloha': (
        lambda f: edit(f / 'config.json', adapt_to_pi_aloha=True),
        'adapt_to_pi_aloha True, which is not implemented',
    ),
    'shallow expert': (
        lambda f: edit(f / 'config.json', num_expert_layers=2),
        'an expert of 2 layers, expected as many as the VLM, 4',
    ),
    'oblong pictures': (
        lambda f: edit(f / 'config.json', resize_imgs_with_padding=[32, 24]),
        r'resize_imgs_with_padding \[32, 24\], expected a square of a multiple of 16 px',
    ),
}


@pytest.mark.parametrize('name', BREAKS)
def test_a_broken_checkpoint_is_one_clear_error(copy, name):
    damage, message = BREAKS[name]
    damage(copy)
    with pytest.raises(CheckpointError, match=message):
        create(spec_of(copy), ROBOT)


GRIPPER = (ActionSlice('gripper', 'open_fraction'),)
WRONG = {
    'horizon': ({'horizon': 9}, CheckpointError, 'horizon 9, but the checkpoint .* has 7'),
    'camera count': (
        {'images': (ImageSpec('scene', 32),)},
        CheckpointError,
        'has 1 images, but the checkpoint .* was trained with front, hand; give each',
    ),
    'slot': (
        {'images': (ImageSpec('scene', 32, 'font'),)},
        UnknownNameError,
        "slot 'font'.*Did you mean 'front'",
    ),
    'picture size': (
        {'images': (ImageSpec('scene', 64), ImageSpec('wrist', 64))},
        CheckpointError,
        r'image sizes \{64\}, but',
    ),
    'option': ({'options': {'tokeniser': 'x'}}, UnknownNameError, "Did you mean 'tokenizer'"),
    'kind of option': ({'options': {'tokenizer': 3}}, ConfigError, 'tokenizer'),
    'unknown VLM': ({'options': {}}, CheckpointError, "'Some/TinyVLM', whose sizes .* 'options:"),
    'device that is not there': (
        {'device': 'cuda:77'}, PolicyError, "to device 'cuda:77': .* such as 'cpu'",
    ),
    'no device': ({'device': 'gpu'}, PolicyError, "moved to device 'gpu'"),
    'no checkpoint': ({'checkpoint': None}, CheckpointError, "add 'checkpoint:'"),
    'no folder': ({'checkpoint': '/nowhere'}, CheckpointError, 'is not a folder'),
}  # fmt: skip


@pytest.mark.parametrize('name', WRONG)
def test_a_policy_file_that_does_not_fit_is_one_clear_error(folder, name):
    changes, error, message = WRONG[name]
    with pytest.raises(error, match=message):
        create(spec_of(folder, **changes), ROBOT)


def test_an_observation_that_lacks_a_picture_is_refused(policy, observation):
    frames = {'scene': observation.frames['scene']}
    with pytest.raises(PolicyError, match="no picture of camera 'wrist'"):
        policy.infer(replace(observation, frames=frames))


def test_the_tokenizer_of_the_checkpoint_is_used_where_none_is_named(copy, policy, observation):
    (copy / 'tokenizer').mkdir()
    write_tokenizer(copy / 'tokenizer')
    own = create(spec_of(copy, options={'vlm': str(copy / 'vlm')}), ROBOT)
    np.testing.assert_array_equal(answer(own, observation), answer(policy, observation))
