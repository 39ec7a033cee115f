"""OpenVLA-OFT from published layouts: against a second writing in float64, and what is refused."""

from __future__ import annotations

from dataclasses import replace
import os
import shutil

from case import ROBOT
import numpy as np
from oft_case import BRIDGE, CASES, expected_chunk, LIBERO, observation
import openvla_layout as layout
import pytest
import torch

from vla_ros.actions.decode import Codec
from vla_ros.errors import CheckpointError, PolicyError, UnknownNameError
from vla_ros.policies.oft_files import without_lora
from vla_ros.policies.openvla_oft import OpenVlaOft
from vla_ros.policies.registry import create, statistics
from vla_ros.spec import ImageSpec
from vla_ros.types import Frame, JointState

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def cases(tmp_path_factory):
    """Return for each case the folder, its tensors and the loaded policy."""
    found = {}
    for name, (spec, actions, state, rank) in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        parts = layout.write_oft(folder, actions=actions, state=state, film_rank=rank)
        found[name] = folder, parts, create(replace(spec, checkpoint=str(folder)), ROBOT)
    return found


@pytest.fixture
def copy(cases, tmp_path):
    """Return a copy of BRIDGE's folder that a test may break."""
    return shutil.copytree(cases['bridge'][0], tmp_path / 'copy')


def load(folder, **changes) -> OpenVlaOft:
    return OpenVlaOft(replace(BRIDGE, checkpoint=str(folder), **changes), ROBOT)


@pytest.mark.parametrize('name', CASES)
def test_chunks_are_those_of_the_second_writing(cases, name):
    spec, actions, _, _ = CASES[name]
    policy = cases[name][2]
    codec = Codec(ROBOT, ROBOT.urdf_path, spec)
    chunks = []
    for seed in range(2):
        obs = observation(seed)
        chunk = policy.infer(obs)
        expected = expected_chunk(name, *cases[name][:2], obs, codec.state(obs.joints))
        assert chunk.actions.shape == (spec.horizon, actions)
        np.testing.assert_allclose(chunk.actions, expected, atol=2e-4)
        assert (chunk.stamp, chunk.step) == (3.0, spec.step)
        chunks.append(chunk.actions)
    assert np.abs(chunks[0] - chunks[1]).max() > 0.05
    assert np.ptp(chunks[0], axis=0).min() > 1e-3  # the steps of a chunk differ


def test_the_state_is_that_of_libero(cases):
    """Position, axis-angle, then both fingers, the second with the opposite sign."""
    codec = Codec(ROBOT, ROBOT.urdf_path, LIBERO)
    state = codec.state(observation().joints)
    rotation, position = codec.hand.kinematics.fk(observation().joints.position[:-1])
    np.testing.assert_allclose(state[:3], position)
    angle = np.linalg.norm(state[3:6])
    assert 2.0 * np.cos(angle) + 1.0 == pytest.approx(np.trace(rotation))
    np.testing.assert_allclose(state[6:], [0.03, -0.03])


@pytest.mark.parametrize('part', ['words', 'state', 'scene', 'wrist'])
def test_every_input_reaches_the_actions(cases, part):
    policy, obs = cases['libero'][2], observation()
    before = policy.infer(obs).actions
    if part == 'words':
        obs = replace(obs, instruction='drop it')
    elif part == 'state':
        joints = obs.joints
        obs = replace(obs, joints=replace(joints, position=joints.position + 0.03))
    else:
        frame = Frame(3.0, np.full((48, 64, 3), 90, np.uint8))
        obs = replace(obs, frames={**obs.frames, part: frame})
    assert np.abs(policy.infer(obs).actions - before).max() > 1e-3


def test_film_follows_the_instruction_and_comes_back(cases):
    policy = cases['bridge'][2]
    first = policy.infer(observation()).actions
    other = policy.infer(observation(words='another task')).actions
    assert np.abs(first - other).max() > 1e-2
    np.testing.assert_array_equal(policy.infer(observation()).actions, first)


def test_a_state_beyond_its_statistics_is_cut(cases):
    policy, obs = cases['aloha'][2], observation()
    far = [replace(obs.joints, position=obs.joints.position + shift) for shift in (100.0, 200.0)]
    chunks = [policy.infer(replace(obs, joints=joints)).actions for joints in far]
    np.testing.assert_array_equal(chunks[0], chunks[1])


def test_merged_adapters_do_what_layer_and_adapter_do_together():
    generator = torch.Generator().manual_seed(0)
    for rank, scale in ((8, 1.0), (32, 0.5)):
        base = torch.nn.Conv2d(3, 5, 4, stride=4)
        a = torch.randn(rank, 3, 4, 4, generator=generator)
        b = torch.randn(5, rank, 1, 1, generator=generator)
        state = {
            'proj.base_layer.weight': base.weight.data, 'proj.base_layer.bias': base.bias.data,
            'proj.lora_A.default.weight': a, 'proj.lora_B.default.weight': b,
            'scale.weight': torch.ones(2, 2),
        }  # fmt: skip
        plain = without_lora(state)
        assert plain.keys() == {'proj.weight', 'proj.bias', 'scale.weight'}
        x = torch.randn(2, 3, 8, 8, generator=generator)
        conv2d = torch.nn.functional.conv2d
        expected = base(x) + scale * conv2d(conv2d(x, a, stride=4), b)
        found = conv2d(x, plain['proj.weight'], plain['proj.bias'], stride=4)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_end_to_end_the_arm_follows_the_chained_steps(cases):
    policy, obs = cases['libero'][2], observation()
    chunk = policy.infer(obs)
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    path = codec.decode(chunk, obs.joints)
    start = codec.hand.kinematics.fk(obs.joints.position[:-1])[1]
    places = np.array([codec.hand.kinematics.fk(q[:-1])[1] for q in path.positions])
    expected = start + np.cumsum(0.01 * chunk.actions[:, :3], axis=0)
    np.testing.assert_allclose(places, expected, atol=2e-3)
    assert np.linalg.norm(places[-1] - start) > 5e-3
    np.testing.assert_allclose(
        path.positions[:, -1], 0.04 * np.clip(chunk.actions[:, 6], 0.0, 1.0), atol=1e-9
    )


