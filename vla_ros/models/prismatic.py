"""OpenVLA's network: pictures through one or two vision transformers, then Llama."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn, Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from vla_ros.models.vit import Vit, VitShape

STOP = 2  # id of '</s>'
# What published config.json files leave to the defaults of the library that wrote them.
LLAMA = {
    'vocab_size': 32000,
    'hidden_size': 4096,
    'intermediate_size': 11008,
    'num_hidden_layers': 32,
    'num_attention_heads': 32,
    'max_position_embeddings': 2048,
    'rms_norm_eps': 1e-6,
    'rope_theta': 10000.0,
}


def llama_config(table: Mapping[str, Any]) -> LlamaConfig:
    """Return Llama's configuration from the `text_config` of a published config.json."""
    return LlamaConfig(**{**LLAMA, **table})


@dataclass(frozen=True)
class PrismaticShape:
    """Sizes of the whole network."""

    vision: tuple[VitShape, ...]  # one, or DINOv2 and SigLIP
    text: LlamaConfig
    film: bool = False  # words modulate the vision transformers


class VisionBackbone(nn.Module):
    """Features of each patch, those of the second transformer beside those of the first."""

    def __init__(self, shapes: tuple[VitShape, ...], words: int | None) -> None:
        super().__init__()
        self.featurizer = Vit(shapes[0], words)
        if len(shapes) == 2:
            self.fused_featurizer = Vit(shapes[1], words)

    @property
    def featurizers(self) -> list[Vit]:
        """Return the one or two transformers."""
        return list(self.children())

    def forward(self, pixels: Tensor, films: Sequence[Tensor] = ()) -> Tensor:
        """Return features (B, patches, widths) of pixels (B, 3 per transformer, H, W)."""
        parts = enumerate(pixels.split(3, dim=1))
        return torch.cat(
            [self.featurizers[k](x, films[k] if films else None) for k, x in parts], dim=2
        )


class Projector(nn.Module):
    """From patch features to embeddings of words: two layers, three behind two transformers."""

    def __init__(self, vision: int, words: int, *, fused: bool) -> None:
        super().__init__()
        first = 4 * vision if fused else words
        self.fc1 = nn.Linear(vision, first)
        self.fc2 = nn.Linear(first, words)
        if fused:
            self.fc3 = nn.Linear(words, words)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, vision) to (B, N, words)."""
        x = self.fc2(functional.gelu(self.fc1(x)))
        return self.fc3(functional.gelu(x)) if hasattr(self, 'fc3') else x


class Prismatic(nn.Module):
    """Pictures and a prompt to action tokens, or to hidden states of a chunk of actions."""

    def __init__(self, shape: PrismaticShape) -> None:
        super().__init__()
        width = sum(vit.width for vit in shape.vision)
        words = shape.text.hidden_size
        self.vision_backbone = VisionBackbone(shape.vision, words if shape.film else None)
        self.projector = Projector(width, words, fused=len(shape.vision) == 2)
        self.language_model = LlamaForCausalLM(shape.text)

    @property
    def place(self) -> tuple[torch.device, torch.dtype]:
        """Where its numbers are and of what type."""
        weight = self.projector.fc1.weight
        return weight.device, weight.dtype

    @property
    def words(self) -> int:
        """Width of an embedding of a word."""
        return self.language_model.config.hidden_size

    def embed(self, ids: list[int]) -> Tensor:
        """Return the embeddings (1, N, words) of token ids."""
        table = self.language_model.model.embed_tokens
        return table(torch.tensor([ids], device=self.place[0]))

    def films(self, prompt: list[int]) -> list[Tensor]:
        """Return the modulation of each vision transformer by a prompt and a stop token."""
        mean = self.embed([*prompt, STOP]).mean(dim=1)
        return [vit.films(mean) for vit in self.vision_backbone.featurizers]

    def patches(self, pixels: Tensor, films: Sequence[Tensor] = ()) -> Tensor:
        """Return the embeddings (1, cameras x patches, words) of pixels (cameras, C, H, W)."""
        features = self.vision_backbone(pixels, films)
        return self.projector(features.flatten(0, 1)[None])
