"""pi0-FAST: PaliGemma writes a chunk word by word; what is written is greedy, never drawn."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import nn, Tensor
from transformers import PaliGemmaConfig, PaliGemmaModel
from transformers.cache_utils import Cache

from vla_ros.models.paligemma import embed, GrowingLayer, run


class Pi0Fast(nn.Module):
    """PaliGemma with its output layer."""

    def __init__(self, config: PaliGemmaConfig) -> None:
        super().__init__()
        self.vlm = PaliGemmaModel(config)
        text = config.text_config
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)

    @torch.no_grad()
    def write(
        self, pixel_values: Tensor, words: Tensor, *, ends: Collection[int], limit: int
    ) -> list[int]:
        """Return the most likely words, one after the other, up to the first end, or the limit.

        Pictures and prompt see each other; a written word sees them and what was written before.

        Args:
            pixel_values: The pictures that are there, (cameras, 3, H, W) in [-1, 1].
            words: Numbers of the prompt's words (1, W), without padding.
            ends: Words that end the answer; the last of what is returned, if it ended.
            limit: Largest number of words.
        """
        embeds = embed(self.vlm, pixel_values, words)
        length = embeds.shape[1]
        layers = [GrowingLayer(length + limit) for _ in self.vlm.language_model.layers]
        cache = Cache(layers=layers)
        found: list[int] = []
        hidden = run(self.vlm, embeds, 0, cache)
        while True:
            word = self.lm_head(hidden[:, -1]).argmax(-1)
            found.append(int(word))
            if found[-1] in ends or len(found) == limit:
                return found
            token = self.vlm.get_input_embeddings()(word[None])
            hidden = run(self.vlm, token, length + len(found) - 1, cache)
