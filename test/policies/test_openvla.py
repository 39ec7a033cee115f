"""OpenVLA from published layouts: against a second writing in float64, and what is refused."""

from __future__ import annotations

from dataclasses import replace
import json
import shutil

from case import ROBOT
import numpy as np
from openvla_case import (
    expected_action,
    expected_ids,
    expected_pixels,
    observation,
    SPEC,
    WORDS,
)
import openvla_layout as layout
import openvla_reference as reference
from PIL import Image as Pillow
import pytest
import torch

from vla_ros.actions.decode import Codec
from vla_ros.errors import CheckpointError, ConfigError, PolicyError, UnknownNameError
from vla_ros.models.prismatic import llama_config, Prismatic, PrismaticShape
from vla_ros.models.vit import FAMILIES, VitShape
from vla_ros.policies.openvla import OpenVla
from vla_ros.policies.prismatic import PrismaticFolder
from vla_ros.policies.registry import create, statistics
from vla_ros.policies.rlds_pictures import centre_crop, jpeg, lanczos3
from vla_ros.spec import ImageSpec
from vla_ros.types import JointState

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """Return a folder and its tensors."""
    folder = tmp_path_factory.mktemp('openvla')
    return folder, layout.write_openvla(folder)


@pytest.fixture(scope='module')
def policy(published) -> OpenVla:
    return create(replace(SPEC, checkpoint=str(published[0])), ROBOT)


@pytest.fixture
def copy(published, tmp_path):
    """Return a copy of the folder that a test may break."""
    return shutil.copytree(published[0], tmp_path / 'copy')


def change(file, **keys):
    table = json.loads(file.read_text(encoding='utf-8'))
    table = {k: v for k, v in {**table, **keys}.items() if v is not None}
    file.write_text(json.dumps(table), encoding='utf-8')


def load(folder, **changes) -> OpenVla:
    return OpenVla(replace(SPEC, checkpoint=str(folder), **changes), ROBOT)


def test_the_published_table_is_that_of_openvla_7b():
    """7,541,237,184 parameters in 982 tensors, as the published index has them."""
    table = layout.model_shapes(layout.FULL)
    assert len(table) == 982
    assert sum(int(np.prod(shape)) for shape in table.values()) == 7_541_237_184


def test_at_full_size_the_network_has_the_published_tensors_and_no_other():
    sizes = layout.FULL
    vits = tuple(
        VitShape(FAMILIES[name], width, mlp, sizes.patch, sizes.patches)
        for name, width, mlp in sizes.vit
    )
    with torch.device('meta'):
        network = Prismatic(PrismaticShape(vits, llama_config(sizes.text_config)))
    found = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    table = layout.model_shapes(sizes)
    used = {
        key: shape
        for key, shape in table.items()
        if not any(
            key.startswith(f'vision_backbone.{part}.{unused}')
            for part, depth in (('featurizer', 24), ('fused_featurizer', 27))
            for unused in (f'blocks.{depth - 1}.', 'norm.', 'attn_pool.')
        )
    }
    assert found == used
    assert len(table) - len(used) == 43


@pytest.mark.parametrize('text', [WORDS, 'open the top drawer', ''])
def test_prompts_are_lower_case_between_bos_and_a_lone_blank(policy, published, text):
    prompt = f'In: What action should the robot take to {text.lower()}?\nOut:'
    ids = PrismaticFolder(published[0]).prompt(text)
    assert ids == expected_ids(published[0], prompt)
    assert ids[0] == 1 and ids[-1] == 29871


def test_pixels_are_those_of_the_checkpoints_own_processor(published):
    image = observation().frames['scene'].image
    found = PrismaticFolder(published[0]).pixels(image)
    assert found.dtype == np.float32 and found.shape == (6, 28, 28)
    assert np.abs(found - expected_pixels(image)).max() < 1e-6
    # The keys beside hold the exact means, which the model never saw.
    exact = np.array([0.485, 0.456, 0.406])[:, None, None]
    small = np.asarray(Pillow.fromarray(image).resize((28, 28), Pillow.BICUBIC)) / 255.0
    assert np.abs(found[:3] * 0.229 + exact - small.transpose(2, 0, 1)).max() > 1e-3


