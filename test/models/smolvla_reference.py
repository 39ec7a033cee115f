"""SmolVLA written down a second time, from its description: no cache, no modules, float64.

The weights are a dictionary by their published names. Each flow step runs the whole network
over prefix and actions, one head after the other.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

VLM, EXPERT = 'model.vlm_with_expert.vlm.model.', 'model.vlm_with_expert.lm_expert.'


def dense(w: dict, name: str, x: Tensor) -> Tensor:
    y = torch.einsum('...i,oi->...o', x, w[name + '.weight'])
    return y + w[name + '.bias'] if name + '.bias' in w else y


def softmax_mix(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """q (L, heads, d), k and v (S, fewer heads, d), allowed (L, S) -> (L, heads * d)."""
    share = q.shape[1] // k.shape[1]
    mixed = []
    for head in range(q.shape[1]):
        score = q[:, head] @ k[:, head // share].T / math.sqrt(q.shape[2])
        weight = torch.exp(score) * allowed
        mixed.append(weight / weight.sum(1, keepdim=True) @ v[:, head // share])
    return torch.cat(mixed, dim=1)


def layer_norm(w: dict, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return centred / scale * w[name + '.weight'] + w[name + '.bias']


def rms_norm(w: dict, name: str, x: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * w[name + '.weight']


def picture_tokens(w: dict, sizes: dict, picture: Tensor) -> Tensor:
    """(3, H, H) in [-1, 1] -> (tokens, D): vision tower, then patches of a square joined."""
    patch, heads, join = sizes['patch'], sizes['vision_heads'], sizes['join']
    side = sizes['image'] // patch
    name = VLM + 'vision_model.'
    kernel = w[name + 'embeddings.patch_embedding.weight']
    rows = []
    for i in range(side):
        for j in range(side):
            tile = picture[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
            rows.append((kernel * tile).sum((1, 2, 3)))
    x = torch.stack(rows) + w[name + 'embeddings.patch_embedding.bias']
    x = x + w[name + 'embeddings.position_embedding.weight']
    everybody = torch.ones(len(x), len(x))
    for k in range(sizes['vision_layers']):
        here = f'{name}encoder.layers.{k}.'
        y = layer_norm(w, here + 'layer_norm1', x)
        q, key, v = (
            dense(w, f'{here}self_attn.{p}_proj', y).reshape(len(x), heads, -1) for p in 'qkv'
        )
        x = x + dense(w, here + 'self_attn.out_proj', softmax_mix(q, key, v, everybody))
        y = dense(w, here + 'mlp.fc1', layer_norm(w, here + 'layer_norm2', x))
        y = 0.5 * y * (1 + torch.tanh(math.sqrt(2 / math.pi) * (y + 0.044715 * y**3)))
        x = x + dense(w, here + 'mlp.fc2', y)
    x = layer_norm(w, name + 'post_layernorm', x).reshape(side, side, -1)
    squares = [
        torch.cat([x[i + a, j + b] for a in range(join) for b in range(join)])
        for i in range(0, side, join)
        for j in range(0, side, join)
    ]
    return dense(w, VLM + 'connector.modality_projection.proj', torch.stack(squares))


def turned(x: Tensor, first: int) -> Tensor:
    """x (L, heads, d): pairs (i, i + d/2) turned by position / 10000^(2 i / d)."""
    half = x.shape[-1] // 2
    rate = 1e4 ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(first, first + len(x))[:, None, None] * rate
    spun = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angle)
    return torch.cat((spun.real, spun.imag), dim=-1)


def block_end(w: dict, here: str, x: Tensor, mixed: Tensor) -> Tensor:
    x = x + dense(w, here + 'self_attn.o_proj', mixed)
    y = rms_norm(w, here + 'post_attention_layernorm', x)
    gate = dense(w, here + 'mlp.gate_proj', y)
    return x + dense(
        w, here + 'mlp.down_proj', gate * torch.sigmoid(gate) * dense(w, here + 'mlp.up_proj', y)
    )


def velocity(
    w: dict, sizes: dict, pixels: Tensor, words: list[int], state: Tensor, x: Tensor, t: float
) -> Tensor:
    """Return v (T, A) of a noisy chunk x (T, A) at flow time t; even layers are self-attention."""
    d = sizes['head_dim']
    table = w[VLM + 'text_model.embed_tokens.weight']
    seen = [picture_tokens(w, sizes, p) for p in pixels] + [table[torch.tensor(words)]]
    seen = torch.cat(seen) * math.sqrt(table.shape[1])
    prefix = torch.cat((seen, dense(w, 'model.state_proj', state)[None]))
    n, T = len(prefix), len(x)
    sees = torch.ones(n, n)
    sees[: n - 1, n - 1] = 0  # pictures and words do not look at the state

    a = dense(w, 'model.action_in_proj', x)
    half = a.shape[1] // 2
    low, high = 4e-3, 4.0
    rates = [2 * math.pi / (low * (high / low) ** (i / (half - 1))) for i in range(half)]
    phase = (t * torch.tensor(rates, dtype=torch.float64)).expand(T, half)
    h = dense(w, 'model.action_time_mlp_in', torch.cat((a, phase.sin(), phase.cos()), dim=1))
    h = dense(w, 'model.action_time_mlp_out', h * torch.sigmoid(h))

    for k in range(sizes['layers']):
        here, there = f'{VLM}text_model.layers.{k}.', f'{EXPERT}layers.{k}.'
        y = rms_norm(w, here + 'input_layernorm', prefix)
        q, key, value = (
            dense(w, f'{here}self_attn.{p}_proj', y).reshape(n, -1, d) for p in 'qkv'
        )
        q, key = turned(q, 0), turned(key, 0)
        z = rms_norm(w, there + 'input_layernorm', h)
        own_q = dense(w, there + 'self_attn.q_proj', z).reshape(T, -1, d)
        if k % 2 == 0:
            own_k, own_v = (
                dense(w, f'{there}self_attn.{p}_proj', z).reshape(T, -1, d) for p in 'kv'
            )
            mixed = softmax_mix(
                turned(own_q, n),
                torch.cat((key, turned(own_k, n))),
                torch.cat((value, own_v)),
                torch.cat((torch.ones(T, n), torch.ones(T, T).tril()), dim=1),
            )
        else:
            mixed = softmax_mix(
                turned(own_q, 0),
                dense(w, there + 'self_attn.k_proj', key.reshape(n, -1)).reshape(n, -1, d),
                dense(w, there + 'self_attn.v_proj', value.reshape(n, -1)).reshape(n, -1, d),
                torch.ones(T, n),
            )
        prefix = block_end(w, here, prefix, softmax_mix(q, key, value, sees))
        h = block_end(w, there, h, mixed)
    return dense(w, 'model.action_out_proj', rms_norm(w, EXPERT + 'norm', h))


def chunk(
    w: dict, sizes: dict, pixels: Tensor, words: list[int], state: Tensor, noise: Tensor,
    steps: int,
) -> Tensor:  # fmt: skip
    """Return the chunk (T, A) that Euler steps from t = 1 to 0 make of noise (T, A)."""
    w = {name: value.double() for name, value in w.items()}
    pixels, state, x = pixels.double(), state.double(), noise.double()
    for k in range(steps):
        t = float(torch.tensor(1.0 - k / steps, dtype=torch.float32))  # as LeRobot hands it on
        x = x - velocity(w, sizes, pixels, words, state, x, t) / steps
    return x
