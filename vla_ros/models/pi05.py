"""pi0.5: PaliGemma and an action expert whose norms the flow's time modulates.

Sources: Physical Intelligence 2025 (arXiv 2504.16054) for the model, 2512.05964 for the time of
each step; names of the weights as openpi and LeRobot publish them. B samples, T steps of a
chunk, A dimensions, D width of the expert, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import torch
from torch import nn, Tensor
from torch.nn.functional import silu
from transformers import GemmaConfig, PaliGemmaConfig, PaliGemmaModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.models.gemma.modeling_gemma import (
    GemmaAttention,
    GemmaMLP,
    GemmaRotaryEmbedding,
)

from vla_ros.models.paligemma import embed, run, shared


@dataclass(frozen=True)
class Pi05Config:
    """Sizes of a checkpoint."""

    vlm: PaliGemmaConfig
    expert: GemmaConfig
    max_action_dim: int = 32  # A
    min_period: float = 4e-3  # of the waves that tell the time, t in [0, 1]
    max_period: float = 4.0


class AdaptiveNorm(nn.Module):
    """RMS norm whose scale and shift, and the gate behind the block, come from outside."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.dense = nn.Linear(width, 3 * width)  # scale, shift, gate from the time's embedding

    def forward(self, x: Tensor, modulation: Tensor) -> tuple[Tensor, Tensor]:
        """Return x / rms(x) * (1 + scale) + shift, and the gate.

        Args:
            x: (B, T, D).
            modulation: What `dense` gives, (B or 1, T or 1, 3 D).
        """
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale, shift, gate = modulation.to(wide.dtype).chunk(3, dim=-1)
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)
        return (normed * (1.0 + scale) + shift).to(x.dtype), gate.to(x.dtype)


class ExpertLayer(nn.Module):
    """Gemma's block with adaptive norms: x + gate * attention, x + gate * MLP."""

    def __init__(self, config: GemmaConfig, index: int) -> None:
        super().__init__()
        self.self_attn = GemmaAttention(config, index)
        self.mlp = GemmaMLP(config)
        self.input_layernorm = AdaptiveNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = AdaptiveNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, x: Tensor, modulations: Tensor, turns: tuple[Tensor, Tensor], prefix: Cache
    ) -> Tensor:
        """Return (B, T, D); modulations (2, B or 1, T or 1, 3 D) of the two norms."""
        normed, gate = self.input_layernorm(x, modulations[0])
        x = x + gate * self.self_attn(normed, turns, None, prefix)[0]
        normed, gate = self.post_attention_layernorm(x, modulations[1])
        return x + gate * self.mlp(normed)


class Expert(nn.Module):
    """The action expert: reads the prefix's keys and values, all steps see each other."""

    def __init__(self, config: GemmaConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ExpertLayer(config, k) for k in range(config.num_hidden_layers)
        )
        self.norm = AdaptiveNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = GemmaRotaryEmbedding(config)

    def modulations(self, time: Tensor) -> Tensor:
        """Return what an embedded time (D,) does to every norm, (2 L + 1, 3 D)."""
        norms = []
        for layer in self.layers:
            norms += [layer.input_layernorm, layer.post_attention_layernorm]
        return torch.stack([norm.dense(time) for norm in (*norms, self.norm)])

    def forward(
        self, x: Tensor, modulations: Tensor, turns: tuple[Tensor, Tensor], prefix: Cache
    ) -> Tensor:
        """Return (B, T, D); modulations (2 L + 1, B or 1, T or 1, 3 D)."""
        for k, layer in enumerate(self.layers):
            x = layer(x, modulations[2 * k : 2 * k + 2], turns, prefix)
        return self.norm(x, modulations[-1])[0]


class Pi05(nn.Module):
    """The network; `Pi05Velocity` runs it for one observation."""

    def __init__(self, config: Pi05Config) -> None:
        super().__init__()
        self.config = config
        width = config.expert.hidden_size
        self.vlm = PaliGemmaModel(config.vlm)
        self.expert = Expert(config.expert)
        self.action_in_proj = nn.Linear(config.max_action_dim, width)
        self.action_out_proj = nn.Linear(width, config.max_action_dim)
        self.time_mlp_in = nn.Linear(width, width)
        self.time_mlp_out = nn.Linear(width, width)
        self._known: dict[float, Tensor] = {}  # time -> modulations; a sampler has few times

    @torch.no_grad()
    def modulations(self, time: Tensor) -> Tensor:
        """Return what each norm takes, (2 L + 1, B or 1, T or 1, 3 D), computed once per time.

        Args:
            time: (B,), or (B, T) where steps differ.
        """
        values, place = torch.unique(time, return_inverse=True)
        for t in values.tolist():
            if t not in self._known:
                self._known[t] = self.expert.modulations(self._embedded(t))
        table = torch.stack([self._known[t] for t in values.tolist()], dim=1)
        if len(values) == 1:
            return table[:, :, None]
        return table[:, place.view(len(time), -1)]

    def _embedded(self, t: float) -> Tensor:
        """Return silu(W silu(V waves(t))), (D,); the waves in float64, they are many."""
        weight = self.time_mlp_in.weight
        config = self.config
        powers = torch.linspace(0.0, 1.0, weight.shape[1] // 2, dtype=torch.float64)
        periods = config.min_period * (config.max_period / config.min_period) ** powers
        angles = 2.0 * math.pi * t / periods
        waves = torch.cat((angles.sin(), angles.cos())).to(weight)
        return silu(self.time_mlp_out(silu(self.time_mlp_in(waves))))


class Pi05Velocity:
    """The velocity v(x, t) of the action expert, differentiable in x.

    One encoded observation serves any number of samples. Call it under torch.no_grad, or with
    gradients for x.
    """

    def __init__(self, model: Pi05, *, pixel_values: Tensor, words: Tensor, steps: int) -> None:
        """Encode the prefix.

        Args:
            model: The network, loaded and in eval mode.
            pixel_values: The pictures that are there, (cameras, 3, H, W) in [-1, 1].
            words: Numbers of the prompt's words (1, W), without padding.
            steps: T.
        """
        self._model = model
        cache = DynamicCache()
        with torch.no_grad():
            embeds = embed(model.vlm, pixel_values, words)
            run(model.vlm, embeds, 0, cache)
        self._prefix = shared(cache)
        length = embeds.shape[1]
        positions = torch.arange(length, length + steps, device=embeds.device)[None]
        self._turns = model.expert.rotary_emb(embeds, position_ids=positions)

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Return v (B, T, A) for x (B, T, A) and time (B,), or (B, T) for each of its steps."""
        model = self._model
        hidden = model.action_in_proj(x.to(model.action_in_proj.weight.dtype))
        hidden = model.expert(hidden, model.modulations(time), self._turns, self._prefix)
        return model.action_out_proj(hidden).to(x.dtype)
