"""What options that change a flow policy's answers cost: in actions, and in tasks done.

Every variant of a policy file answers the observations of episodes that the file as it is plays,
from the same noise; then all variants play the same episodes of a suite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import time
from typing import Any, NamedTuple

import numpy as np
import yaml

from vla_ros import config, paths
from vla_ros.evaluation.figures import figures
from vla_ros.evaluation.rollout import Rollout
from vla_ros.evaluation.runner import Evaluation, Played, run
from vla_ros.evaluation.suite import load_suite
from vla_ros.policies.base import Policy
from vla_ros.policies.registry import create
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.spec import PolicySpec, width
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Observation

# Name -> what it changes in a policy file.
VARIANTS: dict[str, dict[str, Any]] = {
    'flow_steps_2': {'flow_steps': 2},
    'flow_steps_1': {'flow_steps': 1},
    'keep_change_0.3': {'options': {'keep_change': 0.3}},
    'keep_change_0.6': {'options': {'keep_change': 0.6}},
    'int8': {'options': {'weights': 'int8'}},
    'fp8': {'options': {'weights': 'fp8'}},
    'nf4': {'options': {'weights': 'nf4'}},
}


@dataclass(frozen=True)
class Heard:
    """What a policy was asked in one episode, and what it answered."""

    instruction: str
    seed: int
    observations: list[Observation]
    chunks: list[Array]  # each (T, A)


class Deviation(NamedTuple):
    """What a variant changes in the answers to the same observations."""

    name: str
    slices: dict[str, tuple[float, float]]  # kind -> largest change in a chunk: median, worst
    ms: float  # processor time of a chunk, median
    chunks: int


class Listener:
    """A policy that notes what it is asked."""

    def __init__(self, policy: Policy) -> None:
        """Listen to a policy."""
        self._policy, self.spec = policy, policy.spec
        self.heard: list[Heard] = []

    @property
    def offers(self) -> frozenset[str]:
        """Return what the policy offers without samples, which are asked for another way."""
        return self._policy.offers - {'samples'}

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction."""
        self.heard.append(Heard(instruction, seed, [], []))
        self._policy.reset(instruction, seed=seed)

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return what the policy answers."""
        chunk = self._policy.infer(obs, prefix)
        self.heard[-1].observations.append(obs)
        self.heard[-1].chunks.append(chunk.actions)
        return chunk


def write_variants(policy: str, folder: Path) -> dict[str, Path]:
    """Write a policy file for each variant, and return where.

    Args:
        policy: The file as it is, a name in config/policies or a path.
        folder: For the files.
    """
    table = config.read(paths.find('policies', policy))
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, changes in VARIANTS.items():
        options = {**table.get('options', {}), **changes.get('options', {})}
        new = {**table, **changes, **({'options': options} if options else {}), 'name': name}
        found[name] = folder / f'{name}.yaml'
        found[name].write_text(yaml.safe_dump(new, sort_keys=False), encoding='utf-8')
    return found


def listen(policy: Policy, robot: RobotSpec, safety: str, suite: str, least: int) -> list[Heard]:
    """Play episodes until a policy was asked `least` times, and return what it was asked."""
    guard = SafetyFilter(robot, load_safety(paths.find('safety', safety)))
    listener = Listener(policy)
    rollout = Rollout(robot, listener, guard)
    for episode in load_suite(suite).episodes(least, 0):
        rollout.run(episode)
        if sum(len(one.chunks) for one in listener.heard) >= least:
            break
    rollout.close()
    return listener.heard


def deviation(name: str, policy: Policy, robot: RobotSpec, heard: Sequence[Heard]) -> Deviation:
    """Ask a variant what the file as it is was asked, and compare the answers."""
    gaps, times = [], []
    for one in heard:
        policy.reset(one.instruction, seed=one.seed)
        for obs, wanted in zip(one.observations, one.chunks):
            begin = time.process_time()
            found = policy.infer(obs).actions
            times.append(1e3 * (time.process_time() - begin))
            gaps.append(np.abs(found - wanted).max(axis=0))  # (A,)
    slices = {
        part.kind: (float(np.median(worst)), float(worst.max()))
        for part, columns in _columns(policy.spec, robot)
        for worst in [np.array(gaps)[:, columns].max(axis=1)]
    }
    return Deviation(name, slices, float(np.median(times)), len(gaps))


def deviations(
    policy: str, files: dict[str, Path], robot_name: str, safety: str, suite: str, least: int
) -> Iterator[Deviation]:
    """Yield what each variant changes; the file as it is comes first, beside itself."""
    robot = load_robot(paths.find('robots', robot_name))
    spec = config.load(paths.find('policies', policy), PolicySpec)
    exact = create(replace(spec, strategy='latest', strategy_options={}), robot)
    heard = listen(exact, robot, safety, suite, least)
    yield deviation('as it is', exact, robot, heard)
    for name, file in files.items():
        yield deviation(name, create(config.load(file, PolicySpec), robot), robot, heard)


def success(
    evaluation: Evaluation, workers: int, log: Path | None, done: Callable[[Played], None]
) -> list[dict[str, Any]]:
    """Play every variant, and return the figures of each, beside those of the file as it is."""
    cells: list[dict[str, Any]] = figures(evaluation, run(evaluation, workers, done, log))['cells']
    return cells


def _columns(spec: PolicySpec, robot: RobotSpec) -> Iterator[tuple[Any, slice]]:
    """Yield each slice of an action, and its columns."""
    start = 0
    for part in spec.action:
        size = width((part,), robot)
        yield part, slice(start, start + size)
        start += size
