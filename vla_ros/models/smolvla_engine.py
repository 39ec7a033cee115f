"""SmolVLA's engine: the VLM is encoded once, the expert's layers read it in each flow step.

B samples, L tokens of the prefix, T steps of a chunk, A dimensions, D width of the expert.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import silu

from vla_ros.models.block import KeysAndValues, Room, shown, Turns
from vla_ros.models.llama import llama_block, llama_norm
from vla_ros.models.product import Product
from vla_ros.models.smolvla import SmolVLA, WAVELENGTH
from vla_ros.models.tower import Vision
from vla_ros.models.velocity import Encoded, Expert, Sight


class SmolVLAExpert(Expert):
    """The action expert: layers of self-attention and of cross-attention."""

    def __init__(self, model: SmolVLA) -> None:
        """Take over the network's weights."""
        super().__init__()
        config, wide = model.config, torch.float64
        self._mixed = Product(model.action_time_mlp_out)
        self._out = Product(model.action_out_proj)
        self.dtype = model.action_out_proj.weight.dtype
        self._periods = config.min_period, config.max_period
        self._wide = torch.promote_types(self.dtype, torch.float32)  # cheap here, and nearer
        # W (action, waves) + b with action = V x + c is (W_a V) x, and what the time adds.
        action, first = model.action_in_proj, model.action_time_mlp_in
        of_action, self._of_time = (
            part.to(wide) for part in first.weight.split(action.out_features, dim=1)
        )
        self._bias = first.bias.to(wide) + of_action @ action.bias.to(wide)
        self._mix = (of_action @ action.weight.to(wide)).t().to(self._wide)  # (A, D)
        layers = model.lm_expert['layers']
        self._crosses = [config.crosses(k) for k in range(len(layers))]
        self._blocks = [llama_block(*pair) for pair in zip(layers, self._crosses)]
        self._norm = llama_norm(model.lm_expert['norm'])

    def embedded(self, t: float) -> Tensor:
        """Return what a time adds to an embedded action, (D,), in float32 at least."""
        half = self._of_time.shape[1] // 2
        powers = torch.linspace(0.0, 1.0, half, dtype=torch.float64)
        shortest, longest = self._periods
        angles = 2.0 * math.pi * t / (shortest * (longest / shortest) ** powers)
        waves = torch.cat((angles.sin(), angles.cos())).to(self._of_time)
        return (self._of_time @ waves + self._bias).to(self._wide)

    def forward(
        self,
        x: Tensor,
        added: Tensor,
        rooms: list[Room],
        turns: tuple[Tensor, Tensor],
        masks: tuple[Tensor, Tensor | None],
    ) -> Tensor:
        """Return v (N, A), N = B T.

        Args:
            x: (N, A).
            added: What the time adds, (1 or N, D).
            rooms: Of each layer, for B samples: L + T tokens, L of a crossing one.
            turns: Rotary tables (2, T, 1, d) of positions behind the prefix and of those from 0,
                the latter for cross-attention.
            masks: From `shown`, of self-attention and of cross-attention.
        """
        x = self._mixed(silu(torch.addmm(added, x.to(self._wide), self._mix)).to(self.dtype))
        for block, crosses, room in zip(self._blocks, self._crosses, rooms):
            x = block(x, room, turns[crosses], masks[crosses])
        return self._out(self._norm(x))


class SmolVLAEngine:
    """SmolVLA, ready to answer."""

    def __init__(self, model: SmolVLA) -> None:
        """Take over the network's weights; the network is in eval mode."""
        self.network, self.expert = model, SmolVLAExpert(model)
        config, text = model.config, model.config.vlm.text_config
        self.vision: Sight = Vision(model.vision_model, model.connector)
        self._words, self._state = model.text_model['embed_tokens'], model.state_proj
        self._dtype = self._state.weight.dtype
        *whole, last = model.text_model['layers']
        self._blocks = [llama_block(layer) for layer in whole]
        self._last = KeysAndValues(last, llama_norm(last.input_layernorm))
        self._projections = [
            (layer.self_attn.k_proj, layer.self_attn.v_proj) if config.crosses(k) else None
            for k, layer in enumerate(model.lm_expert['layers'])
        ]
        exponent = torch.arange(0, text.head_dim, 2, dtype=torch.float64) / text.head_dim
        frequencies = (WAVELENGTH**-exponent).to(self._state.weight.device)
        self._turns = Turns(frequencies, self._dtype)
        self._groups, self._size, self._steps = (
            text.num_key_value_heads, text.head_dim, config.horizon
        )  # fmt: skip
        self._share = text.num_attention_heads // text.num_key_value_heads

    @torch.no_grad()
    def encode(
        self, pixels: Tensor, words: Tensor, state: Tensor, length: Tensor | None = None
    ) -> Encoded:
        """Return the velocity for one observation, see `Engine`."""
        pictures = self.vision(pixels.to(self._dtype)).flatten(0, 1)
        scaled = torch.cat((pictures, self._words(words)))
        scaled = scaled * scaled.shape[-1] ** 0.5
        x = torch.cat((scaled, self._state(state.to(self._dtype))[None]))
        known, steps, device = len(x), self._steps, x.device
        ones = torch.ones(steps, known + steps, dtype=torch.bool, device=device)
        counted = across = None
        own = ones.tril(known)  # step k sees the prefix and the steps up to its own
        alone = torch.ones(known, known, dtype=torch.bool, device=device)
        alone[:-1, -1] = False  # the state sees everything and nothing else sees it
        turns = self._turns(0, known)
        if length is not None:
            counted = len(pictures) + length + 1
            places = torch.arange(known, device=device)
            across = ((places < counted - 1) | (places == known - 1))[None]
            alone, own = alone & across, torch.cat((own[:, :known] & across, own[:, known:]), 1)
            turns = torch.cat((turns[:, :-1], self._turns.behind(known, counted - 1, 1)), dim=1)
        shape = (len(self._projections), 2, 1, self._groups, known + steps, self._size)
        rooms = [Room(*pair) for pair in x.new_empty(shape)]
        mask = shown(alone, self._share, x.dtype)
        for block, room in zip(self._blocks, rooms):
            x = block(x, room.first(known), turns, mask)
        self._last(x, rooms[-1].first(known), turns)
        after = self._turns.behind(known, counted, steps)
        rooms = [self._read(room, k, known) for k, room in enumerate(rooms)]
        both = after, self._turns.behind(0, None, steps)
        masks = tuple(
            None if sees is None else shown(sees, self._share, x.dtype) for sees in (own, across)
        )
        return Encoded(self.expert, rooms, (both, masks))

    def _read(self, room: Room, layer: int, known: int) -> Room:
        """Return what a layer of the expert reads: for cross-attention, projected once."""
        projections = self._projections[layer]
        if projections is None:
            return room
        # The projections mix heads: (1, groups, L, d) -> (1, L, groups d) and back.
        read = (
            project(part.transpose(1, 2).flatten(2))
            for project, part in zip(projections, room.first(known))
        )
        return Room(*(y.unflatten(-1, (-1, self._size)).transpose(1, 2) for y in read))
