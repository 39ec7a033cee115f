"""Sizes and names of the published weights, with the stock classes of transformers as oracle."""

from __future__ import annotations

from pathlib import Path

from pi_layout import PUBLISHED, shapes, weights
import pytest
import torch
from transformers import PaliGemmaForConditionalGeneration, PI0Config, PI0ForConditionalGeneration

from vla_ros.errors import CheckpointError
from vla_ros.models.pi0_fast import Pi0Fast
from vla_ros.models.pi05 import Pi05, Pi05Config
from vla_ros.models.pi_weights import (
    EMBEDDING,
    gemma_config,
    HEAD,
    paligemma_config,
    projections,
    standard_names,
)
from vla_ros.policies.loading import load
from vla_ros.policies.pi0 import build, build_config, transformers_names


def published(kind: str) -> dict[str, torch.Tensor]:
    """Return tensors of the published names and shapes that take no memory."""
    return {n: torch.empty(s, device='meta') for n, s in shapes(kind, PUBLISHED).items()}


def count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def on_meta(make, tensors):
    with torch.device('meta'):
        return load(make, tensors, Path('published'), device='meta')


def test_published_shapes_give_the_configuration_of_pi0():
    tensors = standard_names(published('pi0'))
    found = build_config(tensors, paligemma_config(tensors), 50, {})
    stock = PI0Config()
    for part, names in (
        ('vlm_config.text_config', ('hidden_size', 'intermediate_size', 'num_hidden_layers',
                                    'num_attention_heads', 'num_key_value_heads', 'head_dim',
                                    'vocab_size', 'hidden_act', 'rms_norm_eps',
                                    'use_bidirectional_attention', 'rope_parameters')),
        ('vlm_config.vision_config', ('hidden_size', 'intermediate_size', 'num_hidden_layers',
                                      'num_attention_heads', 'patch_size', 'image_size',
                                      'hidden_act', 'layer_norm_eps', 'vision_use_head')),
        ('vlm_config', ('projection_dim',)),
        ('dit_config', ('hidden_size', 'intermediate_size', 'num_hidden_layers', 'head_dim',
                        'num_attention_heads', 'num_key_value_heads', 'hidden_act',
                        'rms_norm_eps', 'use_bidirectional_attention', 'rope_parameters')),
    ):  # fmt: skip
        ours, theirs = found, stock
        for word in part.split('.'):
            ours, theirs = getattr(ours, word), getattr(theirs, word)
        for name in names:
            assert getattr(ours, name) == getattr(theirs, name), (part, name)
    for name in ('chunk_size', 'max_state_dim', 'max_action_dim', 'min_period', 'max_period'):
        assert getattr(found, name) == getattr(stock, name)


def test_published_weights_of_pi0_fill_the_network_of_transformers():
    tensors = standard_names(published('pi0'))
    config = build_config(tensors, paligemma_config(tensors), 50, {})
    model = on_meta(lambda: build(config), transformers_names(tensors))
    with torch.device('meta'):
        stock = PI0ForConditionalGeneration(PI0Config())
    words = stock.model.dit.embed_tokens.weight.numel()  # of no use
    assert count(model) == count(stock) - words == 3_238_048_528


def test_published_weights_of_pi05_and_pi0_fast_fill_their_networks():
    tensors = standard_names(published('pi05'))
    del tensors[HEAD]
    config = Pi05Config(paligemma_config(tensors), gemma_config(tensors, 'expert.'))
    model = on_meta(lambda: Pi05(config), tensors)
    assert count(model) == sum(t.numel() for t in tensors.values())
    fast = standard_names(published('pi0_fast'))
    model = on_meta(lambda: Pi0Fast(paligemma_config(fast)), fast)
    with torch.device('meta'):
        stock = PaliGemmaForConditionalGeneration(paligemma_config(fast))
    # Its own output layer; the stock one shares the embedding.
    assert count(model) - model.lm_head.weight.numel() == count(stock)


def test_names_of_openpi_and_lerobot_become_the_same():
    openpi = weights('pi05')
    lerobot = {f'model.{name}': value for name, value in openpi.items()}
    assert standard_names(openpi).keys() == standard_names(lerobot).keys()
    found = standard_names(openpi)
    assert not [name for name in found if 'paligemma_with_expert' in name]
    assert torch.equal(found[EMBEDDING], found[HEAD])
    assert projections(standard_names(weights('pi0'))) == {
        'max_action_dim': 32, 'max_state_dim': 32,
    }  # fmt: skip


@pytest.mark.parametrize(
    ('name', 'value'),
    [(EMBEDDING, None), ('vlm.language_model.layers.0.self_attn.q_proj.weight', None),
     ('vlm.vision_tower.embeddings.patch_embedding.weight', torch.zeros(4, 4))],
)  # fmt: skip
def test_a_tensor_that_tells_a_size_is_named(name, value):
    tensors = standard_names(weights('pi0'))
    tensors[name] = value
    changed = {k: v for k, v in tensors.items() if v is not None}
    with pytest.raises(CheckpointError, match=f'{name} (is not there|has 2 axes).*copy'):
        paligemma_config(changed)
