"""SmolVLA: a small VLM is encoded once, an expert of equal depth reads it and moves the actions.

Source: arXiv 2506.01844 and LeRobot's public checkpoints, whose names of weights it keeps. The
expert's layers take turns: in self-attention, actions see the prefix and, causally, each other;
in cross-attention, they see only the prefix, whose keys and values pass a projection first.
B samples, L tokens of the prefix, T steps of a chunk, D the width of a token, d of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn.functional import linear, scaled_dot_product_attention, silu
from transformers import LlamaConfig, SmolVLMConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm
from transformers.models.smolvlm.modeling_smolvlm import SmolVLMConnector, SmolVLMVisionTransformer

WAVELENGTH = 1e4  # of the rotary embedding, whatever the VLM's own configuration says
# The text and vision towers of the VLM that LeRobot names and does not describe.
VLMS: Mapping[str, Mapping[str, Any]] = {
    'HuggingFaceTB/SmolVLM2-500M-Video-Instruct': {
        'scale_factor': 4,
        'text_config': {
            'model_type': 'llama', 'vocab_size': 49280, 'hidden_size': 960, 'head_dim': 64,
            'intermediate_size': 2560, 'num_attention_heads': 15, 'num_key_value_heads': 5,
            'num_hidden_layers': 32, 'rms_norm_eps': 1e-5,
        },
        'vision_config': {
            'hidden_size': 768, 'intermediate_size': 3072, 'num_hidden_layers': 12,
            'num_attention_heads': 12, 'image_size': 512, 'patch_size': 16,
            'layer_norm_eps': 1e-6, 'hidden_act': 'gelu_pytorch_tanh',
        },
    }
}  # fmt: skip

# Published prefix of a weight's name -> ours; the first that fits counts.
PREFIXES = {
    'model.vlm_with_expert.vlm.model.': '',
    'model.vlm_with_expert.': '',
    'model.': '',
}
# What the files hold and no action depends on: words are never predicted, and the expert reads
# the VLM's layers before its last norm.
UNUSED = (
    'model.vlm_with_expert.vlm.lm_head.weight',
    'model.vlm_with_expert.vlm.model.text_model.norm.weight',
)

STACKS = ('vision_model', 'text_model', 'lm_expert')  # where nearly all weights are


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a LeRobot checkpoint by the names of `SmolVLA`."""
    found = {}
    for name, value in published.items():
        name = name.replace('model._orig_mod.', 'model.', 1)  # of a compiled training run
        if name not in UNUSED:
            prefix = next((p for p in PREFIXES if name.startswith(p)), '')
            found[PREFIXES.get(prefix, '') + name[len(prefix) :]] = value
    return found


@dataclass(frozen=True)
class SmolVLAConfig:
    """Sizes of the network."""

    vlm: SmolVLMConfig
    layers: int = 16  # of the VLM that are kept, from the first; the expert has as many
    self_every: int = 2  # of each so many layers the first is self-attention; 0: none is
    cross: bool = True  # whether the others are cross-attention; else all are self-attention
    expert_width: float = 0.75  # of the VLM's width
    horizon: int = 50  # T
    state_dim: int = 32  # shorter vectors are padded with 0
    action_dim: int = 32  # A
    min_period: float = 4e-3  # of the time's sine waves
    max_period: float = 4.0

    def crosses(self, layer: int) -> bool:
        """Return whether a layer of the expert is cross-attention."""
        return self.cross and not (self.self_every > 0 and layer % self.self_every == 0)

    @property
    def expert(self) -> LlamaConfig:
        """Return the expert's sizes: heads as the VLM, a narrower residual stream."""
        text = self.vlm.text_config
        hidden = int(text.hidden_size * self.expert_width)
        inner = 4 * int(2 * hidden / 3)
        return LlamaConfig(
            hidden_size=hidden,
            intermediate_size=256 * math.ceil(inner / 256),
            num_attention_heads=text.num_attention_heads,
            num_key_value_heads=text.num_key_value_heads,
            head_dim=text.head_dim,
            rms_norm_eps=text.rms_norm_eps,
            hidden_act=text.hidden_act,
        )


