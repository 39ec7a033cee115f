"""The SigLIP tower of a vision-language model, run with as few operations as it needs."""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn.functional import scaled_dot_product_attention

from vla_ros.models.product import Product


class TowerBlock:
    """x + out(attention(norm(x))), then x + fc2(gelu(fc1(norm(x)))), for N rows of patches."""

    def __init__(self, layer: nn.Module) -> None:
        """Take over the weights of a layer."""
        attention, mlp = layer.self_attn, layer.mlp
        self._heads = attention.num_heads
        self._qkv = Product(attention.q_proj, attention.k_proj, attention.v_proj)
        self._out, self._act = Product(attention.out_proj), mlp.activation_fn
        self._fc1, self._fc2 = Product(mlp.fc1), Product(mlp.fc2)
        self._before, self._between = layer.layer_norm1, layer.layer_norm2

    def __call__(self, x: Tensor, cameras: int) -> Tensor:
        """Return (N, width)."""
        heads = self._qkv(self._before(x)).view(cameras, x.shape[0] // cameras, 3, self._heads, -1)
        query, keys, values = heads.permute(2, 0, 3, 1, 4)
        seen = scaled_dot_product_attention(query, keys, values).transpose(1, 2).reshape(x.shape)
        x = self._out.onto(x, seen)
        return self._fc2.onto(x, self._act(self._fc1(self._between(x))))


class Tower:
    """Patches of pictures, each seeing all of its picture."""

    def __init__(self, network: nn.Module) -> None:
        """Take over the weights of transformers' SigLIP, or of SmolVLM's."""
        embeddings = network.embeddings
        patches = embeddings.patch_embedding
        self.patch, self._bias = patches.kernel_size[0], patches.bias  # [px]
        self._weight = patches.weight.detach().flatten(1).t().contiguous()  # (3 p p, width)
        self._learned = embeddings.position_embedding.weight  # (positions, width)
        # Of SmolVLM, whose pictures may have another size than in its training.
        self._trained_side = getattr(embeddings, 'num_patches_per_side', None)
        self._blocks = [TowerBlock(layer) for layer in network.encoder.layers]
        self._norm = network.post_layernorm
        self._positions = self._learned

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return (cameras, patches, width) of pixels (cameras, 3, H, H) in [-1, 1]."""
        cameras, side = len(pixels), self.patch
        grid = pixels.shape[-1] // side
        squares = pixels.view(cameras, 3, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
        x = torch.addmm(self._bias, squares.reshape(cameras * grid**2, -1), self._weight)
        if self._trained_side is not None and len(self._positions) != grid**2:
            self._positions = self._learned[self._places(grid, self._trained_side)]
        x = (x.view(cameras, grid**2, -1) + self._positions).flatten(0, 1)
        for block in self._blocks:
            x = block(x, cameras)
        return self._norm(x).view(cameras, grid**2, -1)

    def _places(self, side: int, trained: int) -> Tensor:
        """Return the trained position nearest to each patch, as SmolVLM counts, (side^2,)."""
        device = self._learned.device
        bounds = torch.arange(1 / trained, 1.0, 1 / trained, device=device)
        places = torch.arange(side, dtype=torch.float32, device=device) * (1.0 / side)
        line = torch.bucketize(places.clamp(max=1.0 - 1e-6), bounds, right=True)
        return (line[:, None] * trained + line).flatten()


class Vision:
    """Pictures as words of a language model."""

    def __init__(self, tower: nn.Module, projector: nn.Module) -> None:
        """Take over the weights of a tower; the network stays usable.

        Args:
            tower: See `Tower`.
            projector: From its patches to words.
        """
        self._tower, self._projector = Tower(tower), projector
        self.patch = self._tower.patch

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return tokens (cameras, P, D) of pixels (cameras, 3, H, H) in [-1, 1]."""
        tokens: Tensor = self._projector(self._tower(pixels))
        return tokens
