"""The policy's process, whose answers turn into NaN on signal POISON, and back on signal HEAL."""

from __future__ import annotations

from dataclasses import replace
import signal
from typing import Any

import numpy as np

from vla_ros import graph
from vla_ros.nodes import loading, policy_node
from vla_ros.policies.registry import create

HEAL, POISON = signal.SIGRTMIN + 1, signal.SIGRTMIN + 2
poisoned = False


class Poisoned:
    """A policy as the registry builds it, until the signal comes."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole
        self.spec, self.offers = whole.spec, whole.offers

    def reset(self, *args: Any, **kwargs: Any) -> None:
        self._whole.reset(*args, **kwargs)

    def infer(self, *args: Any, **kwargs: Any) -> Any:
        chunk = self._whole.infer(*args, **kwargs)
        return replace(chunk, actions=np.full_like(chunk.actions, np.nan)) if poisoned else chunk


def _select(number: int, _: object) -> None:
    global poisoned
    poisoned = number == POISON


if __name__ == '__main__':
    graph.POLICY_NICE = 0  # it must answer on a busy machine too
    loading.create = lambda spec, robot: Poisoned(create(spec, robot))
    for number in (HEAL, POISON):
        signal.signal(number, _select)
    raise SystemExit(policy_node.main())
