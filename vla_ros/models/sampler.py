"""The Euler loop of a flow-matching sampler, and the place where a prefix enters it.

Time is openpi's: t = 1 is noise, t = 0 is data, v = noise - data. B samples, T steps of a
chunk, A dimensions of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

import torch
from torch import Tensor

from vla_ros.errors import ConfigError

# (x (B, T, A), time (B,) or, for each step of the chunk, (B, T)) -> v (B, T, A)
Velocity = Callable[[Tensor, Tensor], Tensor]


class Guide(Protocol):
    """Ties the first steps of a chunk to what is known of them."""

    @property
    def key(self) -> Hashable:
        """Return what makes it run other operations than a guide with another key."""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return what differs between guides of one key, of the same shapes."""

    def moved(self) -> Guide:
        """Return the same guide with tensors of its own."""

    def pin(self, x: Tensor) -> Tensor:
        """Return x (B, T, A) with known steps put in: before each Euler step, after the last."""

    def velocity(self, flow: Velocity, x: Tensor, t: float) -> Tensor:
        """Return the velocity (B, T, A) to follow at time t in (0, 1]."""


def times(x: Tensor, t: float) -> Tensor:
    """Return t for each sample (B,), in float32 at least, as transformers has it.

    On the cpu wherever x is: a velocity looks its times up, and none waits for a device.
    """
    return torch.full((len(x),), t, dtype=torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def sample(velocity: Velocity, noise: Tensor, steps: int, guide: Guide | None = None) -> Tensor:
    """Integrate dx/dt = v(x, t) from t = 1 to t = 0: x <- x - v(x, 1 - k / n) / n, k = 0..n-1.

    Every operation is that of transformers' `PI0ForConditionalGeneration.sample_actions`.

    Args:
        velocity: The flow.
        noise: x at t = 1, (B, T, A).
        steps: n, Euler steps.
        guide: What ties x to a prefix; None lets it run free.

    Raises:
        ConfigError: There is no step.
    """
    if steps < 1:
        raise ConfigError(f'the sampler has {steps} flow steps, expected at least 1.')
    x, dt = noise, -1.0 / steps
    for step in range(steps):
        t = 1.0 + step * dt
        if guide is None:
            v = velocity(x, times(x, t))
        else:
            x = guide.pin(x)
            v = guide.velocity(velocity, x, t)
        x = x + dt * v
    return x if guide is None else guide.pin(x)
