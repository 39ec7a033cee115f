"""The part of a network that runs most often, compiled while the policy is loaded or not at all.

On a GPU whole chunks are captured as graphs after that, see `models.chunks`.

`torch.compile` works at the first call with inputs of a new kind and takes many seconds. Here all
such calls are made before the policy is handed over: each way in which its strategy asks it, with
sizes left open, so that words may be longer. After that nothing is compiled any more, and what
nobody foresaw runs as it would without.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import time
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from vla_ros.actions.decode import Codec
from vla_ros.actions.strategies import make_strategy
from vla_ros.actions.strategies.bid import BID
from vla_ros.actions.strategies.rtc import RealTimeChunking
from vla_ros.errors import PolicyError
from vla_ros.models.chunks import CudaGraphs, Recorder
from vla_ros.policies.base import ask, Policy
from vla_ros.policies.rehearsal import black
from vla_ros.robot import RobotSpec
from vla_ros.types import Array, ChunkPrefix

BACKEND = 'inductor'
CAPTURING, RECORDER = {'cuda'}, CudaGraphs  # devices whose chunks are captured, what does it
# Largest change of an action, as a part of the chunk's largest one: sums in another order.
TOLERANCE = {'float32': 1e-3, 'float16': 2e-2, 'bfloat16': 1e-1}
log = logging.getLogger(__name__)


class CompilablePolicy(Policy, Protocol):
    """A policy that can be compiled or captured."""

    chunks: Any  # what computes an answer

    @property
    def hot(self) -> nn.Module | None:
        """Return the module in which most of its time is spent, called without hooks, or None."""

    def captured(self, recorder: Recorder) -> Any:
        """Return what answers as `chunks`, by captured graphs."""


def compile_hot(policy: CompilablePolicy, robot: RobotSpec) -> None:
    """Compile the hot part of a policy, on a GPU capture its chunks too, or log why not.

    Each stays as it was where there is no compiler, where that fails, and where answers change
    by more than TOLERANCE.

    Args:
        policy: As it was loaded.
        robot: The arm, of which it is shown black pictures.

    """
    name, part = policy.spec.name, policy.hot
    captures = torch.device(policy.spec.device).type in CAPTURING
    if part is None and not captures:
        log.warning(
            "policy %s: nothing of '%s' is compiled on %s; it runs as without",
            name, policy.spec.adapter, policy.spec.device,
        )  # fmt: skip
        return
    asks = _asks(policy, robot)
    try:
        before = _answers(policy, asks)
    except PolicyError as error:  # a model of words may say something else of black pictures
        log.warning('policy %s runs without being compiled: %s', name, error)
        return
    if part is not None:
        _compile(policy, part, asks, before)
    if captures:
        eager = policy.chunks

        def capture() -> None:
            policy.chunks = policy.captured(RECORDER())
            _answers(policy, asks)

        def release() -> None:
            policy.chunks = eager

        _try(policy, asks, before, 'captured', capture, release)


def _compile(
    policy: CompilablePolicy,
    part: nn.Module,
    asks: list[Callable[[], Array]],
    before: tuple[list[Array], float],
) -> None:
    """Compile a module for the ways in which its policy is asked."""
    plain = part.forward

    def compile_part() -> None:
        part.forward = torch.compile(plain, dynamic=True, backend=BACKEND)
        _answers(policy, asks)
        part.forward = torch._dynamo.run(plain)  # what was compiled, and nothing new

    def as_it_was() -> None:
        del part.forward  # the class's own shows again

    _try(policy, asks, before, 'compiled', compile_part, as_it_was)


def _try(
    policy: CompilablePolicy,
    asks: list[Callable[[], Array]],
    before: tuple[list[Array], float],
    what: str,
    change: Callable[[], None],
    undo: Callable[[], None],
) -> None:
    """Change how a policy runs, and undo it where that fails or changes its answers."""
    name, began = policy.spec.name, time.perf_counter()
    wanted, slow = before
    try:
        change()
        found, fast = _answers(policy, asks)
        gap = max(np.abs(b - a).max() / np.abs(a).max() for a, b in zip(wanted, found))
        if not gap <= TOLERANCE[policy.spec.dtype]:
            raise PolicyError(f'its answers change by {gap:.2g} of the largest action')
    except Exception as error:  # compilers fail in every way
        undo()
        # torch's first line says which compiler it was, its second one what happened.
        reason = ' '.join(str(error).split('\n', 2)[:2]).strip() or type(error).__name__
        log.warning('policy %s runs without being %s: %s', name, what, reason)
        return
    log.info(
        'policy %s: %s in %.0f s; %.1f ms an answer instead of %.1f ms, which change by at '
        'most %.1g of the largest action',
        name, what, time.perf_counter() - began, 1e3 * fast, 1e3 * slow, gap,
    )  # fmt: skip


def _answers(policy: Policy, asks: list[Callable[[], Array]]) -> tuple[list[Array], float]:
    """Return what a policy answers and the time of the quickest answer [s]."""
    found, quickest = [], np.inf
    for way in asks:
        policy.reset('', seed=0)
        start = time.perf_counter()
        found.append(way())
        quickest = min(quickest, time.perf_counter() - start)
    return found, quickest


def _asks(policy: CompilablePolicy, robot: RobotSpec) -> list[Callable[[], Array]]:
    """Return the ways in which a policy's strategy asks it, each of which runs other code."""
    spec, obs = policy.spec, black(policy.spec, robot)
    strategy = make_strategy(spec.strategy, spec.strategy_options, f'policy {spec.name}: strategy')

    asks = [lambda: policy.infer(obs).actions]
    if isinstance(strategy, BID):
        count = strategy.samples
        asks.append(lambda: np.stack([chunk.actions for chunk in ask(policy, obs, count, None)]))
    if isinstance(strategy, RealTimeChunking):
        known = Codec(robot, robot.urdf_path, spec).absolute(policy.infer(obs), obs.joints)
        prefix = ChunkPrefix(known, 1, spec.replan_steps, strategy.guidance)
        asks.append(lambda: policy.infer(obs, prefix).actions)
    return asks
