"""PaliGemma as a prefix: pictures and words encoded once, what follows reads keys and values."""

from __future__ import annotations

import torch
from torch import nn, Tensor
from transformers import PaliGemmaModel
from transformers.cache_utils import Cache, DynamicLayer

from vla_ros.models.block import Block, KeysAndValues, Norm, Room, shown, Turns


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer of a sequence whose room is taken once, (1, heads, room, d)."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room, self._length = room, 0

    def update(self, keys: Tensor, values: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        """Write keys and values behind those that are there, and return all."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
            shape = (*keys.shape[:2], self._room, keys.shape[-1])
            self.keys, self.values = keys.new_empty(shape), values.new_empty(shape)
        start, self._length = self._length, self._length + keys.shape[-2]
        self.keys[:, :, start : self._length] = keys
        self.values[:, :, start : self._length] = values
        return self.keys[:, :, : self._length], self.values[:, :, : self._length]


class Prefix:
    """PaliGemma run for its keys and values alone: the last layer ends with them."""

    def __init__(self, model: PaliGemmaModel) -> None:
        """Take over the network's weights; the network stays usable."""
        language = model.language_model
        self._words = model.get_input_embeddings()
        self._turns = gemma_turns(language)
        *whole, last = language.layers
        self._blocks = [gemma_block(layer) for layer in whole]
        self._last = KeysAndValues(last, gemma_norm(last.input_layernorm))
        self._groups = language.config.num_key_value_heads
        self._share = language.config.num_attention_heads // self._groups
        self._size = last.self_attn.head_dim

    def __call__(
        self, pictures: Tensor, words: Tensor, length: Tensor | None, behind: int
    ) -> tuple[list[Room], int, Tensor | None, Tensor | None]:
        """Return rooms, their length so far, how many tokens count, and who of them is seen.

        Args:
            pictures: Tokens (cameras, P, D).
            words: (W,).
            length: How many words count, (); None: all.
            behind: Tokens that will be written behind the prefix.

        Returns:
            Of each layer a room of L + behind tokens, written up to L; L; then of padded words
            the number of tokens that count, (), and what is seen, (1, L + behind), else None.
        """
        pictures = pictures.flatten(0, 1)
        spoken = self._words(words)
        x = torch.cat((pictures.to(spoken.dtype), spoken))
        known = len(x)
        shape = (len(self._blocks) + 1, 2, 1, self._groups, known + behind, self._size)
        rooms = [Room(*pair) for pair in x.new_empty(shape)]
        counted = sees = mask = None
        if length is not None:
            counted = len(pictures) + length
            places = torch.arange(known + behind, device=x.device)
            sees = ((places < counted) | (places >= known))[None]
            mask = shown(sees[:, :known], self._share, x.dtype)
        turns = self._turns(0, known)
        for block, room in zip(self._blocks, rooms):
            x = block(x, room.first(known), turns, mask)
        self._last(x, rooms[-1].first(known), turns)
        return rooms, known, counted, sees


def gemma_norm(norm: nn.Module) -> Norm:
    """Return Gemma's norm, whose gain is 1 + w."""
    wide = torch.promote_types(norm.weight.dtype, torch.float32)
    return Norm(len(norm.weight), norm.eps, 1.0 + norm.weight.detach().to(wide))


def gemma_block(layer: nn.Module) -> Block:
    """Return a layer of Gemma."""
    norms = gemma_norm(layer.input_layernorm), gemma_norm(layer.post_attention_layernorm)
    return Block(layer, norms)


def gemma_turns(model: nn.Module) -> Turns:
    """Return the rotary tables of a network with Gemma's `rotary_emb`."""
    return Turns(model.rotary_emb.inv_freq, model.layers[0].self_attn.o_proj.weight.dtype)


def embed(model: PaliGemmaModel, pixel_values: Tensor, words: Tensor) -> Tensor:
    """Return pictures, then words, as the language model takes them (1, L, D).

    Args:
        model: PaliGemma.
        pixel_values: (cameras, 3, H, W) in [-1, 1].
        words: Their numbers (1, W).
    """
    pictures = model.get_image_features(pixel_values).pooler_output  # (cameras, tokens, D)
    spoken = model.get_input_embeddings()(words)
    return torch.cat((pictures.flatten(0, 1)[None].to(spoken.dtype), spoken), dim=1)


def run(model: PaliGemmaModel, embeds: Tensor, start: int, cache: Cache) -> Tensor:
    """Return hidden states (1, L, D) of tokens that see each other and all that is in the cache.

    Args:
        model: PaliGemma, configured for bidirectional attention.
        embeds: Tokens (1, L, D), no padding among them.
        start: Position of the first.
        cache: Takes their keys and values.
    """
    language = model.language_model
    positions = torch.arange(start, start + embeds.shape[1], device=embeds.device)[None]
    turns = language.rotary_emb(embeds, position_ids=positions)
    hidden = embeds
    for layer in language.layers:
        hidden = layer(
            hidden, attention_mask=None, position_embeddings=turns, past_key_values=cache
        )
    return language.norm(hidden)
