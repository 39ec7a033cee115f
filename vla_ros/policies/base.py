"""The Policy protocol: what every adapter, wrapper and remote client looks like from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast, Protocol

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.spec import ImageSpec, PolicySpec
from vla_ros.types import ActionChunk, ChunkPrefix, Image, Observation

# What an adapter may offer beyond a chunk for an observation, see `Policy.offers`.
OFFERS = ('guidance', 'trained prefix', 'samples', 'interrupt', 'announcement')


class Policy(Protocol):
    """Answers observations with chunks of actions in its own action space.

    An adapter is a class `Adapter(spec: PolicySpec, robot: RobotSpec)`; its constructor loads
    the weights and raises CheckpointError or PolicyError where it cannot. It reads its options
    by `spec.read_options`. A static method `statistics(spec)` may return those of state and
    action for `vla check`, read without the weights.
    """

    spec: PolicySpec

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin an instruction; the k-th `infer` after it draws from `chunk_seed(seed, k)`."""

    @property
    def offers(self) -> frozenset[str]:
        """Words of OFFERS.

        guidance: `infer` takes a prefix guided by an 'exact' or 'identity' Jacobian;
        trained prefix: it takes one by Guidance('trained'); samples: it is a SamplingPolicy;
        interrupt: it is an InterruptiblePolicy; announcement: it is an AnnouncingPolicy.
        """

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return (horizon, A) actions stamped with `obs.stamp`, timings 'preprocess', 'inference'.

        Args:
            obs: What the policy sees.
            prefix: What is known of the chunk; ignored by an adapter that offers neither
                guidance nor a trained prefix, and where it has no guidance.

        Raises:
            PolicyError: The observation lacks a camera or has a state of another size, or the
                prefix does not fit the policy.
        """


class SamplingPolicy(Policy, Protocol):
    """A policy that offers 'samples': several answers to one observation."""

    def samples(self, obs: Observation, count: int) -> list[ActionChunk]:
        """Return `count` chunks, the first of which `infer` would have returned.

        It counts as one inference after `reset`.

        Raises:
            PolicyError: As `infer`, or `count` is less than 1.
        """


class AnnouncingPolicy(Policy, Protocol):
    """A policy that offers 'announcement': it says when its inputs are ready."""

    announce: Callable[[], None]  # called by `infer` and `samples` before the network runs


def silent() -> None:
    """Announce nothing."""


def ask(
    policy: Policy,
    obs: Observation,
    count: int,
    prefix: ChunkPrefix | None,
    ready: Callable[[], None] = silent,
) -> list[ActionChunk]:
    """Return `count` answers to one observation; only a SamplingPolicy gives more than one.

    Args:
        policy: Who is asked.
        obs: What it sees.
        count: Answers.
        prefix: What is known of the chunk; a choice among several answers needs none.
        ready: Called when its inputs are, or before it is asked where it does not tell.

    Raises:
        PolicyError: As the policy.
    """
    if 'announcement' in policy.offers:
        cast(AnnouncingPolicy, policy).announce = ready
    else:
        ready()
    if count > 1:
        return cast(SamplingPolicy, policy).samples(obs, count)
    return [policy.infer(obs, prefix)]


class InterruptiblePolicy(Policy, Protocol):
    """A policy that offers 'interrupt': it may wait for something outside, such as a server."""

    def interrupt(self) -> None:
        """End an inference in flight, which raises PolicyError; may come from any thread."""


def interrupt(policy: Policy) -> None:
    """End the inference in flight of a policy that offers this."""
    if 'interrupt' in policy.offers:
        cast(InterruptiblePolicy, policy).interrupt()


def chunk_seed(seed: int, index: int) -> int:
    """Return the seed, below 2^63, of one inference: a hash of (seed, index).

    Args:
        seed: What `Policy.reset` was given, at least 0.
        index: Number of inferences since that reset.
    """
    state = np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def pictures_of(obs: Observation, images: Sequence[ImageSpec]) -> list[Image]:
    """Return the pictures that a policy sees, in its order.

    Raises:
        PolicyError: The observation lacks one.
    """
    for image in images:
        if image.camera not in obs.frames:
            raise PolicyError(
                f"the observation has no picture of camera '{image.camera}', expected "
                f'{[i.camera for i in images]}.'
            )
    return [obs.frames[image.camera].image for image in images]