class SmolVLA(nn.Module):
    """The network; `SmolVLAVelocity` runs it for one observation."""

    def __init__(self, config: SmolVLAConfig) -> None:
        super().__init__()
        self.config = config
        vlm, text, expert = config.vlm, config.vlm.text_config, config.expert
        self.vision_model = SmolVLMVisionTransformer(vlm.vision_config)
        self.connector = SmolVLMConnector(vlm)
        self.text_model = nn.ModuleDict({
            'embed_tokens': nn.Embedding(text.vocab_size, text.hidden_size),
            'layers': nn.ModuleList(LlamaDecoderLayer(text, k) for k in range(config.layers)),
        })
        self.lm_expert = nn.ModuleDict({
            'layers': nn.ModuleList(LlamaDecoderLayer(expert, k) for k in range(config.layers)),
            'norm': LlamaRMSNorm(expert.hidden_size, eps=expert.rms_norm_eps),
        })
        kv = text.num_key_value_heads * text.head_dim
        for k, layer in enumerate(self.lm_expert['layers']):
            if config.crosses(k):
                layer.self_attn.k_proj = nn.Linear(kv, kv, bias=expert.attention_bias)
                layer.self_attn.v_proj = nn.Linear(kv, kv, bias=expert.attention_bias)
        hidden = expert.hidden_size
        self.state_proj = nn.Linear(config.state_dim, text.hidden_size)
        self.action_in_proj = nn.Linear(config.action_dim, hidden)
        self.action_out_proj = nn.Linear(hidden, config.action_dim)
        self.action_time_mlp_in = nn.Linear(2 * hidden, hidden)
        self.action_time_mlp_out = nn.Linear(hidden, hidden)

    def forward(
        self,
        hidden: Tensor,
        prefix: list[tuple[Tensor, Tensor]],
        after: tuple[Tensor, Tensor],
        from_zero: tuple[Tensor, Tensor],
        mask: Tensor,
    ) -> Tensor:
        """Return what the expert makes of embedded actions, (B, T, D).

        Args:
            hidden: (B, T, D).
            prefix: Of each layer, what it reads: keys and values (1, heads, L, d).
            after: Rotary table (T, d) of positions that follow the prefix.
            from_zero: That of positions from 0, for cross-attention.
            mask: What step k sees (T, L + T), in self-attention.
        """
        batch = len(hidden)
        for k, layer in enumerate(self.lm_expert['layers']):
            normed = layer.input_layernorm(hidden)
            query = _heads(layer, layer.self_attn.q_proj(normed))
            keys, values = (kv.expand(batch, -1, -1, -1) for kv in prefix[k])
            if self.config.crosses(k):
                seen = _attend(_rotate(query, from_zero), keys, values, None)
            else:
                own = _rotate(_heads(layer, layer.self_attn.k_proj(normed)), after)
                keys = torch.cat((keys, own), dim=2)
                values = torch.cat((values, _heads(layer, layer.self_attn.v_proj(normed))), dim=2)
                seen = _attend(_rotate(query, after), keys, values, mask)
            hidden = _finish(layer, hidden, seen)
        return self.lm_expert['norm'](hidden)


