"""Linear layers as plain products: several of one input at once, or on top of a sum."""

from __future__ import annotations

import torch
from torch import nn, Tensor


class Product:
    """y = x W^T + b of one linear layer, or of several side by side, for x (N, in)."""

    def __init__(self, *layers: nn.Module) -> None:
        """Take over the layers' weights.

        The weights exist once: those of the layers become views of ours, so the network answers
        as before and takes no more memory. They lie as (in, out), which is the faster way round
        for few rows. Rounded layers stay as they are.

        Args:
            layers: Of the same input; all with a bias, or none.
        """
        self._layers = layers
        self.weight: Tensor | None = None  # (in, out)
        self.bias: Tensor | None = None
        if all(type(layer) is nn.Linear for layer in layers):
            weight = torch.cat([layer.weight.detach() for layer in layers])
            self.weight = weight.t().contiguous()
            sizes = [len(layer.weight) for layer in layers]
            for layer, view in zip(layers, self.weight.split(sizes, dim=1)):
                layer.weight = nn.Parameter(view.t(), requires_grad=False)
            if layers[0].bias is not None:  # small: a copy
                self.bias = torch.cat([layer.bias.detach() for layer in layers])

    def __call__(self, x: Tensor) -> Tensor:
        """Return (N, out), of several layers one behind the other."""
        if self.weight is None:
            return torch.cat([layer(x) for layer in self._layers], dim=-1)
        if self.bias is None:
            return torch.mm(x, self.weight)
        return torch.addmm(self.bias, x, self.weight)

    def onto(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return residual + y, (N, out)."""
        if self.weight is None:
            return residual + self(x)
        return torch.addmm(residual if self.bias is None else residual + self.bias, x, self.weight)
