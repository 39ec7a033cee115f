"""A vision transformer under timm's parameter names: DINOv2 with registers and SigLIP alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional

EPSILON = 1e-6  # of every layer norm, in both families


@dataclass(frozen=True)
class VitFamily:
    """What the tensors of a checkpoint do not tell about a timm model."""

    depth: int
    heads: int
    registers: int = 0
    class_token: bool = False
    layer_scale: bool = False


FAMILIES = {
    'vit_large_patch14_reg4_dinov2.lvd142m': VitFamily(24, 16, 4, True, True),
    'vit_so400m_patch14_siglip_224': VitFamily(27, 16),
}


@dataclass(frozen=True)
class VitShape:
    """Sizes of one transformer."""

    family: VitFamily
    width: int
    mlp: int  # width of the hidden layer
    patch: int  # [px]
    patches: int  # of one picture

    @property
    def used_blocks(self) -> int:
        """How many blocks run: the features are those of the last block but one."""
        return self.family.depth - 1

    def unused(self, name: str) -> bool:
        """Whether a published tensor feeds nothing: the last block and what comes after it."""
        last = f'blocks.{self.used_blocks}.'
        return name.startswith((last, 'attn_pool.')) or name in ('norm.weight', 'norm.bias')


class Film(NamedTuple):
    """Modulation of one block by words: x (1 + gamma) + beta."""

    gain: Tensor  # (B, 1, width) 1 + gamma
    shift: Tensor  # (B, 1, width) beta


class Scale(nn.Module):
    """A learned factor per channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Return x scaled."""
        return x * self.scale_factor


class Attention(nn.Module):
    """Self-attention of every patch to every patch."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, N, width) to the same shape."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)  # (B, heads, N, head width)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers with an exact GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then a perceptron, each on top of its input.

    Args:
        shape: Sizes.
        words: Width of the word embedding that modulates the block; None: it has no FiLM.
    """

    def __init__(self, shape: VitShape, words: int | None) -> None:
        super().__init__()
        width = shape.width
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.attn = Attention(width, shape.family.heads)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.mlp = Mlp(width, shape.mlp)
        scaled = shape.family.layer_scale
        self.ls1 = Scale(width) if scaled else nn.Identity()
        self.ls2 = Scale(width) if scaled else nn.Identity()
        if words is not None:
            self.scale = nn.Linear(words, width)
            self.shift = nn.Linear(words, width)

    def film(self, words: Tensor) -> Film:
        """Return the modulation by a mean word embedding (B, words)."""
        return Film(1.0 + self.scale(words)[:, None], self.shift(words)[:, None])

    def forward(self, x: Tensor, film: Film | None = None) -> Tensor:
        """Map (B, N, width) to the same shape."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        if film is not None:
            x = x * film.gain + film.shift
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbedding(nn.Module):
    """Cuts a picture into squares and maps each to a vector."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, N, width), row by row."""
        return self.proj(pixels).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    """Patch features of the last block but one, without the final norm.

    Args:
        shape: Sizes.
        words: Width of the word embedding of FiLM; None: the features depend on pixels alone.
    """

    def __init__(self, shape: VitShape, words: int | None = None) -> None:
        super().__init__()
        family, width = shape.family, shape.width
        self.prefix = int(family.class_token) + family.registers
        self.patch_embed = PatchEmbedding(width, shape.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, shape.patches, width))
        if family.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        if family.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, family.registers, width))
        self.blocks = nn.ModuleList(Block(shape, words) for _ in range(shape.used_blocks))

    def films(self, words: Tensor) -> Tensor:
        """Return what `Film` has for every block, by a mean word embedding (B, words).

        In one tensor (blocks, 2, B, 1, width), which a captured graph takes in one copy.
        """
        return torch.stack([torch.stack(block.film(words)) for block in self.blocks])

    def forward(self, pixels: Tensor, films: Tensor | None = None) -> Tensor:
        """Return the features (B, patches, width) of pixels (B, 3, H, W), modulated by `films`."""
        x = self.patch_embed(pixels) + self.pos_embed
        tokens = [getattr(self, n) for n in ('cls_token', 'reg_token') if hasattr(self, n)]
        x = torch.cat([*(t.expand(len(x), -1, -1) for t in tokens), x], dim=1)
        for index, block in enumerate(self.blocks):
            x = block(x, None if films is None else Film(*films[index]))
        return x[:, self.prefix :]
