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
from transformers.models.gemma.modeling_gemma import (
    GemmaAttention,
    GemmaMLP,
    GemmaRotaryEmbedding,
)

from vla_ros.models.block import Block, Modulation, Norm, Room, shown
from vla_ros.models.paligemma import gemma_turns, Prefix
from vla_ros.models.product import Product
from vla_ros.models.tower import Vision
from vla_ros.models.velocity import Encoded, Expert, Sight


@dataclass(frozen=True)
class Pi05Config:
    """Sizes of a checkpoint."""

    vlm: PaliGemmaConfig
    expert: GemmaConfig
    max_action_dim: int = 32  # A
    min_period: float = 4e-3  # of the waves that tell the time, t in [0, 1]
    max_period: float = 4.0


class AdaptiveNorm(nn.Module):
    """Weights of an RMS norm whose scale and shift, and the gate behind it, the time gives."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, 3 * width)  # scale, shift, gate from the time's embedding


class ExpertLayer(nn.Module):
    """Weights of Gemma's block with adaptive norms: x + gate * attention, x + gate * MLP."""

    def __init__(self, config: GemmaConfig, index: int) -> None:
        super().__init__()
        self.self_attn = GemmaAttention(config, index)
        self.mlp = GemmaMLP(config)
        self.input_layernorm = AdaptiveNorm(config.hidden_size)
        self.post_attention_layernorm = AdaptiveNorm(config.hidden_size)


class ExpertStack(nn.Module):
    """Weights of the action expert's layers."""

    def __init__(self, config: GemmaConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            ExpertLayer(config, k) for k in range(config.num_hidden_layers)
        )
        self.norm = AdaptiveNorm(config.hidden_size)
        self.rotary_emb = GemmaRotaryEmbedding(config)


class Pi05(nn.Module):
    """The weights, by the names of the files; `Pi05Engine` runs them."""

    def __init__(self, config: Pi05Config) -> None:
        super().__init__()
        self.config = config
        width = config.expert.hidden_size
        self.vlm = PaliGemmaModel(config.vlm)
        self.expert = ExpertStack(config.expert)
        self.action_in_proj = nn.Linear(config.max_action_dim, width)
        self.action_out_proj = nn.Linear(width, config.max_action_dim)
        self.time_mlp_in = nn.Linear(width, width)
        self.time_mlp_out = nn.Linear(width, width)


class Pi05Expert(Expert):
    """The action expert: reads the prefix's keys and values, all steps see each other."""

    def __init__(self, model: Pi05) -> None:
        """Take over the network's weights."""
        super().__init__()
        config, stack = model.config.expert, model.expert
        self._enter, self._out = Product(model.action_in_proj), Product(model.action_out_proj)
        self.dtype = model.action_in_proj.weight.dtype
        self._mlp = model.time_mlp_in, model.time_mlp_out
        self._periods = model.config.min_period, model.config.max_period
        self._dense = [
            norm.dense
            for layer in stack.layers
            for norm in (layer.input_layernorm, layer.post_attention_layernorm)
        ] + [stack.norm.dense]
        norms = [Norm(config.hidden_size, config.rms_norm_eps) for _ in self._dense]
        self._blocks = [
            Block(layer, (norms[2 * k], norms[2 * k + 1])) for k, layer in enumerate(stack.layers)
        ]
        self._norm = norms[-1]

    def embedded(self, t: float) -> Modulation:
        """Return what a time does to the 2 L + 1 norms."""
        first, second = self._mlp
        powers = torch.linspace(0.0, 1.0, first.in_features // 2, dtype=torch.float64)
        shortest, longest = self._periods
        angles = 2.0 * math.pi * t / (shortest * (longest / shortest) ** powers)
        waves = torch.cat((angles.sin(), angles.cos())).to(first.weight)  # in float64: many
        time = silu(second(silu(first(waves))))
        table = torch.stack([dense(time) for dense in self._dense])  # (2 L + 1, 3 D)
        scale, shift, gate = table.unflatten(-1, (3, -1)).unbind(-2)
        wide = torch.promote_types(table.dtype, torch.float32)
        return Modulation(torch.stack((1.0 + scale.to(wide), shift.to(wide)), dim=-2), gate)

    def forward(
        self,
        x: Tensor,
        modulation: Modulation,
        rooms: list[Room],
        turns: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Return v (N, A), N = B T.

        Args:
            x: (N, A).
            modulation: Of all norms.
            rooms: Of each layer, for B samples; the last T places are the actions'.
            turns: Rotary table (2, T, 1, d).
            mask: From `shown`; None: everything is seen.
        """
        x = self._enter(x.to(self.dtype))
        scale, gate = modulation
        for k, (block, room) in enumerate(zip(self._blocks, rooms)):
            pair = slice(2 * k, 2 * k + 2)
            x = block(x, room, turns, mask, Modulation(scale[:, pair], gate[:, pair]))
        return self._out(self._norm(x, scale[:, -1]))


class Pi05Engine:
    """pi0.5, ready to answer; its state is among the words."""

    def __init__(self, model: Pi05, steps: int) -> None:
        """Take over the network's weights.

        Args:
            model: Loaded and in eval mode; it stays usable.
            steps: T.
        """
        self.network, self.expert = model, Pi05Expert(model)
        vlm = model.vlm
        self.vision: Sight = Vision(vlm.vision_tower, vlm.multi_modal_projector)
        self._prefix = Prefix(vlm)
        self._turns = gemma_turns(model.expert)
        expert = model.config.expert
        self._share = expert.num_attention_heads // expert.num_key_value_heads
        self._steps = steps

    @torch.no_grad()
    def encode(
        self,
        pixels: Tensor,
        words: Tensor,
        state: Tensor | None = None,
        length: Tensor | None = None,
    ) -> Encoded:
        """Return the velocity for one observation, see `Engine`; no state is read."""
        rooms, known, counted, sees = self._prefix(
            self.vision(pixels), words, length, self._steps
        )
        turns = self._turns.behind(known, counted, self._steps)
        mask = None if sees is None else shown(sees, self._share, self.expert.dtype)
        return Encoded(self.expert, rooms, (turns, mask))
