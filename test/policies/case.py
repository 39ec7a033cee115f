"""One shape for every adapter that loads weights: a small checkpoint and what it must answer.

`vla bench adapters`, test_cases.py and test_refusals.py go through all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import json
from pathlib import Path
import re
from typing import Any
from unittest.mock import patch

import numpy as np
from safetensors.torch import load_file
import torch
from torch import nn, Tensor

from vla_ros import paths
from vla_ros.models.chunks import Inputs
from vla_ros.models.quantised import KINDS
from vla_ros.policies.base import Policy
from vla_ros.policies.flow import FlowPolicy, Sampler
from vla_ros.policies.registry import create, statistics
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec
from vla_ros.types import Observation

ROBOT = load_robot(paths.find('robots', 'panda'))
SEED = 5
EQUAL = 1e-5  # two tensors with no larger gap are the same one


@dataclass(frozen=True)
class Expected:
    """What an oracle says of one observation."""

    actions: np.ndarray  # (T, A), in the units of the policy file
    pictures: np.ndarray  # (pictures, 3, H, W), as they enter the vision transformers, in order
    words: Sequence[int]  # numbers of the prompt's words
    grid: tuple[np.ndarray, np.ndarray]  # `grid` as state normalised, and as action physical


@dataclass(frozen=True)
class Deviation:
    """The largest gap between an adapter and its oracle, and how large it may be."""

    value: float
    bound: float

    @property
    def within(self) -> bool:
        return self.value <= self.bound


@dataclass(frozen=True)
class Rounded:
    """What fewer bits did, beside the same policy without."""

    weights: float  # largest |W - rounded W| / |W| of a layer, Frobenius norms
    actions: float  # largest gap, in the units of the policy file


@dataclass(frozen=True)
class Found:
    """What became of one layout."""

    missing: tuple[str, ...]  # tensors of the network that are none of the files'
    unexpected: tuple[str, ...]  # tensors of the files that are none of the network's
    unused: int  # tensors of the files of which it is known that nothing needs them
    parameters: int
    deviations: Mapping[str, Deviation]  # images, tokens, statistics, actions
    rounded: Mapping[str, Rounded]  # by the kind of weights; empty: the adapter has no such option

    @property
    def good(self) -> bool:
        bounded = all(one.within for one in self.deviations.values())
        return bounded and not self.missing and not self.unexpected


class Case(ABC):
    """An adapter, the layouts of its checkpoints and an oracle for its answers."""

    name: str  # in the registry
    layouts: tuple[str, ...]
    oracle: str
    rounds = True  # whether it takes `options: weights`
    unused = r'(?!)'  # which tensors of the files nothing needs, a regular expression

    @abstractmethod
    def write(self, folder: Path, layout: str) -> None:
        """Write a small random checkpoint, from a description of its layout."""

    @abstractmethod
    def spec(self, folder: Path, layout: str) -> PolicySpec:
        """Return the policy file of that checkpoint."""

    @abstractmethod
    def observation(self) -> Observation: ...

    @abstractmethod
    def expected(self, folder: Path, layout: str, obs: Observation) -> Expected:
        """Return the oracle's answer to the first observation after a reset with SEED."""

    @abstractmethod
    def bounds(self, layout: str) -> Mapping[str, float]:
        """Return how far the actions and the pictures may be from the oracle's."""

    @abstractmethod
    def published(self) -> int | None:
        """Return the parameters of the published model; None: of no fixed size."""

    @abstractmethod
    def lose_statistics(self, folder: Path, layout: str) -> None:
        """Take the statistics out of a checkpoint, by their file where they have one."""

    def kind_key(self, layout: str) -> str:
        """Return the key of config.json that tells the model."""
        del layout
        return 'model_type'

    def counts_cameras(self, layout: str) -> bool:
        """Whether the files tell with how many pictures the network was trained."""
        del layout
        return True

    def needs(self, layout: str, name: str) -> bool:
        """Whether the network has a tensor of the files."""
        del layout
        return re.search(self.unused, name) is None

    def tensors(self, folder: Path, layout: str) -> dict[str, Tensor]:
        """Return every tensor of the checkpoint's weights, as the network must have it."""
        del layout
        found: dict[str, Tensor] = {}
        for file in sorted(folder.glob('model*.safetensors')):
            found |= load_file(file)
        return found

    def examine(self, folder: Path, layout: str) -> Found:
        """Load a checkpoint that was written, run its adapter and compare with the oracle."""
        spec, obs = self.spec(folder, layout), self.observation()
        policy = create(spec, ROBOT)
        policy.reset(obs.instruction, seed=SEED)
        with shown(policy) as seen:
            actions = policy.infer(obs).actions
        want, bounds = self.expected(folder, layout, obs), self.bounds(layout)
        words = seen.words[-len(want.words) :]
        wrong = sum(a != b for a, b in zip(words, want.words)) + len(want.words) - len(words)
        state, action = statistics(spec)
        parts = zip(
            (state.normalize(grid(state.width)), action.denormalize(grid(action.width))), want.grid
        )
        parameters = {id(p): p.numel() for n in networks(policy) for p in n.parameters()}
        missing, unexpected, unused = unmatched(
            [n.state_dict() for n in networks(policy)], self.tensors(folder, layout), self.unused
        )
        return Found(missing, unexpected, unused, sum(parameters.values()), {
            'images': Deviation(gap(np.concatenate(seen.pictures), want.pictures),
                                bounds['images']),
            'tokens': Deviation(float(wrong), 0.0),
            'statistics': Deviation(max(gap(a, b) for a, b in parts), 1e-5),
            'actions': Deviation(gap(actions, want.actions), bounds['actions']),
        }, {
            kind: self.rounded(spec, obs, kind, policy, actions)
            for kind in (KINDS if self.rounds else ())
        })  # fmt: skip

    def rounded(
        self, spec: PolicySpec, obs: Observation, kind: str, plain: Policy, actions: np.ndarray
    ) -> Rounded:
        """Load a checkpoint again with fewer bits and compare layers and actions with `plain`."""
        policy = create(replace(spec, options={**spec.options, 'weights': kind}), ROBOT)
        policy.reset(obs.instruction, seed=SEED)
        errors = [
            float((small.weight - layer.weight).norm() / layer.weight.norm())
            for one, other in zip(networks(policy), networks(plain))
            for small, layer in zip(one.modules(), other.modules())
            if type(small) is KINDS[kind]
        ]
        return Rounded(max(errors), gap(policy.infer(obs).actions, actions))


