"""Llama behind embeddings: a prompt in one pass, then word after word, in rooms taken once.

L tokens of D numbers, d of a head.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from transformers import LlamaForCausalLM

from vla_ros.models.block import Block, Norm, Room, Turns


class Llama:
    """Hidden states of tokens, computed with as few operations as they need."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        """Take over the network's weights; the network stays usable."""
        inner, config = model.model, model.config
        self._blocks = [llama_block(layer) for layer in inner.layers]
        self._norm = llama_norm(inner.norm)
        self._groups, self._size = config.num_key_value_heads, inner.layers[0].self_attn.head_dim
        self.share = config.num_attention_heads // self._groups  # heads that share keys
        self.turns = Turns(inner.rotary_emb.inv_freq, inner.norm.weight.dtype)

    def rooms(self, like: Tensor, count: int) -> list[Room]:
        """Return room for the keys and values of `count` tokens in each layer, as `like` is."""
        shape = (len(self._blocks), 2, 1, self._groups, count, self._size)
        return [Room(*pair) for pair in like.new_empty(shape)]

    def __call__(
        self,
        x: Tensor,
        rooms: list[Room],
        turns: Tensor,
        mask: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Return the last hidden states of tokens, normed.

        Args:
            x: Tokens (L, D), whose keys and values go into the last places of the rooms.
            rooms: Of each layer, all that is seen.
            turns: Rotary table (2, L, 1, d).
            mask: From `shown`, of all tokens; None: everything is seen.
            rows: Tokens whose hidden states are asked for (R,); None: all.
        """
        *whole, last = self._blocks
        for block, room in zip(whole, rooms):
            x = block(x, room, turns, mask)
        return self._norm(last(x, rooms[-1], turns, mask, rows=rows))


def llama_norm(norm: nn.Module) -> Norm:
    """Return Llama's norm, whose gain is w."""
    wide = torch.promote_types(norm.weight.dtype, torch.float32)
    return Norm(len(norm.weight), norm.variance_epsilon, norm.weight.detach().to(wide))


def llama_block(layer: nn.Module, crosses: bool = False) -> Block:
    """Return a layer of Llama, or one that reads foreign keys and values."""
    norms = llama_norm(layer.input_layernorm), llama_norm(layer.post_attention_layernorm)
    return Block(layer, norms, crosses=crosses)
