"""What a policy file may do to weights, for each adapter: against files in which it is done."""

from __future__ import annotations

from dataclasses import replace
import json

import numpy as np
import openvla_layout
import pi_folders
from pi_layout import SIZES
import pytest
from safetensors.torch import load_file, save_file
import torch

from vla_ros import paths
from vla_ros.errors import CheckpointError, UnknownNameError
from vla_ros.models.nf4 import Nf4Linear
from vla_ros.models.quantised import Int8Linear
from vla_ros.policies.registry import create, statistics
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice
from vla_ros.types import Frame, JointState, Observation

pytestmark = pytest.mark.usefixtures('one_thread')

ROBOT = load_robot(paths.find('robots', 'panda'))
JOINTS = PolicySpec(
    name='tiny',
    adapter='pi0',
    images=(ImageSpec('scene', 28, 'base_0_rgb'),),
    state=(StateSlice('joint_position', 'rad'), StateSlice('gripper', 'open_fraction')),
    action=(ActionSlice('joint_position', 'rad'), ActionSlice('gripper', 'open_fraction')),
    step=0.1,
    horizon=SIZES.horizon,
    replan_steps=3,
)
TOOL = replace(
    JOINTS,
    images=(ImageSpec('scene', 28),),
    state=(),
    action=(
        ActionSlice(
            'tool_delta', 'm_rad', 'previous', rotation='euler_xyz', frame='base', scale=0.02
        ),
        ActionSlice('gripper', 'open_fraction'),
    ),
    horizon=1,
    replan_steps=1,
    strategy='synchronous',
    unnorm_key='bridge_orig',
)


def write_openpi(folder):
    pi_folders.write_openpi(folder, 'pi0', pi_folders.statistics(8, 8))


def write_lerobot(folder):
    pi_folders.write_lerobot(folder, 'pi05', pi_folders.statistics(8, 8))


def write_oft(folder):
    openvla_layout.write_oft(folder, state=None)


# adapter -> policy file, how its checkpoint is written, a weight of it
CASES = {
    'pi0': (JOINTS, write_openpi, 'gemma_expert.model.layers.1.mlp.up_proj'),
    'pi05': (JOINTS, write_lerobot, 'gemma_expert.model.layers.1.self_attn.v_proj'),
    'openvla': (TOOL, openvla_layout.write_openvla, 'language_model.model.layers.0.mlp.up_proj'),
    'openvla_oft': (
        replace(TOOL, horizon=5, replan_steps=5, unnorm_key=None),
        write_oft,
        'vision_backbone.featurizer.blocks.0.attn.qkv',
    ),
}


def observation(seed: int) -> Observation:
    image = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    position = np.append(np.array(ROBOT.home), ROBOT.gripper.open)
    joints = JointState(3.0, position, 0.0 * position)
    return Observation(3.0, {'scene': Frame(3.0, image)}, joints, 'put it there')


def answers(adapter: str, folder, **options) -> np.ndarray:
    spec = replace(CASES[adapter][0], adapter=adapter, checkpoint=str(folder), options=options)
    policy = create(spec, ROBOT)
    policy.reset('put it there', seed=5)
    return np.stack([policy.infer(observation(seed)).actions for seed in range(4)])


def find(folder, ending: str):
    """Return the file, the name and all tensors of the file that has the weight."""
    for file in sorted(folder.glob('*.safetensors')):
        tensors = load_file(file)
        for name in tensors:
            if name.endswith(f'{ending}.weight'):
                return file, name, tensors
    raise AssertionError(ending)


