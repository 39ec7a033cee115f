"""The published layout of SmolVLA's weights: every name and shape, for any size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

VLM, EXPERT = 'model.vlm_with_expert.vlm.model.', 'model.vlm_with_expert.lm_expert.'
TINY = {
    'vocab': 64, 'hidden': 32, 'inner': 48, 'heads': 4, 'kv_heads': 2, 'head_dim': 8,
    'layers': 4, 'expert': 24, 'expert_inner': 256,
    'vision': 24, 'vision_inner': 40, 'vision_heads': 3, 'vision_layers': 2,
    'image': 32, 'patch': 8, 'join': 2, 'state': 10, 'action': 9,
}  # fmt: skip
FULL = {  # lerobot/smolvla_base
    'vocab': 49280, 'hidden': 960, 'inner': 2560, 'heads': 15, 'kv_heads': 5, 'head_dim': 64,
    'layers': 16, 'expert': 720, 'expert_inner': 2048,
    'vision': 768, 'vision_inner': 3072, 'vision_heads': 12, 'vision_layers': 12,
    'image': 512, 'patch': 16, 'join': 4, 'state': 32, 'action': 32,
}  # fmt: skip


def vlm_config(sizes: dict) -> dict:
    """Return what matters of the VLM's own config.json."""
    return {
        'model_type': 'smolvlm',
        'scale_factor': sizes['join'],
        'text_config': {
            'model_type': 'llama', 'vocab_size': sizes['vocab'], 'hidden_size': sizes['hidden'],
            'intermediate_size': sizes['inner'], 'num_attention_heads': sizes['heads'],
            'num_key_value_heads': sizes['kv_heads'], 'head_dim': sizes['head_dim'],
            'num_hidden_layers': 2 * sizes['layers'], 'rms_norm_eps': 1e-5,
            'rope_theta': 100000.0, 'pad_token_id': 2,
        },
        'vision_config': {
            'model_type': 'smolvlm_vision', 'hidden_size': sizes['vision'],
            'intermediate_size': sizes['vision_inner'], 'image_size': sizes['image'],
            'num_hidden_layers': sizes['vision_layers'], 'patch_size': sizes['patch'],
            'num_attention_heads': sizes['vision_heads'],
        },
    }  # fmt: skip


def shapes(sizes: dict) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of each tensor in model.safetensors."""
    s = sizes
    found: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, inn: int, bias: bool) -> None:
        found[name + '.weight'] = (out, inn)
        if bias:
            found[name + '.bias'] = (out,)

    def llama(here: str, width: int, inner: int, cross: bool) -> None:
        q, kv = s['heads'] * s['head_dim'], s['kv_heads'] * s['head_dim']
        linear(here + 'self_attn.q_proj', q, width, False)
        linear(here + 'self_attn.k_proj', kv, kv if cross else width, False)
        linear(here + 'self_attn.v_proj', kv, kv if cross else width, False)
        linear(here + 'self_attn.o_proj', width, q, False)
        linear(here + 'mlp.gate_proj', inner, width, False)
        linear(here + 'mlp.up_proj', inner, width, False)
        linear(here + 'mlp.down_proj', width, inner, False)
        found[here + 'input_layernorm.weight'] = (width,)
        found[here + 'post_attention_layernorm.weight'] = (width,)

    vision = VLM + 'vision_model.'
    patches = (s['image'] // s['patch']) ** 2
    found[vision + 'embeddings.patch_embedding.weight'] = (s['vision'], 3, s['patch'], s['patch'])
    found[vision + 'embeddings.patch_embedding.bias'] = (s['vision'],)
    found[vision + 'embeddings.position_embedding.weight'] = (patches, s['vision'])
    for k in range(s['vision_layers']):
        here = f'{vision}encoder.layers.{k}.'
        for part in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
            linear(here + 'self_attn.' + part, s['vision'], s['vision'], True)
        linear(here + 'mlp.fc1', s['vision_inner'], s['vision'], True)
        linear(here + 'mlp.fc2', s['vision'], s['vision_inner'], True)
        for part in ('layer_norm1', 'layer_norm2'):
            found |= {f'{here}{part}.{p}': (s['vision'],) for p in ('weight', 'bias')}
    found |= {f'{vision}post_layernorm.{p}': (s['vision'],) for p in ('weight', 'bias')}
    joined = s['vision'] * s['join'] ** 2
    linear(VLM + 'connector.modality_projection.proj', s['hidden'], joined, False)
    found[VLM + 'text_model.embed_tokens.weight'] = (s['vocab'], s['hidden'])
    for k in range(s['layers']):
        llama(f'{VLM}text_model.layers.{k}.', s['hidden'], s['inner'], False)
        llama(f'{EXPERT}layers.{k}.', s['expert'], s['expert_inner'], k % 2 == 1)
    found[VLM + 'text_model.norm.weight'] = (s['hidden'],)
    found[EXPERT + 'norm.weight'] = (s['expert'],)
    found['model.vlm_with_expert.vlm.lm_head.weight'] = (s['vocab'], s['hidden'])
    linear('model.state_proj', s['hidden'], s['state'], True)
    linear('model.action_in_proj', s['expert'], s['action'], True)
    linear('model.action_out_proj', s['action'], s['expert'], True)
    linear('model.action_time_mlp_in', s['expert'], 2 * s['expert'], True)
    linear('model.action_time_mlp_out', s['expert'], s['expert'], True)
    return found


def weights(sizes: dict, seed: int = 0) -> dict[str, Tensor]:
    """Return random tensors that leave no part of the network without effect."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes(sizes).items():
        value = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            found[name] = value / math.sqrt(math.prod(shape[1:]))
        else:
            found[name] = 0.1 * value + float('norm' in name and name.endswith('weight'))
    embedding = VLM + 'text_model.embed_tokens.weight'
    return {**found, embedding: found[embedding] / math.sqrt(sizes['hidden'])}