def grid(size: int) -> np.ndarray:
    """Return values of which statistics are compared, (3, 1, size): steps may differ in theirs."""
    return np.linspace(-1.0, 1.5, 3 * size).reshape(3, 1, size)


def gap(found: np.ndarray, want: np.ndarray) -> float:
    """Return the largest difference; of other shapes, or not finite, it is infinite."""
    if found.shape != want.shape:
        return float('inf')
    value = float(np.abs(found - want).max(initial=0.0))
    return value if np.isfinite(value) else float('inf')


def networks(policy: object) -> list[nn.Module]:
    if isinstance(policy, FlowPolicy):
        return [policy.engine.network]
    return [value for value in vars(policy).values() if isinstance(value, nn.Module)]


@dataclass
class Shown:
    """What reached a network."""

    pictures: list[np.ndarray] = field(default_factory=list)  # (n, 3, H, W) for each transformer
    words: list[int] = field(default_factory=list)  # that were embedded first

    def of_inputs(self, chunks: Sampler) -> Sampler:
        """Return a sampler that notes what it is given."""

        def noted(inputs: Inputs, *rest: Any) -> Tensor:
            self.pictures.append(inputs.pixels.double().numpy())
            self.words = inputs.words.tolist()
            return chunks(inputs, *rest)

        return noted


@contextmanager
def shown(policy: object) -> Iterator[Shown]:
    """Note the pictures that enter the first layers of vision, and the first words."""
    seen = Shown()
    if isinstance(policy, FlowPolicy):
        with patch.object(policy, 'chunks', seen.of_inputs(policy.chunks)):
            yield seen
        return
    modules = [m for network in networks(policy) for m in network.modules()]
    tables = [m for m in modules if isinstance(m, nn.Embedding)]
    largest = max(table.num_embeddings for table in tables)  # smaller ones embed positions

    def picture(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.pictures.append(inputs[0].double().numpy())

    def word(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.words = seen.words or inputs[0].flatten().tolist()

    hooks = [m.register_forward_pre_hook(picture) for m in modules if isinstance(m, nn.Conv2d)]
    hooks += [
        table.register_forward_pre_hook(word)
        for table in tables
        if table.num_embeddings == largest
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def unmatched(
    networks: Sequence[Mapping[str, Tensor]], files: Mapping[str, Tensor], unused: str
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Compare by values, whatever the names: random tensors are like no other one.

    Returns:
        Names of tensors that only the networks have; that only the files have; and how many of
        those `unused` describes, which are not among them.
    """
    by_shape: dict[torch.Size, list[tuple[str, Tensor]]] = {}
    for name, value in files.items():
        by_shape.setdefault(value.shape, []).append((name, value.float()))
    missing, used = [], set()
    for table in networks:
        for name, value in table.items():
            same = {
                other
                for other, given in by_shape.get(value.shape, ())
                if float((given - value.float()).abs().max()) <= EQUAL
            }
            used |= same
            if not same:
                missing.append(name)
    left = [name for name in files if name not in used]
    unexpected = [name for name in left if not re.search(unused, name)]
    return tuple(missing), tuple(unexpected), len(left) - len(unexpected)


def edit_json(path: Path, **changes: object) -> None:
    """Change keys of a JSON object; None removes one."""
    table = {**json.loads(path.read_text(encoding='utf-8')), **changes}
    table = {key: value for key, value in table.items() if value is not None}
    path.write_text(json.dumps(table), encoding='utf-8')


def count(shapes: Mapping[str, Sequence[int]]) -> int:
    """Return the numbers in tensors of these shapes."""
    return sum(int(np.prod(shape)) for shape in shapes.values())
