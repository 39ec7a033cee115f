"""What a policy file may do to the weights of a checkpoint, whatever the adapter."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
import logging
from pathlib import Path

from torch import nn, Tensor

from vla_ros import paths
from vla_ros.errors import UnknownNameError
from vla_ros.models.quantised import KINDS, quantise
from vla_ros.policies.loading import read_tensors
from vla_ros.policies.lora import adapted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightOptions:
    """Options of every adapter that loads a network; an adapter adds its own."""

    lora: str | None = None  # folder of peft's adapter for the checkpoint, as `checkpoint:`
    weights: str | None = None  # linear layers rounded, of KINDS; None: as `dtype:`

    def __post_init__(self) -> None:
        if self.weights is not None and self.weights not in KINDS:
            raise UnknownNameError('weights', self.weights, KINDS)

    def read(self, folder: Path) -> dict[str, Tensor]:
        """Return a checkpoint's tensors, with the adapter in them.

        Raises:
            CheckpointError: A file is missing or damaged, or the adapter does not fit.
        """
        tensors = read_tensors(folder)
        return tensors if self.lora is None else adapted(tensors, paths.share() / self.lora)

    def round(self, network: nn.Module, parts: Collection[str], folder: Path) -> None:
        """Round a loaded network if that is asked for, and log what it costs.

        Args:
            network: As it was loaded.
            parts: Its modules within which linear layers are rounded.
            folder: The checkpoint, for the log.
        """
        if self.weights is not None:
            log.info('%s: %s', folder, quantise(network, parts, self.weights))
