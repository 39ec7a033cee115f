"""Real-time chunking: how a sampler keeps to the steps that the robot runs meanwhile.

Source: Black, Galliker, Levine 2025 (arXiv 2506.07339) for the guidance, whose time is
tau = 1 - t and whose velocity is -v; arXiv 2512.05964 for the prefix taken in training.
"""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from vla_ros.errors import PolicyError, ShapeError
from vla_ros.models.sampler import times, Velocity

JACOBIANS = ('exact', 'identity', 'trained')  # of Guidance.jacobian


def guidance_weight(t: float, limit: float) -> float:
    """Return w = min(c / r^2, limit), c = (1 - tau) / tau, 1 / r^2 = (tau^2 + t^2) / t^2.

    Args:
        t: Flow time in (0, 1]; at 1 (tau = 0) c is infinite, so w is the limit.
        limit: Largest weight.
    """
    tau = 1.0 - t
    if tau <= 0.0:
        return limit
    return min(t / tau * (tau**2 + t**2) / t**2, limit)


class PrefixGuidance:
    """Pulls the denoised chunk towards a prefix: v' = v - w J^T ((Y - f) * W).

    f(x) = x - t v(x, t) is the chunk that the flow expects at its end and J = df/dx, or the
    identity, which saves the backward pass and is what LeRobot 0.4 computes.
    """

    def __init__(self, target: Tensor, weights: Tensor, limit: float, *, exact: bool) -> None:
        """Keep the prefix; what has no weight is not read, whatever it is.

        Args:
            target: Y, (K, A), K <= T.
            weights: W in [0, 1], (T,), or (T, A) where dimensions differ; 0 from step K on.
            limit: Largest guidance weight.
            exact: Whether J is the Jacobian of f.

        Raises:
            ShapeError: There are weights beyond the prefix, or more prefix than chunk.
        """
        if weights.ndim == 1:
            weights = weights[:, None].expand(-1, target.shape[1])
        known = len(target)
        if known > len(weights) or weights.shape[1:] != target.shape[1:]:
            raise ShapeError(
                f'the prefix is {tuple(target.shape)} and its weights are '
                f'{tuple(weights.shape)}, expected (K, A) and (T,) or (T, A) with K <= T.'
            )
        if weights[known:].any():
            raise ShapeError(
                f'weights beyond step {known}, where the prefix ends: a chunk would be pulled '
                'to a target that nobody knows; let the weights end there.'
            )
        # A target without weight may be anything; 0 times nan would spread.
        self._target, self._weights = torch.zeros_like(weights), weights.contiguous()
        self._target[:known] = torch.where(weights[:known] != 0.0, target, 0.0)
        self._limit = limit
        self._exact = exact

    @property
    def key(self) -> Hashable:
        """Return the kind of Jacobian and the limit."""
        return 'guided', self._exact, self._limit

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return target and weights, (T, A)."""
        return self._target, self._weights

    def moved(self) -> PrefixGuidance:
        """Return the same guide with tensors of its own."""
        target, weights = (part.clone() for part in self.tensors)
        return PrefixGuidance(target, weights, self._limit, exact=self._exact)

    def pin(self, x: Tensor) -> Tensor:
        """Return x: guidance bends the velocity only."""
        return x

    def velocity(self, flow: Velocity, x: Tensor, t: float) -> Tensor:
        """Return v' (B, T, A) at time t in (0, 1].

        Raises:
            PolicyError: An exact Jacobian is asked for under torch.inference_mode.
        """
        w = guidance_weight(t, self._limit)
        if not self._exact:
            v = flow(x, times(x, t))
            return v - w * self._error(x - t * v)
        if torch.is_inference_mode_enabled():
            raise PolicyError(
                'exact guidance needs a gradient, which torch.inference_mode forbids; call it '
                "under torch.no_grad, or choose jacobian 'identity'."
            )
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            v = flow(x, times(x, t))
            f = x - t * v
        (gradient,) = torch.autograd.grad(f, x, self._error(f.detach()))
        return v.detach() - w * gradient

    def _error(self, f: Tensor) -> Tensor:
        """Return e = (Y - f) * W, (B, T, A), 0 from step K on."""
        return (self._target - f) * self._weights


class TrainedPrefix:
    """Gives a prefix to a network that was trained to continue one: its steps are data, t = 0."""

    def __init__(self, prefix: Tensor) -> None:
        """Keep the prefix (d, A), d <= T."""
        self._prefix = prefix

    @property
    def key(self) -> Hashable:
        """Return the number of steps."""
        return 'trained', len(self._prefix)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return the prefix, (d, A)."""
        return (self._prefix,)

    def moved(self) -> TrainedPrefix:
        """Return the same guide with a tensor of its own."""
        return TrainedPrefix(self._prefix.clone())

    def pin(self, x: Tensor) -> Tensor:
        """Return x (B, T, A) with the first d steps exchanged for the prefix."""
        prefix = self._prefix.expand(len(x), -1, -1)
        return torch.cat((prefix, x[:, len(self._prefix) :]), dim=1)

    def velocity(self, flow: Velocity, x: Tensor, t: float) -> Tensor:
        """Return v(x, time), time (B, T) being 0 in the prefix and t after it."""
        time = times(x, t)[:, None].repeat(1, x.shape[1])
        time[:, : len(self._prefix)] = 0.0
        return flow(x, time)
