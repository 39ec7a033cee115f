"""pi0's velocity for one observation: pictures and words are encoded once, the expert often."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PI0ForConditionalGeneration
from transformers.masking_utils import create_causal_mask

from vla_ros.models.paligemma import shared


class Pi0Velocity:
    """The velocity v(x, t) of the action expert, differentiable in x.

    One encoded observation serves any number of samples. Call it under torch.no_grad, or with
    gradients for x; a parameter that requires none spares its own gradient's memory.
    """

    def __init__(
        self,
        model: PI0ForConditionalGeneration,
        *,
        state: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor,
    ) -> None:
        """Encode the prefix, as `model.sample_actions` does with the same arguments.

        Args:
            model: The network, loaded and in eval mode.
            state: Normalised state (1, S), in the dtype of the network.
            input_ids: Picture placeholders and words (1, L).
            attention_mask: 1 for a token that counts, (1, L).
            pixel_values: Pictures (1, cameras, 3, H, W) in [-1, 1].
            pixel_attention_mask: Which pictures are there, (1, cameras).
        """
        self._model = model
        self._state = state
        with torch.no_grad():
            embeds = model.model.embed_prefix(input_ids, pixel_values, pixel_attention_mask)
            encoded = model.model.vlm(
                inputs_embeds=embeds,
                attention_mask=attention_mask,
                position_ids=attention_mask.cumsum(-1) - 1,
                token_type_ids=torch.zeros_like(embeds)[:, :, 0],
                use_cache=True,
            ).past_key_values
        self._prefix = shared(encoded)
        length = 1 + model.config.chunk_size  # the state, then the actions
        suffix = torch.arange(length, device=attention_mask.device)
        self._positions = attention_mask.sum(-1, keepdim=True) + suffix
        self._mask = self._sees(attention_mask, length)

    def __call__(self, x: Tensor, time: Tensor) -> Tensor:
        """Return v (B, T, A) for x (B, T, A) and time (B,), or (B, T) for each of its steps."""
        batch = len(x)
        output = self._model.model.dit(
            inputs_embeds=self._embed(x, time),
            attention_mask=self._mask.expand(batch, -1, -1, -1),
            position_ids=self._positions.expand(batch, -1),
            past_key_values=self._prefix,
        )
        return self._model.action_out_proj(output.last_hidden_state[:, 1:]).to(x.dtype)

    def _embed(self, x: Tensor, time: Tensor) -> Tensor:
        """Return the suffix (B, 1 + T, D): `embed_action_time`, which knows only time (B,)."""
        embed = self._model.embed_action_time
        actions = embed.action_in_proj(x.to(self._state.dtype))
        rows = time.view(len(x), -1)  # (B, 1) or (B, T)
        waves = embed.sinusoid_embeds(rows.flatten()).view(*rows.shape, -1)
        joined = torch.cat((actions, waves.expand_as(actions).to(actions.dtype)), dim=-1)
        hidden = torch.nn.functional.silu(embed.action_time_mlp_in(joined))
        state = embed.state_proj(self._state).expand(len(x), -1)
        return torch.cat((state[:, None], embed.action_time_mlp_out(hidden)), dim=1)

    def _sees(self, attention_mask: Tensor, length: int) -> Tensor:
        """Return who sees whom (1, 1, length, L + length), as `PI0Model.forward` builds it.

        Everybody sees the prefix and the state, actions see each other. It is the same in each
        flow step.
        """
        config = self._model.config.dit_config
        whole = torch.cat((attention_mask, attention_mask.new_ones(1, length)), dim=1)
        block = torch.zeros_like(whole)
        block[:, 1 - length :] = 1
        return create_causal_mask(
            config=config,
            inputs_embeds=self._state.new_empty(1, length, config.hidden_size),
            attention_mask=whole,
            past_key_values=self._prefix,
            block_sequence_ids=block,
        )