def test_statistics_are_read_without_weights(cases, copy):
    for name, (spec, actions, state, _) in CASES.items():
        folder = cases[name][0]
        found = statistics(replace(spec, checkpoint=str(folder)))
        assert [s.width for s in found] == [state or 0, actions]
    for file in copy.glob('model*'):
        file.unlink()
    low = statistics(replace(BRIDGE, checkpoint=str(copy)))[1].low
    np.testing.assert_array_equal(low, layout.norm_stats(7, 7)['bridge_orig']['action']['q01'])


# What is refused


@pytest.mark.parametrize(
    ('name', 'match'),
    [('action_head', 'no action_head--STEP_checkpoint.pt'),
     ('proprio_projector', 'no proprio_projector--STEP_checkpoint.pt')],
)  # fmt: skip
def test_a_component_that_is_missing_is_named(copy, name, match):
    next(copy.glob(f'{name}--*')).unlink()
    with pytest.raises(CheckpointError, match=match):
        load(copy)


def test_two_steps_of_one_component_are_a_choice(copy):
    shutil.copy(next(copy.glob('action_head--*')), copy / 'action_head--5_checkpoint.pt')
    with pytest.raises(CheckpointError, match='action_head--150000_checkpoint.pt.*keep the one'):
        load(copy)


def test_the_latest_checkpoint_needs_no_step(tmp_path):
    layout.write_oft(tmp_path, step='latest')
    assert np.isfinite(load(tmp_path).infer(observation()).actions).all()


def test_a_diffusion_head_is_refused(copy):
    torch.save({}, copy / 'noisy_action_projector--150000_checkpoint.pt')
    with pytest.raises(CheckpointError, match='diffusion model'):
        load(copy)


@pytest.mark.parametrize('name', ['action_head', 'proprio_projector', 'vision_backbone'])
def test_a_component_that_is_cut_is_named(copy, name):
    file = next(copy.glob(f'{name}--*'))
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match=f'cannot read .*{name}--150000_checkpoint.pt'):
        load(copy)


class Trap:
    """What a pickle may carry."""

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_code_in_a_component_is_never_run(copy, tmp_path):
    trap = Trap()
    trap.place = str(tmp_path / 'run')
    torch.save({'model.fc1.weight': trap}, next(copy.glob('action_head--*')))
    with pytest.raises(CheckpointError, match='holds more than tensors'):
        load(copy)
    assert not (tmp_path / 'run').exists()
    torch.save([torch.zeros(1)], next(copy.glob('action_head--*')))
    with pytest.raises(CheckpointError, match='not a table of tensors'):
        load(copy)


@pytest.mark.parametrize(
    ('name', 'key', 'match'),
    [('action_head', 'module.model.fc2.bias', "missing tensors, such as \\['model.fc2.bias'\\]"),
     ('proprio_projector', 'module.fc1.weight', "missing tensors, such as \\['fc1.weight'\\]"),
     ('vision_backbone', 'vision_backbone.featurizer.blocks.3.shift.bias', '3.shift.bias'),
     ('vision_backbone', 'vision_backbone.featurizer.blocks.3.block.norm1.bias', '3.norm1.bias')],
)  # fmt: skip
def test_tensors_that_are_missing_from_a_component_are_named(copy, name, key, match):
    file = next(copy.glob(f'{name}--*'))
    state = torch.load(file, weights_only=True)
    del state[key]
    torch.save(state, file)
    with pytest.raises(CheckpointError, match=match):
        load(copy)


@pytest.mark.parametrize(
    ('changes', 'error', 'match'),
    [
        ({'images': (ImageSpec('scene', 224),)}, CheckpointError, r'sizes \{224\}, but .* \{28\}'),
        ({'state': ()}, CheckpointError, 'state dimensions 0, but .* has 7'),
        ({'action': BRIDGE.action[:1]}, CheckpointError, 'action dimensions 6, but .* has 7'),
        ({'unnorm_key': 'own_date'}, UnknownNameError, "Did you mean 'own_data'"),
        ({'options': {'normalization': 'bound'}}, UnknownNameError, "Did you mean 'bounds'"),
        ({'options': {'center_crop': True}}, UnknownNameError, "Did you mean 'centre_crop'"),
    ],
)
def test_a_policy_file_that_does_not_fit_is_refused(cases, changes, error, match):
    with pytest.raises(error, match=match):
        load(cases['bridge'][0], **changes)


def test_a_state_needs_a_projector_and_statistics(cases, copy):
    with pytest.raises(CheckpointError, match='no proprio_projector--STEP_checkpoint.pt'):
        load(cases['without_state'][0])
    table = layout.norm_stats(names=('own_data',))
    del table['own_data']['proprio']
    layout.write_json(copy / 'dataset_statistics.json', table)
    with pytest.raises(CheckpointError, match="own_data has no usable 'proprio'"):
        load(copy)


def test_an_observation_that_lacks_a_camera_or_joints_is_refused(cases):
    policy, obs = cases['libero'][2], observation()
    with pytest.raises(PolicyError, match="no picture of camera 'wrist'"):
        policy.infer(replace(obs, frames={'scene': obs.frames['scene']}))
    with pytest.raises(PolicyError, match='expected 8 finite ones'):
        policy.infer(replace(obs, joints=JointState(1.0, np.zeros(3), np.zeros(3))))