def test_features_and_logits_are_those_of_the_second_writing(policy, published):
    folder, tensors = published
    obs = observation(5)
    pixels = expected_pixels(obs.frames['scene'].image)
    table = reference.Tensors(tensors)
    context = reference.patches(table, table / 'vision_backbone', pixels, (24, 27))
    ids = PrismaticFolder(folder).prompt(WORDS)
    scores = reference.logits(table, ids, context, 2, 4)
    with torch.inference_mode():
        patches = policy._model.patches(torch.from_numpy(pixels).float()[None])
        words = policy._model.embed(ids)
        inputs = torch.cat([words[:, :1], patches, words[:, 1:]], dim=1)
        found = policy._model.language_model(inputs_embeds=inputs).logits[0, -1]
    assert np.abs(patches[0].numpy() - context).max() < 1e-3
    assert np.abs(found.numpy() - scores).max() < 1e-3
    assert np.abs(scores).max() > 1.0


@pytest.mark.parametrize('seed', range(3))
def test_actions_are_those_of_the_second_writing(policy, published, seed):
    folder, tensors = published
    obs = observation(seed, f'{WORDS} {seed}')
    policy.reset(obs.instruction, seed=0)
    chunk = policy.infer(obs)
    ids = PrismaticFolder(folder).prompt(obs.instruction)
    expected = expected_action(tensors, ids, expected_pixels(obs.frames['scene'].image))
    assert chunk.actions.shape == (1, 7)
    np.testing.assert_allclose(chunk.actions[0], expected, atol=1e-12)
    assert (chunk.stamp, chunk.step) == (3.0, 0.2)
    assert set(chunk.timings) == {'preprocess', 'inference'}


def test_the_picture_the_words_and_the_data_set_matter(policy, published):
    first = policy.infer(observation(0)).actions
    np.testing.assert_array_equal(policy.infer(observation(0)).actions, first)
    assert not np.array_equal(policy.infer(observation(1)).actions, first)
    assert not np.array_equal(policy.infer(observation(0, 'something else')).actions, first)
    other = load(published[0], unnorm_key='fractal20220817_data').infer(observation(0)).actions
    assert not np.array_equal(other[0, :6], first[0, :6])
    assert other[0, 6] == first[0, 6]  # the mask leaves the gripper as it is


