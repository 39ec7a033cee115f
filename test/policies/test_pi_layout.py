"""What is said of checkpoints of the pi0 family that cannot be used: the file and the cure."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil

from case import ROBOT
from pi_cases import FLOWS, spec, STATS, write
from pi_folders import write_norm_stats
from pi_layout import SIZES
import pytest
from safetensors.torch import load_file, save_file
import torch

from vla_ros.errors import CheckpointError, ConfigError, UnknownNameError, VlaError
from vla_ros.policies.registry import create, statistics
from vla_ros.spec import ImageSpec

CURES = (
    'copy', 'Copy', 'correct', 'choose', 'Did you mean', 'Known:', 'write there', 'give each',
    'leave them out', 'point the policy', 'at least one', 'download',
)  # fmt: skip
SIZE = SIZES.image


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> dict[tuple[str, str], Path]:
    root = tmp_path_factory.mktemp('checkpoints')
    return {case: write(root / '-'.join(case), *case) for case in FLOWS}


@pytest.fixture
def copy(folders, tmp_path):
    """Return a function that copies a checkpoint, to be damaged."""

    def copied(kind: str, layout: str) -> Path:
        return Path(shutil.copytree(folders[kind, layout], tmp_path / f'{kind}-{layout}'))

    return copied


def refused(kind: str, folder: Path, match: str, error=CheckpointError, **changes) -> None:
    with pytest.raises(error, match=match) as caught:
        create(spec(kind, folder, **changes), ROBOT)
    assert any(cure in str(caught.value) for cure in CURES), str(caught.value)


def edit(path: Path, **changes) -> None:
    """Change keys of a JSON object; None removes one."""
    table = {**json.loads(path.read_text(encoding='utf-8')), **changes}
    table = {k: v for k, v in table.items() if v is not None}
    path.write_text(json.dumps(table), encoding='utf-8')


@pytest.mark.parametrize('kind, layout', FLOWS[1:])
def test_tensors_that_do_not_fit_are_named(copy, kind, layout):
    folder = copy(kind, layout)
    path = folder / 'model.safetensors'
    whole = load_file(path)
    head = 'model.' if layout == 'lerobot' else ''
    for name in ('action_out_proj.bias', 'paligemma_with_expert.gemma_expert.model.layers.0.'
                 'self_attn.o_proj.weight'):  # fmt: skip
        save_file({k: v for k, v in whole.items() if k != head + name}, path)
        refused(kind, folder, f'1 missing tensors.*{name.rpartition("expert.model.")[2]}'
                .replace('layers', '.*layers'))  # fmt: skip
    save_file({**whole, head + 'action_out_proj.bias': torch.zeros(7)}, path)
    refused(kind, folder, 'action_out_proj.bias is \\(7,\\), expected \\(32,\\)')
    save_file({k: v for k, v in whole.items() if 'embeddings' not in k}, path)
    refused(kind, folder, 'patch_embedding.weight is not there')
    save_file({k: v for k, v in whole.items() if 'lm_head' not in k}, path)
    refused(kind, folder, 'embed_tokens.weight is not there')


def test_the_embedding_may_be_there_under_its_own_name_too(copy):
    for kind in ('pi0', 'pi05'):
        folder = copy(kind, 'openpi')
        path = folder / 'model.safetensors'
        whole = load_file(path)
        head = whole['paligemma_with_expert.paligemma.lm_head.weight']
        name = 'paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight'
        save_file({**whole, name: head + 1.0}, path)
        model = create(spec(kind, folder), ROBOT).engine.network
        vlm = model.model.vlm if kind == 'pi0' else model.vlm
        assert torch.equal(vlm.language_model.embed_tokens.weight, head + 1.0)


@pytest.mark.parametrize(
    ('kind', 'layout', 'key', 'value'),
    [
        ('pi0', 'lerobot', 'type', 'smolvla'),
        ('pi0', 'lerobot', 'type', 'pi05'),
        ('pi05', 'lerobot', 'type', 'pi0'),
        ('pi0', 'transformers', 'model_type', 'paligemma'),
        ('pi05', 'openpi', 'model_type', 'pi0'),
    ],
)
def test_another_model_is_named(copy, kind, layout, key, value):
    folder = copy(kind, layout)
    edit(folder / 'config.json', **{key: value})
    refused(kind, folder, f"config.json has {key} '{value}', expected .*{kind}")


def test_a_layout_that_a_model_is_not_read_in_is_named(copy):
    folder = copy('pi05', 'openpi')
    edit(folder / 'config.json', model_type='pi05')  # which transformers has not
    refused('pi05', folder, 'is in the transformers layout of pi05, expected openpi .* or lerobot')


def test_a_folder_in_no_layout_lists_those_that_there_are(copy):
    folder = copy('pi0', 'openpi')
    shutil.rmtree(folder / 'assets')
    refused('pi0', folder, "in no layout of pi0, expected transformers \\(config.json with "
            "model_type 'pi0'\\) or openpi \\(model.safetensors and assets/NAME/norm_stats.json"
            "\\) or lerobot")  # fmt: skip
    refused('pi05', folder, 'in no layout of pi05, expected openpi .* or lerobot')


def test_a_pi0_is_no_pi05_and_the_other_way_round(copy):
    refused('pi05', copy('pi0', 'openpi'), 'missing tensors.*dense')
    refused('pi0', copy('pi05', 'openpi'), 'missing tensors')


def test_missing_statistics_are_named(copy):
    folder = copy('pi0', 'openpi')
    path = folder / 'assets' / 'droid' / 'norm_stats.json'
    text = path.read_text(encoding='utf-8')
    path.unlink()
    refused('pi0', folder, 'assets has no NAME/norm_stats.json')
    path.write_text(text.replace('"std"', '"sdt"'), encoding='utf-8')
    refused('pi0', folder, "norm_stats.json has no mean and std of 'state'")
    path.write_text(text[:-1], encoding='utf-8')
    refused('pi0', folder, 'cannot read .*norm_stats.json')
    path.write_text(text.replace('"std": [', '"std": [-9.0, '), encoding='utf-8')
    refused('pi0', folder, 'norm_stats.json')

    folder = copy('pi0', 'transformers')
    edit(folder / 'processor_config.json', actions_std=None)
    refused('pi0', folder, 'processor_config.json has no actions_mean and actions_std')
    (folder / 'processor_config.json').unlink()
    refused('pi0', folder, 'processor_config.json')

    folder = copy('pi05', 'lerobot')
    (next(folder.glob('policy_preprocessor_*normalizer*.safetensors'))).unlink()
    refused('pi05', folder, 'normalizer_processor.safetensors')


def test_a_wrong_unnorm_key_lists_those_that_there_are(copy):
    folder = copy('pi05', 'openpi')
    refused('pi05', folder, "unknown unnorm_key 'bridge'.*Known: droid", UnknownNameError,
            unnorm_key='bridge')  # fmt: skip
    write_norm_stats(folder, STATS, 'physical-intelligence/libero')
    refused('pi05', folder, 'unnorm_key.*Known: droid, physical-intelligence/libero',
            UnknownNameError)  # fmt: skip
    create(spec('pi05', folder, unnorm_key='physical-intelligence/libero'), ROBOT)
    refused('pi0', copy('pi0', 'transformers'), 'unnorm_key', UnknownNameError, unnorm_key='x')


def test_padding_of_statistics_is_cut_and_another_robot_refused(copy):
    folder = copy('pi0', 'openpi')
    shutil.rmtree(folder / 'assets')
    padded = {k: {n: [*v, *[0.0] * 24] for n, v in t.items()} for k, t in STATS.items()}
    write_norm_stats(folder, padded, 'droid')
    assert [s.width for s in statistics(spec('pi0', folder))] == [8, 8]
    create(spec('pi0', folder), ROBOT)
    shutil.rmtree(folder / 'assets')
    wide = {k: {n: [*v, 1.0] for n, v in t.items()} for k, t in STATS.items()}
    write_norm_stats(folder, wide, 'droid')
    refused('pi0', folder, 'state dimensions 8, but the checkpoint pi0-openpi has 9')


@pytest.mark.parametrize('kind, layout', FLOWS)
def test_a_policy_file_of_another_checkpoint_is_refused(folders, kind, layout):
    folder = folders[kind, layout]
    whole = spec(kind, folder)
    refused(kind, folder, 'horizon 5, but the checkpoint .* has 6', horizon=5)
    refused(kind, folder, 'action dimensions 7.* 8', action=whole.action[:1])
    larger = tuple(replace(image, size=224) for image in whole.images)
    refused(kind, folder, r'image sizes \{224\}.*\{28\}', images=larger)
    refused(kind, folder, 'image', images=())
    refused(kind, folder, "unknown key 'bordr'.*Did you mean 'border'", ConfigError,
            options={'bordr': -1.0})  # fmt: skip
    missing = str(folder / 'nowhere')
    refused(kind, folder, 'nowhere.*google/paligemma-3b-pt-224', options={'tokenizer': missing})


def test_a_wrong_number_of_cameras_is_refused(folders):
    images = (ImageSpec('scene', SIZE), ImageSpec('wrist', SIZE), ImageSpec('scene', SIZE),
              ImageSpec('wrist', SIZE))  # fmt: skip
    for kind, layout in FLOWS[1:]:
        refused(kind, folders[kind, layout], 'has 4 images.*base_0_rgb, left_wrist', images=images)
    for kind in ('pi0', 'pi05'):  # LeRobot says which there must be
        refused(kind, folders[kind, 'lerobot'], 'has 1 images.*slot', images=images[:1])
    for layout, slot in (('openpi', 'base_1_rgb'), ('lerobot', 'right_wrist_0_rgb')):
        named = (ImageSpec('scene', SIZE, slot),)
        refused('pi0', folders['pi0', layout], f"unknown slot '{slot}'.*Known: base_0_rgb",
                UnknownNameError, images=named)  # fmt: skip
    named = (ImageSpec('scene', SIZE, 'base_0_rgb'),)
    refused('pi0', folders['pi0', 'transformers'], 'names no slots', ConfigError, images=named)


def test_relative_and_absolute_actions_are_not_mixed_up(folders):
    refused('pi0', folders['pi0', 'lerobot'], 'relative to the observation False.*True',
            action=spec('pi0', Path('x'), relative_to='absolute').action)  # fmt: skip


def test_what_is_not_supported_is_said(copy):
    folder = copy('pi05', 'lerobot')
    edit(folder / 'config.json', use_visual_memory=True)
    refused('pi05', folder, 'use_visual_memory')
    edit(folder / 'config.json', use_visual_memory=False, image_resolution=[224, 224])
    refused('pi05', folder, r'image_resolution \(224, 224\).*28 px')
    folder = copy('pi0', 'transformers')
    path = folder / 'processor_config.json'
    pictures = json.loads(path.read_text(encoding='utf-8'))['image_processor']
    edit(path, image_processor={**pictures, 'resample': 2})
    with pytest.raises(CheckpointError, match='resample 2, expected 3.*no other one'):
        create(spec('pi0', folder), ROBOT)


def test_every_file_that_is_damaged_is_one_clear_error(folders, tmp_path):
    for number, (case, folder) in enumerate(folders.items()):
        for path in sorted(p for p in folder.rglob('*') if p.is_file()):
            copied = tmp_path / f'{number}-{path.name}'
            shutil.copytree(folder, copied)
            (copied / path.relative_to(folder)).write_bytes(b'{')
            with pytest.raises(VlaError) as caught:
                create(spec(case[0], copied), ROBOT)
            assert str(copied) in str(caught.value)
