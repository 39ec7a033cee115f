"""What is said of checkpoint folders that are incomplete, damaged or of another model."""

from __future__ import annotations

from dataclasses import replace
import json

import pytest
from safetensors.torch import save_file
import torch
from torch import nn

from vla_ros import config, paths
from vla_ros.errors import CheckpointError
from vla_ros.policies.loading import (
    checkpoint,
    load,
    read_json,
    read_tensors,
    require_equal,
    require_files,
)
from vla_ros.spec import PolicySpec

SPEC = config.load(paths.find('policies', 'hold'), PolicySpec)


def build() -> nn.Module:
    network = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    network.register_buffer('waves', torch.tensor([0.1]), persistent=False)
    return network


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return {k: torch.randn(v.shape, generator=rng) for k, v in build().state_dict().items()}


def test_a_checkpoint_is_a_folder_that_exists(tmp_path):
    assert checkpoint(replace(SPEC, checkpoint=str(tmp_path))) == tmp_path
    assert checkpoint(replace(SPEC, checkpoint='config')) == paths.share() / 'config'
    with pytest.raises(CheckpointError, match='hold names no checkpoint'):
        checkpoint(SPEC)
    with pytest.raises(CheckpointError, match='nowhere is not a folder.*point the policy file'):
        checkpoint(replace(SPEC, checkpoint=str(tmp_path / 'nowhere')))


def test_the_first_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / 'a').touch()
    require_files(tmp_path, ('a',), 'Copy it.')
    with pytest.raises(CheckpointError, match='has no b; expected a, b. Copy it'):
        require_files(tmp_path, ('a', 'b'), 'Copy it.')


@pytest.mark.parametrize('text', [None, '', '{', '[]', '\x00'])
def test_json_that_is_no_object_is_refused(tmp_path, text):
    path = tmp_path / 'config.json'
    if text is not None:
        path.write_text(text, encoding='utf-8')
    with pytest.raises(CheckpointError, match='config.json'):
        read_json(path)


def test_tensors_of_one_file_and_of_several_are_the_same(tmp_path, tensors):
    one, several = tmp_path / 'one', tmp_path / 'several'
    one.mkdir()
    several.mkdir()
    save_file(tensors, one / 'model.safetensors')
    names = list(tensors)
    for k, part in enumerate((names[:1], names[1:])):
        save_file({n: tensors[n] for n in part}, several / f'model-{k}.safetensors')
    index = {'weight_map': {n: f'model-{int(k > 0)}.safetensors' for k, n in enumerate(names)}}
    path = several / 'model.safetensors.index.json'
    path.write_text(json.dumps(index), encoding='utf-8')
    for folder in (one, several):
        found = read_tensors(folder)
        assert set(found) == set(tensors)
        assert all(torch.equal(found[n], tensors[n]) for n in names)
    index['weight_map']['lost'] = 'model-0.safetensors'
    path.write_text(json.dumps(index), encoding='utf-8')
    with pytest.raises(CheckpointError, match="promises \\['lost'\\]"):
        read_tensors(several)
    (several / 'model-1.safetensors').unlink()
    with pytest.raises(CheckpointError, match='model-1.safetensors.*copy it again'):
        read_tensors(several)
    path.write_text('{}', encoding='utf-8')
    with pytest.raises(CheckpointError, match='weight_map'):
        read_tensors(several)


@pytest.mark.parametrize('kept', [0, 7, 60, -1])
def test_a_file_that_was_cut_is_refused(tmp_path, tensors, kept):
    path = tmp_path / 'model.safetensors'
    save_file(tensors, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match='model.safetensors.*damaged; copy it again'):
        read_tensors(tmp_path)
    path.unlink()
    with pytest.raises(CheckpointError, match='no model.safetensors'):
        read_tensors(tmp_path)


def test_a_network_has_the_numbers_of_the_file_and_no_other(tmp_path, tensors):
    network = load(build, tensors, tmp_path)
    assert all(torch.equal(network.state_dict()[n], v) for n, v in tensors.items())
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    half = load(build, tensors, tmp_path, dtype=torch.bfloat16)
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    assert torch.equal(half.waves, torch.tensor([0.1]))  # what is computed is not rounded


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        ({'0.bias': None}, "1 missing tensors, such as \\['0.bias'\\]"),
        ({'2.bias': torch.zeros(1)}, "1 unexpected tensors, such as \\['2.bias'\\]"),
        ({'0.bias': torch.zeros(5)}, "'0.bias is \\(5,\\), expected \\(2,\\)'"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, tensors, change, match):
    changed = {k: v for k, v in {**tensors, **change}.items() if v is not None}
    with pytest.raises(CheckpointError, match=match) as caught:
        load(build, changed, tmp_path)
    assert str(tmp_path) in str(caught.value) and 'policy file' in str(caught.value)


def test_a_policy_file_of_another_checkpoint_is_refused(tmp_path):
    require_equal(SPEC, tmp_path, [('horizon', 20, 20)])
    with pytest.raises(CheckpointError, match='policy hold: horizon 20.*has 50; correct'):
        require_equal(SPEC, tmp_path, [('images', 1, 1), ('horizon', 20, 50)])