def write_lora(folder, name: str, shape: tuple[int, int]) -> torch.Tensor:
    """Write an adapter of one weight; return what it adds."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    b, a = (torch.randn(s, generator=generator) for s in ((shape[0], 2), (2, shape[1])))
    root = f'base_model.model.{name.removesuffix(".weight")}'
    parts = {f'{root}.lora_A.weight': a, f'{root}.lora_B.weight': b}
    save_file(parts, folder / 'adapter_model.safetensors')
    config = {'peft_type': 'LORA', 'r': 2, 'lora_alpha': 1, 'init_lora_weights': True}
    (folder / 'adapter_config.json').write_text(json.dumps(config), encoding='utf-8')
    return 0.5 * b @ a


@pytest.mark.parametrize('adapter', CASES)
def test_an_adapter_gives_what_the_changed_file_gives(tmp_path, adapter):
    _, write, ending = CASES[adapter]
    folder, lora = tmp_path / 'checkpoint', tmp_path / 'lora'
    folder.mkdir()
    write(folder)
    file, name, tensors = find(folder, ending)
    added = write_lora(lora, name, tensors[name].shape)
    plain = answers(adapter, folder)
    found = answers(adapter, folder, lora=str(lora))
    save_file({**tensors, name: tensors[name].float() + added}, file)
    np.testing.assert_allclose(found, answers(adapter, folder), atol=1e-6)
    assert np.abs(found - plain).max() > 1e-4
    with pytest.raises(CheckpointError, match='adapter_config.json'):
        answers(adapter, folder, lora=str(tmp_path))


@pytest.mark.parametrize('kind, most', [('int8', 0.1), ('fp8', 0.4), ('nf4', 0.7)])
@pytest.mark.parametrize('adapter', CASES)
def test_fewer_bits_change_little_and_are_told(tmp_path, adapter, kind, most, caplog):
    folder = tmp_path / 'checkpoint'
    folder.mkdir()
    CASES[adapter][1](folder)
    plain = answers(adapter, folder)
    with caplog.at_level('INFO'):
        rounded = answers(adapter, folder, weights=kind)
    assert str(folder) in caplog.text and f'layers in {kind}, ' in caplog.text
    assert 'relative error of their weights' in caplog.text
    assert np.isfinite(rounded).all()
    if adapter != 'openvla':  # whose words may be others by a rounding
        gap = np.abs(rounded - plain).max()
        assert 1e-6 < gap < most * np.abs(plain - plain.mean()).max()


def test_a_kind_of_weights_that_is_none_is_refused_with_the_closest(tmp_path):
    with pytest.raises(UnknownNameError, match="'nf5'.*Did you mean 'nf4'"):
        answers('pi0', tmp_path, weights='nf5')


def test_pi0_fast_which_writes_words_has_the_weights_that_are_asked_for(tmp_path):
    folder, lora = tmp_path / 'checkpoint', tmp_path / 'lora'
    pi_folders.write_lerobot(folder, 'pi0_fast', pi_folders.statistics(8, 8))
    pi_folders.write_fast(folder / 'action_tokenizer', 5 * ['some', 'text'])
    _, name, tensors = find(folder, 'language_model.layers.1.mlp.up_proj')
    added = write_lora(lora, name, tensors[name].shape)
    spec = replace(JOINTS, adapter='pi0_fast', checkpoint=str(folder))
    plain, adapted, rounded, quarter = (
        dict(create(replace(spec, options=options), ROBOT)._model.named_modules())
        for options in ({}, {'lora': str(lora)}, {'weights': 'int8'}, {'weights': 'nf4'})
    )
    where = 'vlm.language_model.layers.{}.mlp.up_proj'
    gap = adapted[where.format(1)].weight - plain[where.format(1)].weight
    torch.testing.assert_close(gap, added, rtol=0.0, atol=1e-5)
    assert torch.equal(adapted[where.format(0)].weight, plain[where.format(0)].weight)
    assert isinstance(rounded[where.format(0)], Int8Linear)
    assert isinstance(quarter[where.format(0)], Nf4Linear)
    assert not isinstance(rounded['lm_head'], Int8Linear)


def test_statistics_beside_an_adapter_are_those_of_its_data(tmp_path):
    folder, lora = tmp_path / 'checkpoint', tmp_path / 'lora'
    write_lerobot(folder)
    own = pi_folders.statistics(8, 8, seed=2)
    pi_folders.write_lerobot(lora, 'pi05', own)
    spec = replace(JOINTS, adapter='pi05', checkpoint=str(folder), options={'lora': str(lora)})
    for stats, name in zip(statistics(spec), ('state', 'actions')):
        np.testing.assert_allclose(stats.low, own[name]['q01'], rtol=1e-6)
