"""LoRA adapters against their equation, against peft where it is installed, and damaged ones."""

from __future__ import annotations

import json
import math
import warnings

import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import nn

from vla_ros.errors import CheckpointError
from vla_ros.policies.lora import adapted

# As peft writes it; what is null, false or empty there is left out here.
CONFIG = {
    'peft_type': 'LORA', 'r': 2, 'lora_alpha': 6, 'use_rslora': False, 'rank_pattern': {},
    'alpha_pattern': {}, 'init_lora_weights': True, 'lora_dropout': 0.1, 'bias': 'none',
    'target_modules': ['q_proj', 'v_proj'], 'inference_mode': True, 'use_dora': False,
    'megatron_core': 'megatron.core', 'qalora_group_size': 16, 'peft_version': '0.21.2',
    'base_model_name_or_path': 'some/model', 'fan_in_fan_out': False, 'loftq_config': {},
}  # fmt: skip
RANKS = {'layers.0.q_proj': 2, 'layers.1.q_proj': 3, 'layers.1.v_proj': 2}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def base() -> dict[str, torch.Tensor]:
    found = {f'{name}.weight': random(6, 4, seed=k) for k, name in enumerate(RANKS)}
    return {**found, 'layers.1.v_proj.bias': random(6), 'head.weight': random(3, 6)}


def parts() -> dict[str, torch.Tensor]:
    found = {}
    for k, (name, rank) in enumerate(RANKS.items()):
        found[f'base_model.model.{name}.lora_A.weight'] = random(rank, 4, seed=10 + k)
        found[f'base_model.model.{name}.lora_B.weight'] = random(6, rank, seed=20 + k)
    return found


@pytest.fixture
def folder(tmp_path):
    config = {**CONFIG, 'rank_pattern': {'1.q_proj': 3}, 'alpha_pattern': {'v_proj': 5}}
    (tmp_path / 'adapter_config.json').write_text(json.dumps(config), encoding='utf-8')
    save_file(parts(), tmp_path / 'adapter_model.safetensors')
    return tmp_path


def edit(folder, **changes):
    path = folder / 'adapter_config.json'
    table = {**json.loads(path.read_text(encoding='utf-8')), **changes}
    path.write_text(json.dumps(table), encoding='utf-8')


def rewrite(folder, change):
    tensors = load_file(folder / 'adapter_model.safetensors')
    change(tensors)
    save_file(tensors, folder / 'adapter_model.safetensors')


@pytest.mark.parametrize('rslora', [False, True])
def test_each_module_gets_its_own_scale_and_rank(folder, rslora):
    edit(folder, use_rslora=rslora)
    found, p = adapted(base(), folder), parts()
    for name, alpha in (('layers.0.q_proj', 6), ('layers.1.q_proj', 6), ('layers.1.v_proj', 5)):
        a, b = (p[f'base_model.model.{name}.lora_{x}.weight'] for x in 'AB')
        scale = alpha / (math.sqrt(len(a)) if rslora else len(a))
        expected = base()[f'{name}.weight'].clone()
        for out in range(6):
            for inn in range(4):
                expected[out, inn] += scale * (b[out] * a[:, inn]).sum()
        torch.testing.assert_close(found[f'{name}.weight'], expected, rtol=0.0, atol=1e-5)
    for name in ('layers.1.v_proj.bias', 'head.weight'):
        assert torch.equal(found[name], base()[name])
    assert found.keys() == base().keys()


def test_kernels_and_embeddings_are_adapted_too(folder):
    tensors = {'conv.weight': random(5, 3, 2, 2), 'words.weight': random(7, 4)}
    adapter = {
        'base_model.model.conv.lora_A.weight': random(2, 3, 2, 2),
        'base_model.model.conv.lora_B.weight': random(5, 2, 1, 1),
        'base_model.model.words.lora_embedding_A': random(2, 7),
        'base_model.model.words.lora_embedding_B': random(4, 2),
    }
    save_file(adapter, folder / 'adapter_model.safetensors')
    found = adapted(tensors, folder)
    a, b, c, d = adapter.values()
    x = random(1, 3, 6, 6)  # two convolutions, one after the other, are one by B A
    expected = nn.functional.conv2d(x, tensors['conv.weight'])
    expected = expected + 3.0 * nn.functional.conv2d(nn.functional.conv2d(x, a), b)
    result = nn.functional.conv2d(x, found['conv.weight'])
    torch.testing.assert_close(result, expected, rtol=0.0, atol=1e-4)
    row = tensors['words.weight'][3] + 3.0 * (d @ c[:, 3])
    torch.testing.assert_close(found['words.weight'][3], row, rtol=0.0, atol=1e-5)


