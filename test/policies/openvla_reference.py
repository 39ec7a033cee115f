"""OpenVLA and OpenVLA-OFT once more, in numpy and float64, a layer a line.

Written from the description of the models, not from `vla_ros.models`: patches are cut by
reshaping, adapters stay beside their layers, nothing is cached and every sequence runs whole.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf


class Tensors:
    """Published tensors under a prefix."""

    def __init__(self, table, prefix=''):
        self.table, self.prefix = table, prefix

    def __truediv__(self, name):
        return Tensors(self.table, f'{self.prefix}{name}.')

    def __contains__(self, name):
        return self.prefix + name in self.table

    def __getitem__(self, name):
        return self.table[self.prefix + name].double().numpy()

    def linear(self, name, x):
        """Apply a layer, with its low-rank adapter where it has one."""
        part = self / name
        if 'base_layer.weight' not in part:
            y = x @ part['weight'].reshape(len(part['weight']), -1).T
            return y + part['bias'] if 'bias' in part else y
        a, b = part['lora_A.default.weight'], part['lora_B.default.weight']
        rank = len(a)
        low = x @ a.reshape(rank, -1).T @ b.reshape(len(b), rank).T
        return (part / 'base_layer').plain(x) + min(rank, 16) / rank * low

    def plain(self, x):
        return x @ self['weight'].reshape(len(self['weight']), -1).T + self['bias']

    def norm(self, name, x, epsilon):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon)
        return x * self[f'{name}.weight'] + self[f'{name}.bias']

    def rms(self, name, x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * self[f'{name}.weight']


def gelu(x):
    return 0.5 * x * (1.0 + erf(x / np.sqrt(2.0)))


def attend(q, k, v, allowed=None):
    """(heads, N, d) each; allowed (N, N) says who may look at whom."""
    scores = np.einsum('hid,hjd->hij', q, k) / np.sqrt(q.shape[-1])
    if allowed is not None:
        scores = np.where(allowed, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum('hij,hjd->hid', weights, v)


def vit(tensors, pixels, depth, heads=16, words=None):
    """Features (N, width) of pixels (3, H, W) after block depth - 1; words modulate by FiLM."""
    kernel = 'patch_embed.proj.weight'
    if kernel not in tensors:
        kernel = 'patch_embed.proj.base_layer.weight'
    patch = tensors[kernel].shape[-1]
    side = pixels.shape[1] // patch
    cut = pixels.reshape(3, side, patch, side, patch).transpose(1, 3, 0, 2, 4)
    x = tensors.linear('patch_embed.proj', cut.reshape(side * side, -1)) + tensors['pos_embed'][0]
    prefix = 0
    if 'cls_token' in tensors:
        x = np.concatenate([tensors['cls_token'][0], tensors['reg_token'][0], x])
        prefix = 1 + tensors['reg_token'].shape[1]
    for i in range(depth - 1):
        wrapped = tensors / f'blocks.{i}'
        block = wrapped / 'block' if words is not None else wrapped
        h = block.linear('attn.qkv', block.norm('norm1', x, 1e-6))
        q, k, v = h.reshape(len(x), 3, heads, -1).transpose(1, 2, 0, 3)
        h = block.linear('attn.proj', attend(q, k, v).transpose(1, 0, 2).reshape(len(x), -1))
        x = x + (h * block['ls1.scale_factor'] if 'ls1.scale_factor' in block else h)
        if words is not None:
            x = x * (1.0 + wrapped.linear('scale', words)) + wrapped.linear('shift', words)
        h = block.linear('mlp.fc2', gelu(block.linear('mlp.fc1', block.norm('norm2', x, 1e-6))))
        x = x + (h * block['ls2.scale_factor'] if 'ls2.scale_factor' in block else h)
    return x[prefix:]


def patches(tensors, vision, pixels, depths, words=None):
    """Embeddings (N, words) of one picture (3 per transformer, H, W)."""
    parts = ('featurizer', 'fused_featurizer')
    features = [
        vit(vision / part, pixels[3 * k : 3 * k + 3], depth, words=words)
        for k, (part, depth) in enumerate(zip(parts, depths))
    ]
    x = tensors.linear('projector.fc1', np.concatenate(features, axis=1))
    x = tensors.linear('projector.fc2', gelu(x))
    return tensors.linear('projector.fc3', gelu(x)) if len(depths) == 2 else x


def llama(tensors, x, layers, heads, causal):
    """Final hidden states (N, words) of embeddings (N, words)."""
    count = len(x)
    half = x.shape[1] // heads // 2
    angle = np.outer(np.arange(count), 10000.0 ** (-np.arange(half) / half))
    cos, sin = np.cos(angle), np.sin(angle)
    allowed = np.tril(np.ones((count, count), bool)) if causal else None

    def turned(y):
        first, second = y[..., :half], y[..., half:]
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    for i in range(layers):
        layer = tensors / f'language_model.model.layers.{i}'
        h = layer.rms('input_layernorm', x)
        q, k, v = (
            layer.linear(f'self_attn.{n}_proj', h).reshape(count, heads, -1).transpose(1, 0, 2)
            for n in 'qkv'
        )
        h = attend(turned(q), turned(k), v, allowed).transpose(1, 0, 2).reshape(count, -1)
        x = x + layer.linear('self_attn.o_proj', h)
        h = layer.rms('post_attention_layernorm', x)
        gate = layer.linear('mlp.gate_proj', h)
        h = gate / (1.0 + np.exp(-gate)) * layer.linear('mlp.up_proj', h)
        x = x + layer.linear('mlp.down_proj', h)
    return (tensors / 'language_model.model').rms('norm', x)


def embeddings(tensors, ids):
    return tensors['language_model.model.embed_tokens.weight'][ids]


def logits(tensors, ids, context, layers, heads):
    """Logits (vocabulary,) of the token after BOS, context, the other ids."""
    words = embeddings(tensors, ids)
    x = np.concatenate([words[:1], context, words[1:]])
    hidden = llama(tensors, x, layers, heads, causal=True)[-1]
    return tensors.linear('language_model.lm_head', hidden)


def head(tensors, hidden):
    """Actions (T, A) of hidden states (T, A words); the norms have PyTorch's default epsilon."""
    model = tensors / 'model'
    x = np.maximum(model.linear('fc1', model.norm('layer_norm1', hidden, 1e-5)), 0.0)
    for i in range(2):
        block = model / f'mlp_resnet_blocks.{i}.ffn'
        x = x + np.maximum(block.linear('1', block.norm('0', x, 1e-5)), 0.0)
    return model.linear('fc2', model.norm('layer_norm2', x, 1e-5))


def chunk(tensors, head_tensors, ids, context, steps, layers, heads):
    """Normalised actions (T, A): placeholders of zeros, a stop token, read one place early."""
    actions = len(head_tensors['model.fc2.weight'])
    words, stop = embeddings(tensors, ids), embeddings(tensors, [2])
    empty = np.zeros((steps * actions, words.shape[1]))
    x = np.concatenate([words[:1], context, words[1:], empty, stop])
    hidden = llama(tensors, x, layers, heads, causal=False)
    first = len(context) + len(ids) - 1
    return head(head_tensors, hidden[first : first + len(empty)].reshape(steps, -1))
