"""The vision transformer against transformers' own DINOv2 and SigLIP with the same weights."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from vla_ros.models.vit import FAMILIES, Vit, VitFamily, VitShape

DINO = VitShape(VitFamily(5, 4, 4, True, True), 32, 64, 14, 9)
SIGLIP = VitShape(VitFamily(5, 4), 48, 80, 14, 9)


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 42, 42, generator=torch.Generator().manual_seed(1))


def shuffled(model):
    """Give every parameter a value of its own."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def split_qkv(state, names):
    """(query, key, value) tensors under stock names, from one that has the three stacked."""
    parts = {}
    for key in [k for k in state if '.qkv.' in k]:
        for name, part in zip(names, state.pop(key).chunk(3)):
            parts[key.replace('qkv', name)] = part
    return state | parts


def renamed(state, table):
    for old, new in table:
        state = {key.replace(old, new): value for key, value in state.items()}
    return state


def test_dinov2_with_registers_is_that_of_transformers(pixels):
    vit = shuffled(Vit(DINO))
    state = split_qkv(dict(vit.state_dict()), ('q_proj', 'k_proj', 'v_proj'))
    # timm adds no position to the class token, transformers does: a zero.
    position = state.pop('pos_embed')
    state['embeddings.position_embeddings'] = torch.cat([0 * position[:, :1], position], dim=1)
    state = renamed(state, (
        ('cls_token', 'embeddings.cls_token'), ('reg_token', 'embeddings.register_tokens'),
        ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
        ('blocks.', 'encoder.layer.'), ('.attn.proj', '.attention.o_proj'),
        ('.attn.', '.attention.'), ('ls1.scale_factor', 'layer_scale1.lambda1'),
        ('ls2.scale_factor', 'layer_scale2.lambda1'),
    ))  # fmt: skip
    stock = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(
        hidden_size=32, num_hidden_layers=4, num_attention_heads=4, mlp_ratio=2, image_size=42,
        patch_size=14, num_register_tokens=4,
    )).eval()  # fmt: skip
    result = stock.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert set(result.missing_keys) <= {
        'embeddings.mask_token', 'layernorm.weight', 'layernorm.bias',
    }  # fmt: skip
    with torch.inference_mode():
        expected = stock(pixels, output_hidden_states=True).hidden_states[-1][:, 5:]
        torch.testing.assert_close(vit(pixels), expected, atol=1e-5, rtol=1e-5)


def test_siglip_is_that_of_transformers_with_the_exact_gelu(pixels):
    vit = shuffled(Vit(SIGLIP))
    state = split_qkv(dict(vit.state_dict()), ('q_proj', 'k_proj', 'v_proj'))
    state['embeddings.position_embedding.weight'] = state.pop('pos_embed')[0]
    state = renamed(state, (
        ('patch_embed.proj', 'embeddings.patch_embedding'), ('blocks.', 'encoder.layers.'),
        ('.attn.proj', '.self_attn.out_proj'), ('.attn.', '.self_attn.'),
        ('norm1', 'layer_norm1'), ('norm2', 'layer_norm2'),
    ))  # fmt: skip
    stock = SiglipVisionModel(SiglipVisionConfig(
        hidden_size=48, num_hidden_layers=4, num_attention_heads=4, intermediate_size=80,
        image_size=42, patch_size=14, hidden_act='gelu', vision_use_head=False,
    )).eval()  # fmt: skip
    result = stock.load_state_dict(state, strict=False)
    assert not result.unexpected_keys
    assert all('post_layernorm' in key for key in result.missing_keys)
    with torch.inference_mode():
        expected = stock(pixels, output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(vit(pixels), expected, atol=1e-5, rtol=1e-5)


def test_words_modulate_each_block_between_attention_and_perceptron(pixels):
    vit = shuffled(Vit(SIGLIP, words=6))
    words = torch.randn(2, 6, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        x = vit.patch_embed(pixels) + vit.pos_embed
        for block in vit.blocks:
            x = x + block.attn(block.norm1(x))
            gamma, beta = block.scale(words), block.shift(words)
            x = x * (1 + gamma.view(2, 1, 48)) + beta.view(2, 1, 48)
            x = x + block.mlp(block.norm2(x))
        torch.testing.assert_close(vit(pixels, vit.films(words)), x)
        other = vit(pixels, vit.films(words + 1.0))
    assert (other - x).abs().max() > 1e-2


def test_the_last_block_and_what_follows_it_are_not_used():
    shape = VitShape(FAMILIES['vit_so400m_patch14_siglip_224'], 1152, 4304, 14, 256)
    for name in ('blocks.26.norm1.weight', 'norm.bias', 'attn_pool.kv.weight'):
        assert shape.unused(name)
    for name in ('blocks.25.norm1.weight', 'blocks.2.attn.qkv.bias', 'pos_embed'):
        assert not shape.unused(name)