def test_what_was_trained_as_a_whole_is_replaced(folder):
    whole = {
        'base_model.model.head.weight': random(3, 6, seed=5),
        'base_model.model.layers.1.v_proj.base_layer.bias': random(6, seed=6),
    }
    before = adapted(base(), folder)
    rewrite(folder, lambda t: t.update(whole))
    found = adapted(base(), folder)
    assert torch.equal(found['head.weight'], random(3, 6, seed=5))
    assert torch.equal(found['layers.1.v_proj.bias'], random(6, seed=6))
    assert torch.equal(found['layers.1.v_proj.weight'], before['layers.1.v_proj.weight'])


def test_sums_of_half_precision_are_single(folder):
    half = {name: value.bfloat16() for name, value in base().items()}
    found = adapted(half, folder)['layers.0.q_proj.weight']
    exact = adapted({k: v.float() for k, v in half.items()}, folder)['layers.0.q_proj.weight']
    assert found.dtype == torch.float32 and torch.equal(found, exact)


A = 'base_model.model.layers.0.q_proj.lora_A.weight'
BREAKS = {
    'no configuration': (
        lambda f: (f / 'adapter_config.json').unlink(), 'cannot read .*adapter_config.json'
    ),
    'no weights': (
        lambda f: (f / 'adapter_model.safetensors').unlink(), 'cannot read .*adapter_model'
    ),
    'truncated': (
        lambda f: (f / 'adapter_model.safetensors').write_bytes(
            (f / 'adapter_model.safetensors').read_bytes()[:-9]
        ),
        'cannot read .*adapter_model',
    ),
    'another kind': (lambda f: edit(f, peft_type='IA3'), "peft_type 'IA3', expected 'LORA'"),
    'DoRA': (lambda f: edit(f, use_dora=True), 'sets use_dora: True, which is more than'),
    'unknown feature': (lambda f: edit(f, newer_idea={'a': 1}), 'sets newer_idea'),
    'base changed by the beginning': (
        lambda f: edit(f, init_lora_weights='pissa'), 'sets init_lora_weights: pissa'
    ),
    'no alpha': (lambda f: edit(f, lora_alpha=None), 'adapter_config.json cannot be used: Type'),
    'other rank': (lambda f: edit(f, r=4), r'layers.0.q_proj the rank 4, but its weights have 2'),
    'broken pattern': (lambda f: edit(f, alpha_pattern={'(': 3}), 'cannot be used'),
    'half a pair': (lambda f: rewrite(f, lambda t: t.pop(A)), 'for layers.0.q_proj.weight only'),
    'module that is not there': (
        lambda f: rewrite(f, lambda t: t.update({
            'base_model.model.o.lora_A.weight': random(2, 4),
            'base_model.model.o.lora_B.weight': random(6, 2),
        })),
        r'o.weight of \(6, 4\), the checkpoint has nothing of that name',
    ),
    'other shape': (
        lambda f: rewrite(f, lambda t: t.update({A: random(2, 5)})),
        r'q_proj.weight of \(6, 5\), the checkpoint has \(6, 4\)',
    ),
    'foreign tensor': (
        lambda f: rewrite(f, lambda t: t.update({'base_model.model.x.gate': random(2)})),
        r'x.gate of \(2,\), the checkpoint has nothing',
    ),
    'nothing in it': (
        lambda f: rewrite(f, lambda t: (t.clear(), t.update({'head.weight': random(3, 6)}))),
        'has no lora_A and lora_B',
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', BREAKS)
def test_a_broken_adapter_is_one_clear_error(folder, name):
    damage, message = BREAKS[name]
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        adapted(base(), folder)
    assert str(folder) in str(caught.value)


class Small(nn.Module):
    """A module of each kind that LoRA adapts; peft asks for `config`."""

    def __init__(self) -> None:
        super().__init__()
        self.config: dict = {}
        self.words, self.first = nn.Embedding(7, 4), nn.Linear(4, 6)
        self.kernel, self.head = nn.Conv2d(3, 5, 2), nn.Linear(6, 3)


@pytest.mark.parametrize('changes', [
    {'target_modules': ['first']},
    {'target_modules': ['first', 'words', 'kernel'], 'bias': 'lora_only'},
    {'target_modules': r'.*(first|kernel)', 'use_rslora': True, 'modules_to_save': ['head']},
    {
        'target_modules': ['first', 'kernel'],
        'rank_pattern': {'first': 1}, 'alpha_pattern': {'kernel': 32},
    },
])  # fmt: skip
def test_sums_are_those_of_peft(tmp_path, changes):
    peft = pytest.importorskip('peft', reason='peft is not among the pins: it brings accelerate')
    torch.manual_seed(0)
    plain = Small()
    weights = {name: value.clone() for name, value in plain.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        model = peft.get_peft_model(plain, peft.LoraConfig(r=2, lora_alpha=5, **changes))
        for value in model.parameters():
            if value.requires_grad:
                value.data = torch.randn(value.shape)
        model.save_pretrained(tmp_path)
        expected = model.merge_and_unload().state_dict()
    found = adapted(weights, tmp_path)
    assert found.keys() == expected.keys()
    assert any(not torch.equal(found[k], weights[k]) for k in found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.0, atol=1e-5)
