"""What OpenVLA-OFT adds to OpenVLA: a regression head and an embedding of the joint state."""

from __future__ import annotations

from torch import nn, Tensor
from torch.nn import functional

BLOCKS = 2  # of the head


class ResidualBlock(nn.Module):
    """x + relu(W norm(x) + b)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to the same shape."""
        return x + self.ffn(x)


class ResidualMlp(nn.Module):
    """A perceptron with residual blocks, norms before its first and last layer."""

    def __init__(self, inputs: int, width: int, outputs: int) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(inputs)
        self.fc1 = nn.Linear(inputs, width)
        self.mlp_resnet_blocks = nn.ModuleList(ResidualBlock(width) for _ in range(BLOCKS))
        self.layer_norm2 = nn.LayerNorm(width)
        self.fc2 = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        x = functional.relu(self.fc1(self.layer_norm1(x)))
        for block in self.mlp_resnet_blocks:
            x = block(x)
        return self.fc2(self.layer_norm2(x))


class RegressionHead(nn.Module):
    """Normalised actions from the hidden states of their dimensions, a step at a time."""

    def __init__(self, words: int, action_dim: int) -> None:
        super().__init__()
        self.action_dim = action_dim
        self.model = ResidualMlp(words * action_dim, words, action_dim)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states (1, T A, words) to actions (1, T, A)."""
        return self.model(hidden.unflatten(1, (-1, self.action_dim)).flatten(2))


class StateProjector(nn.Module):
    """One token for the normalised state."""

    def __init__(self, words: int, state_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(state_dim, words)
        self.fc2 = nn.Linear(words, words)

    def forward(self, state: Tensor) -> Tensor:
        """Map (1, state_dim) to (1, 1, words)."""
        return self.fc2(functional.gelu(self.fc1(state)))[:, None]