class SmolVLAVelocity:
    """The velocity v(x, t) of the action expert for one observation, differentiable in x.

    One encoded observation serves any number of samples. What is the same in each flow step is
    computed here: the prefix's keys and values, those of the cross-attention layers projected
    already, the rotary tables and the mask.
    """

    def __init__(self, model: SmolVLA, *, pixels: Tensor, tokens: Tensor, state: Tensor) -> None:
        """Encode the prefix: pictures, words, state.

        Args:
            model: The network, loaded and in eval mode.
            pixels: Pictures (cameras, 3, H, H) in [-1, 1].
            tokens: Words (L',), none of them padding.
            state: Normalised state (S,), padded with 0 to the network's width.
        """
        self._model = model
        config = model.config
        self._dtype = model.state_proj.weight.dtype
        with torch.no_grad():
            prefix = self._embed_prefix(pixels, tokens, state)
            self._prefix = self._encode(prefix)
        known, steps, device = prefix.shape[1], config.horizon, prefix.device
        self._after = self._rotary(known, known + steps, device)
        self._from_zero = self._rotary(0, steps, device)
        ones = torch.ones(steps, known + steps, dtype=torch.bool, device=device)
        self._mask = ones.tril(known)  # step k sees the prefix and the steps up to its own
        half = config.expert.hidden_size // 2
        fraction = torch.linspace(0.0, 1.0, half, dtype=torch.float64, device=device)
        period = config.min_period * (config.max_period / config.min_period) ** fraction
        self._frequency = 2.0 * math.pi / period

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Return v (B, T, A) for x (B, T, A) and time (B,), or (B, T) for each of its steps."""
        hidden = self._embed_actions(x.to(self._dtype), time)
        hidden = self._model(hidden, self._prefix, self._after, self._from_zero, self._mask)
        return self._model.action_out_proj(hidden).to(x.dtype)

    def _embed_prefix(self, pixels: Tensor, tokens: Tensor, state: Tensor) -> Tensor:
        """Return (1, L, D): pictures and words, both times sqrt(D), and the state."""
        model = self._model
        features = model.vision_model(pixel_values=pixels.to(self._dtype)).last_hidden_state
        pictures = model.connector(features).flatten(0, 1)
        scaled = torch.cat((pictures, model.text_model['embed_tokens'](tokens)))
        scaled = scaled * scaled.shape[-1] ** 0.5
        return torch.cat((scaled, model.state_proj(state.to(self._dtype))[None]))[None]

    def _encode(self, hidden: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return what the expert's layers read of the prefix: keys and values (1, heads, L, d)."""
        model, length = self._model, hidden.shape[1]
        table = self._rotary(0, length, hidden.device)
        mask = torch.ones(length, length, dtype=torch.bool, device=hidden.device)
        mask[:-1, -1] = False  # the state sees everything and nothing else sees it
        read = []
        for k, layer in enumerate(model.text_model['layers']):
            normed = layer.input_layernorm(hidden)
            keys = _rotate(_heads(layer, layer.self_attn.k_proj(normed)), table)
            values = _heads(layer, layer.self_attn.v_proj(normed))
            read.append((keys, values))
            if model.config.crosses(k):
                expert = model.lm_expert['layers'][k]
                read[-1] = (
                    _heads(expert, expert.self_attn.k_proj(_flat(keys))),
                    _heads(expert, expert.self_attn.v_proj(_flat(values))),
                )
            if k + 1 < model.config.layers:  # nobody reads the last layer's output
                query = _rotate(_heads(layer, layer.self_attn.q_proj(normed)), table)
                hidden = _finish(layer, hidden, _attend(query, keys, values, mask))
        return read

    def _embed_actions(self, x: Tensor, time: Tensor) -> Tensor:
        """Return (B, T, D): MLP(action, waves of the time), the first product taken apart."""
        model = self._model
        rows = time.view(len(x), -1, 1).double() * self._frequency  # (B, 1 or T, D / 2)
        waves = torch.cat((rows.sin(), rows.cos()), dim=-1).to(x.dtype)
        first, hidden = model.action_time_mlp_in, waves.shape[-1]
        summed = linear(model.action_in_proj(x), first.weight[:, :hidden]) + linear(
            waves, first.weight[:, hidden:], first.bias
        )
        return model.action_time_mlp_out(silu(summed))

    def _rotary(self, start: int, end: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cosines and sines (end - start, d) of positions from start on."""
        width = self._model.config.vlm.text_config.head_dim
        exponent = torch.arange(0, width, 2, dtype=torch.float64, device=device) / width
        positions = torch.arange(start, end, dtype=torch.float64, device=device)
        angles = (positions[:, None] / WAVELENGTH**exponent).repeat(1, 2)
        return angles.cos().to(self._dtype), angles.sin().to(self._dtype)


def _heads(layer: LlamaDecoderLayer, x: Tensor) -> Tensor:
    """Return (B, heads, T, d) of (B, T, heads * d)."""
    return x.view(*x.shape[:2], -1, layer.self_attn.head_dim).transpose(1, 2)


def _flat(x: Tensor) -> Tensor:
    """Return (B, T, heads * d) of (B, heads, T, d)."""
    return x.transpose(1, 2).flatten(2)


def _rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Return x (B, heads, T, d) turned by the angles of its positions, halves paired."""
    (cos, sin), (a, b) = table, x.chunk(2, dim=-1)
    return x * cos + torch.cat((-b, a), dim=-1) * sin


def _attend(query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, T, heads * d); several heads of the query share one of keys and values."""
    seen = scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=True)
    return _flat(seen)


def _finish(layer: LlamaDecoderLayer, hidden: Tensor, seen: Tensor) -> Tensor:
    """Return a layer's output (B, T, D) after its attention."""
    hidden = hidden + layer.self_attn.o_proj(seen)
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))
