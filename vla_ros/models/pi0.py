"""pi0's engine: pictures, words and state are encoded once, only the actions run often.

The network is transformers'. Its state token sees the prefix and itself, never an action or the
time, so its keys and values are the same in each flow step: the first step leaves them in the
rooms. A pass of their own would read all weights once more. B samples, T steps of a chunk, A
dimensions, D width of the expert.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu
from transformers import PI0ForConditionalGeneration

from vla_ros.models.block import Room, shown
from vla_ros.models.paligemma import gemma_block, gemma_norm, gemma_turns, Prefix
from vla_ros.models.product import Product
from vla_ros.models.tower import Vision
from vla_ros.models.velocity import Encoded, Expert, Sight


class Pi0Expert(Expert):
    """The action expert behind a prefix that ends with the state."""

    def __init__(self, model: PI0ForConditionalGeneration) -> None:
        """Take over the network's weights; the network stays usable."""
        super().__init__()
        embed, dit = model.embed_action_time, model.model.dit
        self._waves = embed.sinusoid_embeds
        self.dtype = embed.action_in_proj.weight.dtype
        self._mixed, self._out = Product(embed.action_time_mlp_out), Product(model.action_out_proj)
        self._wide = torch.promote_types(self.dtype, torch.float32)  # cheap here, and nearer
        # W (action, waves) + b with action = V x + c is (W_a V) x, and what the time adds.
        wide = torch.float64
        action, first = embed.action_in_proj, embed.action_time_mlp_in
        width = action.out_features
        of_action, self._of_time = (part.to(wide) for part in first.weight.split(width, dim=1))
        self._bias = first.bias.to(wide) + of_action @ action.bias.to(wide)
        self._mix = (of_action @ action.weight.to(wide)).t().to(self._wide)  # (A, D)
        self._blocks = [gemma_block(layer) for layer in dit.layers]
        self._norm = gemma_norm(dit.norm)

    def embedded(self, t: float) -> Tensor:
        """Return what a time adds to an embedded action, (D,), in float32 at least."""
        time = torch.tensor([t], dtype=torch.promote_types(self.dtype, torch.float32))
        waves = self._waves(time.to(self._bias.device))[0].to(self.dtype)
        return (self._of_time @ waves.to(self._bias.dtype) + self._bias).to(self._wide)

    def forward(
        self,
        x: Tensor,
        added: Tensor,
        rooms: list[Room],
        state: Tensor | None,
        turns: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Return v (N, A), N = B T.

        Args:
            x: (N, A).
            added: What the time adds, (1 or N, D).
            rooms: Of each layer, for B samples; the actions' places come last.
            state: The state's token (1, 1, D), whose place is before theirs; None: it is there.
            turns: Rotary table (2, T, 1, d), of one token more with the state.
            mask: From `shown`; None: everything is seen.
        """
        x = self._mixed(silu(torch.addmm(added, x.to(self._wide), self._mix)).to(self.dtype))
        count, width = rooms[0].keys.shape[0], x.shape[-1]
        if state is not None:
            whole = torch.cat((state.expand(count, 1, -1), x.view(count, -1, width)), dim=1)
            x = whole.flatten(0, 1)
        for block, room in zip(self._blocks, rooms):
            x = block(x, room, turns, mask)
        if state is not None:
            x = x.view(count, -1, width)[:, 1:].reshape(-1, width)
        return self._out(self._norm(x))


class Pi0Engine:
    """pi0, ready to answer."""

    def __init__(self, model: PI0ForConditionalGeneration) -> None:
        """Take over the network's weights; the network, in eval mode, stays usable."""
        self.network, self.expert = model, Pi0Expert(model)
        vlm = model.model.vlm
        self.vision: Sight = Vision(vlm.vision_tower, vlm.multi_modal_projector)
        self._prefix = Prefix(vlm)
        self._state = model.embed_action_time.state_proj
        self._turns = gemma_turns(model.model.dit)
        dit = model.config.dit_config
        self._share = dit.num_attention_heads // dit.num_key_value_heads
        self._steps = model.config.chunk_size

    @torch.no_grad()
    def encode(
        self, pixels: Tensor, words: Tensor, state: Tensor, length: Tensor | None = None
    ) -> Encoded:
        """Return the velocity for one observation, see `Engine`."""
        behind, dtype = 1 + self._steps, self.expert.dtype
        rooms, known, counted, sees = self._prefix(
            self.vision(pixels), words, length, behind
        )
        token = self._state(state.to(dtype)[None, None])
        turns = self._turns.behind(known, counted, behind)
        own = torch.ones(behind, known + behind, dtype=torch.bool, device=words.device)
        own[0, known + 1 :] = False  # the state sees no action
        later = None
        if sees is not None:
            own, later = own & sees, shown(sees, self._share, dtype)
        first = token, turns, shown(own, self._share, dtype)
        return Encoded(self.expert, rooms, (None, turns[:, 1:], later), first)
