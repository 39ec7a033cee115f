"""pi0's flow-matching loss, arranged so that one encoded prefix serves many noise samples.

The plain form is `PI0ForConditionalGeneration(state, noise, timestep, ...)` called once for each
sample. Here the prefix (pictures and words) runs once, its keys and values are shared by
`samples` suffixes in one block-masked attention, and the last prefix layer stops at its keys
and values, because nothing reads more of it. A test shows that both agree.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional
from transformers import PI0ForConditionalGeneration


def _rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate (B, heads, T, d) by per-position angles (B, 1, T, d)."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


def _norm(x: Tensor, layer: nn.Module) -> Tensor:
    """Gemma's RMS norm, scaled by 1 + weight."""
    x32 = x.float()
    scaled = x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + layer.eps)
    return scaled * (1.0 + layer.weight)


def _heads(x: Tensor, linear: nn.Linear, dim: int) -> Tensor:
    y = linear(x)
    return y.view(*y.shape[:2], -1, dim).transpose(1, 2)


def _mlp(x: Tensor, mlp: nn.Module) -> Tensor:
    return mlp.down_proj(mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x))


def _angles(positions: Tensor, rotary: nn.Module) -> tuple[Tensor, Tensor]:
    angles = positions[..., None].float() * rotary.inv_freq
    angles = torch.cat((angles, angles), dim=-1)[:, None]
    return angles.cos(), angles.sin()


class FlowLoss(nn.Module):
    """Velocity predictions of a PI0 model for `samples` noisy chunks an observation."""

    def __init__(self, model: PI0ForConditionalGeneration, samples: int) -> None:
        super().__init__()
        self.model = model
        self.samples = samples

    def forward(
        self,
        features: Tensor,  # (B, V, D) vision tower output of all cameras
        words: Tensor,  # (B, L) token ids, padded at the right
        word_mask: Tensor,  # (B, L) 1 for a real token
        state: Tensor,  # (B, S) normalised
        noisy: Tensor,  # (B, K, T, A) x_t
        time: Tensor,  # (B, K)
    ) -> Tensor:
        """Return the predicted velocities (B, K, T, A)."""
        keys, values, mask = self._prefix(features, words, word_mask)
        return self._suffix(keys, values, mask, state, noisy, time)

    def _prefix(
        self, features: Tensor, words: Tensor, word_mask: Tensor
    ) -> tuple[list[Tensor], list[Tensor], Tensor]:
        vlm = self.model.model.vlm
        language = vlm.language_model
        images = vlm.multi_modal_projector(features)
        x = torch.cat((images, language.embed_tokens(words)), dim=1)
        mask = torch.cat((word_mask.new_ones(images.shape[:2]), word_mask), dim=1)
        cos, sin = _angles(mask.cumsum(-1) - 1, language.rotary_emb)
        allowed = mask[:, None, None, :].bool()
        keys, values = [], []
        for layer in language.layers:
            attention, dim = layer.self_attn, layer.self_attn.head_dim
            y = _norm(x, layer.input_layernorm)
            k = _rope(_heads(y, attention.k_proj, dim), cos, sin)
            v = _heads(y, attention.v_proj, dim)
            keys.append(k)
            values.append(v)
            if layer is language.layers[-1]:
                break
            q = _rope(_heads(y, attention.q_proj, dim), cos, sin)
            x = x + attention.o_proj(_attend(q, k, v, allowed))
            x = x + _mlp(_norm(x, layer.post_attention_layernorm), layer.mlp)
        return keys, values, mask

    def _suffix(
        self,
        keys: list[Tensor],
        values: list[Tensor],
        mask: Tensor,
        state: Tensor,
        noisy: Tensor,
        time: Tensor,
    ) -> Tensor:
        batch, samples, horizon, actions = noisy.shape
        embed = self.model.embed_action_time
        x = embed(
            state.repeat_interleave(samples, 0), noisy.flatten(0, 1), time.flatten(0, 1)
        )  # (B K, 1 + T, D)
        length = x.shape[1]
        x = x.view(batch, samples * length, -1)
        offset = mask.sum(-1, keepdim=True)
        positions = offset + torch.arange(length, device=x.device).repeat(samples)
        dit = self.model.model.dit
        cos, sin = _angles(positions, dit.rotary_emb)
        allowed = _suffix_mask(mask, samples, length)
        for i, layer in enumerate(dit.layers):
            attention, dim = layer.self_attn, layer.self_attn.head_dim
            y = _norm(x, layer.input_layernorm)
            q = _rope(_heads(y, attention.q_proj, dim), cos, sin)
            k = _rope(_heads(y, attention.k_proj, dim), cos, sin)
            v = _heads(y, attention.v_proj, dim)
            k, v = torch.cat((keys[i], k), dim=2), torch.cat((values[i], v), dim=2)
            x = x + attention.o_proj(_attend(q, k, v, allowed))
            x = x + _mlp(_norm(x, layer.post_attention_layernorm), layer.mlp)
        x = _norm(x, dit.norm).view(batch, samples, length, -1)[:, :, 1:]
        return self.model.action_out_proj(x).view(batch, samples, horizon, actions)


def _attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor) -> Tensor:
    """Attention of (B, h, Q, d) over one shared key head (B, 1, K, d); returns (B, Q, h d)."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    weights = functional.softmax(scores.float().masked_fill(~allowed, -1e9), dim=-1).to(v.dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def _suffix_mask(prefix: Tensor, samples: int, length: int) -> Tensor:
    """Who sees whom: (B, 1, K L, V + K L).

    Every token sees the prefix; a state token sees itself; an action sees its own sample.
    """
    index = torch.arange(samples * length, device=prefix.device)
    sample, is_state = index // length, index % length == 0
    same = sample[:, None] == sample[None]
    own = same & (~is_state[:, None] | is_state[None])
    batch = len(prefix)
    seen = prefix.bool()[:, None, :].expand(batch, len(index), -1)
    return torch.cat((seen, own.expand(batch, -1, -1)), dim=-1)[:, None]
