"""PaliGemma as a prefix: pictures and words encoded once, what follows reads keys and values."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PaliGemmaModel
from transformers.cache_utils import Cache, DynamicLayer


class SharedLayer(DynamicLayer):
    """Keys and values of one layer's prefix, which what is appended never enters.

    The stock layer grows and is cropped after each call; its slices would carry the graph of
    every guided step before.
    """

    def update(self, keys: Tensor, values: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        """Return the prefix, shared by the samples, and the suffix (B, heads, T, d) behind it."""
        shared = (len(keys), -1, -1, -1)
        keys = torch.cat((self.keys.expand(shared), keys), dim=-2)
        return keys, torch.cat((self.values.expand(shared), values), dim=-2)


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


def shared(cache: Cache) -> Cache:
    """Return an encoded prefix as one that several samples share and nobody lengthens."""
    layers = []
    for stock in cache.layers:
        layer = SharedLayer()
        layer.lazy_initialization(stock.keys, stock.values)
        layer.keys, layer.values = stock.keys, stock.values
        layers.append(layer)
    return Cache(layers=layers)


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
