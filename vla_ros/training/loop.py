"""A training loop that can stop at any moment and go on later."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import math
from pathlib import Path
import time
from typing import Any

import torch
from torch import nn, Tensor

SAVE_EVERY = 60.0  # [s]
WARM_UP = 100  # steps of rising learning rate
SMOOTHING = 0.98  # of the reported losses


class Stage:
    """One stage of training: parameters, their optimiser, and how far it has come."""

    def __init__(
        self, name: str, module: nn.Module, folder: Path, steps: int, learning_rate: float
    ) -> None:
        """Prepare a stage and take up where an earlier run left it.

        Args:
            name: File name of its state.
            module: What is trained; only parameters that require gradients are.
            folder: Where the state is kept.
            steps: Optimiser steps in total.
            learning_rate: Peak of a cosine schedule with a short warm-up.
        """
        self.module = module
        self.steps = steps
        self.learning_rate = learning_rate
        self.step = 0
        self.seconds = 0.0  # of training so far, over all runs
        self.losses: dict[str, float] = {}
        self._path = folder / f'{name}.pt'
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=1e-3
        )
        if self._path.exists():
            saved = torch.load(self._path, weights_only=True)
            self.module.load_state_dict(saved['module'])
            self._optimizer.load_state_dict(saved['optimizer'])
            self.step, self.seconds, self.losses = (
                saved['step'], saved['seconds'], saved['losses']
            )  # fmt: skip

    @property
    def done(self) -> bool:
        """Whether every step has been taken."""
        return self.step >= self.steps

    def run(
        self,
        batches: Iterable[object],
        loss: Callable[[object], dict[str, Tensor]],
        deadline: float,
        report: Callable[[Stage], None],
    ) -> None:
        """Train until done or until the deadline.

        Args:
            batches: An endless source of batches.
            loss: Batch -> named losses; their sum is minimised.
            deadline: `time.monotonic()` at which to stop [s].
            report: Called after each step.
        """
        start = saved = time.monotonic()
        for batch in batches:
            if self.done or time.monotonic() > deadline:
                break
            self._optimizer.param_groups[0]['lr'] = self._rate()
            terms = loss(batch)
            torch.stack(list(terms.values())).sum().backward()
            nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            self._optimizer.zero_grad(set_to_none=True)
            self.step += 1
            for key, value in terms.items():
                old = self.losses.get(key, value.item())
                self.losses[key] = SMOOTHING * old + (1.0 - SMOOTHING) * value.item()
            now = time.monotonic()
            self.seconds += now - start
            start = now
            if now - saved > SAVE_EVERY:
                self.save()
                saved = now
            report(self)
        self.save()

    def save(self) -> None:
        """Write the state; an interrupted write leaves the old one."""
        temporary = self._path.with_suffix('.part')
        torch.save(
            {
                'module': self.module.state_dict(),
                'optimizer': self._optimizer.state_dict(),
                'step': self.step,
                'seconds': self.seconds,
                'losses': self.losses,
            },
            temporary,
        )
        temporary.replace(self._path)

    def _rate(self) -> float:
        rising = min(1.0, (self.step + 1) / WARM_UP)
        falling = 0.5 * (1.0 + math.cos(math.pi * min(1.0, self.step / self.steps)))
        return self.learning_rate * rising * max(falling, 0.02)


def on_device(value: Any, device: str) -> Any:
    """Return nested tuples and mappings with every tensor on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    return tuple(on_device(item, device) for item in value)
