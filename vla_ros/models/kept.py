"""Tokens of pictures, kept from one chunk to the next while little changes: answers change."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vla_ros.models.velocity import Sight


class KeptVision:
    """Encodes the pictures that changed; a camera that stands still keeps the tokens it has.

    The change of a picture x is that of the patch that changed most since y, whose tokens are
    kept: max over patches of mean |x - y|. A small change anywhere is a small change here only if
    it is small in its own patch.
    """

    def __init__(self, see: Sight, change: float, chunks: int) -> None:
        """Begin without pictures.

        Args:
            see: What encodes them.
            change: Largest change, of pixels in [-1, 1], at which tokens are kept.
            chunks: Chunks in a row for which they are kept at most.
        """
        self._see, self.patch, self._change, self._chunks = see, see.patch, change, chunks
        self.forget()

    def forget(self) -> None:
        """Encode every picture anew, as for another episode."""
        self._known: tuple[Tensor, Tensor] | None = None  # pixels, and their tokens
        self._ages: list[int] = []  # chunks for which a camera's tokens have been kept

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return tokens (cameras, P, D) of pixels (cameras, 3, H, H)."""
        if self._known is None or self._known[0].shape != pixels.shape:
            self._known, self._ages = (pixels, self._see(pixels)), [0] * len(pixels)
            return self._known[1]
        before, tokens = self._known
        gaps = avg_pool2d((pixels - before).abs().mean(dim=1, keepdim=True), self.patch)
        changes = gaps.amax(dim=(1, 2, 3)).tolist()
        stale = [
            not change <= self._change or age >= self._chunks
            for change, age in zip(changes, self._ages)
        ]
        self._ages = [0 if new else age + 1 for new, age in zip(stale, self._ages)]
        rows = torch.tensor([k for k, new in enumerate(stale) if new], device=pixels.device)
        if len(rows):
            pixels, seen = pixels[rows], self._see(pixels[rows])
            self._known = before.index_copy(0, rows, pixels), tokens.index_copy(0, rows, seen)
        return self._known[1]