def test_v01_has_one_transformer_and_vicunas_prompt(tmp_path):
    tensors = layout.write_openvla(tmp_path, layout.V01)
    obs = observation(2)
    prompt = (
        'A chat between a curious user and an artificial intelligence assistant. The assistant '
        "gives helpful, detailed, and polite answers to the user's questions. USER: What action "
        f'should the robot take to {WORDS.lower()}? ASSISTANT:'
    )
    ids = expected_ids(tmp_path, prompt)
    assert PrismaticFolder(tmp_path).prompt(WORDS) == ids
    pixels = expected_pixels(obs.frames['scene'].image, layout.V01)
    expected = expected_action(tensors, ids, pixels, layout.V01)
    np.testing.assert_allclose(load(tmp_path).infer(obs).actions[0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ('options', 'prepared'),
    [
        ({'resize': 'lanczos3'}, lambda image: lanczos3(jpeg(image), 28)),
        ({'centre_crop': True}, lambda image: centre_crop(image, 28)),
        (
            {'resize': 'lanczos3', 'centre_crop': True},
            lambda image: centre_crop(lanczos3(jpeg(image), 28), 28),
        ),
    ],
)
def test_pictures_are_prepared_as_the_policy_file_says(published, options, prepared):
    folder, tensors = published
    obs = observation(4)
    ids = PrismaticFolder(folder).prompt(obs.instruction)
    pixels = expected_pixels(prepared(obs.frames['scene'].image))
    found = load(folder, options=options).infer(obs).actions[0]
    np.testing.assert_allclose(found, expected_action(tensors, ids, pixels), atol=1e-12)


def test_bfloat16_keeps_the_rotary_tables_exact(published):
    policy = load(published[0], dtype='bfloat16')
    assert {p.dtype for p in policy._model.parameters()} == {torch.bfloat16}
    assert policy._model.language_model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert np.isfinite(policy.infer(observation()).actions).all()


def test_end_to_end_the_arm_moves_as_the_action_says(policy):
    obs = observation(1)
    chunk = policy.infer(obs)
    codec = Codec(ROBOT, ROBOT.urdf_path, policy.spec)
    path = codec.decode(chunk, obs.joints)
    start = codec.hand.kinematics.fk(obs.joints.position[:-1])[1]
    end = codec.hand.kinematics.fk(path.positions[-1, :-1])[1]
    np.testing.assert_allclose(end - start, 0.02 * chunk.actions[0, :3], atol=1e-3)
    assert np.linalg.norm(end - start) > 2e-3
    opening = np.clip(chunk.actions[0, 6], 0.0, 1.0)
    assert path.positions[-1, -1] == pytest.approx(0.04 * opening)


def test_statistics_are_read_without_weights(copy):
    for file in copy.glob('model*'):
        file.unlink()
    state, action = statistics(replace(SPEC, checkpoint=str(copy)))
    assert state.width == 0
    rows = layout.norm_stats()['bridge_orig']['action']
    np.testing.assert_array_equal(action.low, rows['q01'])
    np.testing.assert_array_equal(action.high, rows['q99'])
    assert action.mask == (True,) * 6 + (False,)


# What is refused


@pytest.mark.parametrize(
    ('file', 'keys', 'match'),
    [
        ('config.json', {'model_type': None}, "model_type 'None', expected 'openvla'"),
        ('config.json', {'timm_model_ids': ['vit_tiny']}, "timm_model_ids 'vit_tiny'"),
        ('config.json', {'llm_backbone_id': 'phi-2-3b'}, "llm_backbone_id 'phi-2-3b'"),
        ('config.json', {'text_config': None}, 'text_config None, expected a dict'),
        ('config.json', {'text_config': {'hidden_size': 'x'}}, 'text_config that is none of'),
        ('preprocessor_config.json', {'image_resize_strategy': 'letterbox'}, 'letterbox'),
        ('preprocessor_config.json', {'input_sizes': None}, "KeyError\\('input_sizes'\\)"),
        ('preprocessor_config.json', {'interpolations': ['bilinear'] * 2}, 'bilinear'),
    ],
)
def test_small_files_that_do_not_fit_are_named(copy, file, keys, match):
    change(copy / file, **keys)
    with pytest.raises(CheckpointError, match=match) as caught:
        load(copy)
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize('name', ['config.json', 'preprocessor_config.json', 'tokenizer.json'])
def test_a_file_that_is_missing_or_cut_is_named(copy, name):
    text = (copy / name).read_text(encoding='utf-8')
    (copy / name).write_text(text[: len(text) // 2], encoding='utf-8')
    with pytest.raises(CheckpointError, match=f'{name}.*opy it again'):
        load(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=f'has no {name}'):
        load(copy)


def test_another_tokenizer_is_refused(copy):
    table = layout.tokenizer()
    table['model']['vocab'] = {k: v for k, v in table['model']['vocab'].items() if v < 259}
    table['model']['merges'] = []
    layout.write_json(copy / 'tokenizer.json', table)
    with pytest.raises(CheckpointError, match='tokenizer.json is not the tokenizer of Llama 2'):
        load(copy)


def test_an_index_that_names_what_no_file_has_is_refused(copy):
    index = copy / 'model.safetensors.index.json'
    names = json.loads(index.read_text())['weight_map']
    change(index, weight_map={**names, 'projector.fc4.weight': 'model-00001-of-00002.safetensors'})
    with pytest.raises(CheckpointError, match='projector.fc4.weight'):
        load(copy)


@pytest.mark.parametrize(
    ('drop', 'add', 'match'),
    [
        ('projector.fc2.bias', None, "missing tensors, such as \\['projector.fc2.bias'\\]"),
        (None, 'projector.fc4.bias', "unexpected tensors, such as \\['projector.fc4.bias'\\]"),
        ('vision_backbone.featurizer.patch_embed.proj.weight', None, 'no usable tensor'),
        ('vision_backbone.fused_featurizer.blocks.25.norm1.bias', None, "25.norm1.bias'\\]"),
    ],
)
def test_tensors_that_are_missing_or_too_many_are_named(tmp_path, published, drop, add, match):
    tensors = {k: v for k, v in published[1].items() if k != drop}
    if add:
        tensors[add] = torch.zeros(3)
    folder = shutil.copytree(published[0], tmp_path / 'copy')
    layout.write_shards(folder, tensors)
    with pytest.raises(CheckpointError, match=match):
        load(folder)


def test_tensors_that_feed_nothing_may_be_missing(tmp_path, published):
    tensors = {k: v for k, v in published[1].items() if 'attn_pool' not in k}
    folder = shutil.copytree(published[0], tmp_path / 'copy')
    layout.write_shards(folder, tensors)
    expected = load(published[0]).infer(observation()).actions
    np.testing.assert_array_equal(load(folder).infer(observation()).actions, expected)


def test_an_unknown_unnorm_key_names_the_closest_and_its_file(published):
    with pytest.raises(UnknownNameError, match="Did you mean 'bridge_orig'") as caught:
        load(published[0], unnorm_key='bridge_orgi')
    assert 'config.json' in str(caught.value) and 'fractal20220817_data' in str(caught.value)


def test_one_data_set_is_the_default_and_two_are_a_choice(copy):
    with pytest.raises(CheckpointError, match="choose one with 'unnorm_key:'"):
        load(copy, unnorm_key=None)
    own = layout.norm_stats(names=('own_data',))
    layout.write_json(copy / 'dataset_statistics.json', own)  # of a fine-tuned model
    found = load(copy, unnorm_key=None).infer(observation()).actions
    expected = load(copy, unnorm_key='own_data').infer(observation()).actions
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(UnknownNameError, match='dataset_statistics.json'):
        load(copy, unnorm_key='bridge_orig')


@pytest.mark.parametrize(
    'entry',
    [{}, {'action': {'q01': [0.0] * 7}}, {'action': {'q01': [0.0] * 7, 'q99': [1.0] * 6}},
     {'action': {'q01': [1.0] * 7, 'q99': [0.0] * 7}},
     {'action': {'q01': [float('nan')] * 7, 'q99': [1.0] * 7}}],
)  # fmt: skip
def test_damaged_statistics_are_named(copy, entry):
    layout.write_json(copy / 'dataset_statistics.json', {'bridge_orig': entry})
    match = "dataset_statistics.json: bridge_orig has no usable 'action'"
    with pytest.raises(CheckpointError, match=match):
        load(copy)


@pytest.mark.parametrize(
    ('changes', 'error', 'match'),
    [
        ({'images': SPEC.images * 2}, CheckpointError, 'cameras 2, but the checkpoint .* has 1'),
        ({'images': (ImageSpec('scene', 224),)}, CheckpointError, 'image size 224, but .* 28'),
        ({'action': SPEC.action[:1]}, CheckpointError, 'action dimensions 6, but .* 7'),
        ({'horizon': 2}, CheckpointError, 'horizon 2, but .* 1'),
        ({'checkpoint': None}, CheckpointError, 'names no checkpoint'),
        ({'checkpoint': '/nowhere'}, CheckpointError, '/nowhere is not a folder'),
        ({'options': {'resise': 'lanczos3'}}, UnknownNameError, "Did you mean 'resize'"),
        ({'options': {'resize': 'lanczos'}}, UnknownNameError, "Did you mean 'lanczos3'"),
        ({'options': {'centre_crop': 'yes'}}, ConfigError, 'centre_crop: expected bool'),
    ],
)  # fmt: skip
def test_a_policy_file_that_does_not_fit_is_refused(published, changes, error, match):
    changes = {'checkpoint': str(published[0]), **changes}
    with pytest.raises(error, match=match):
        OpenVla(replace(SPEC, **changes), ROBOT)


def test_an_observation_that_lacks_the_camera_or_joints_is_refused(policy):
    with pytest.raises(PolicyError, match="no picture of camera 'scene'"):
        policy.infer(replace(observation(), frames={}))
    with pytest.raises(PolicyError, match='expected 8 finite ones'):
        policy.infer(replace(observation(), joints=JointState(1.0, np.zeros(3), np.zeros(3))))


@pytest.mark.parametrize('value', [1.0, float('nan')])
def test_text_or_nonsense_instead_of_actions_sends_nothing(tmp_path, published, value):
    tensors = dict(published[1])
    head = tensors['language_model.lm_head.weight'].clone()
    head[:30000] = value * torch.randn(30000, 32, generator=torch.Generator().manual_seed(7))
    tensors['language_model.lm_head.weight'] = 10 * head
    folder = shutil.copytree(published[0], tmp_path / 'copy')
    layout.write_shards(folder, tensors)
    with pytest.raises(PolicyError, match='expected actions: 31744 to 31999. Nothing is sent'):
        load(folder).infer(observation())
