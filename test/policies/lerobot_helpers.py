"""The classes that LeRobot's asynchronous inference pickles, from its public source."""

from __future__ import annotations

from dataclasses import dataclass, field
import types
from typing import Any

HELPERS = 'lerobot.async_inference.helpers'  # the module that has them


@dataclass
class TimedData:
    timestamp: float
    timestep: int


@dataclass
class TimedAction(TimedData):
    action: Any


@dataclass
class TimedObservation(TimedData):
    observation: dict
    must_go: bool = False


@dataclass
class RemotePolicyConfig:
    policy_type: str
    pretrained_name_or_path: str
    lerobot_features: dict
    actions_per_chunk: int
    device: str = 'cpu'
    rename_map: dict = field(default_factory=dict)


def modules() -> dict[str, types.ModuleType]:
    """Return what sys.modules must have, so that pickle writes and reads their real names."""
    found = {
        name: types.ModuleType(name) for name in ('lerobot', 'lerobot.async_inference', HELPERS)
    }
    for cls in (TimedAction, TimedObservation, RemotePolicyConfig):
        cls.__module__ = HELPERS
        setattr(found[HELPERS], cls.__name__, cls)
    return found
