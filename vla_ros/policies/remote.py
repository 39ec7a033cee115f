"""A policy on another machine: what the clients of all servers have in common.

A link speaks one server's language; `RemotePolicy` keeps its deadlines, tries again with growing
pauses, and turns observations into what the server calls them. `infer` answers or raises
PolicyError within its deadline, whatever the server does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import threading
import time
from typing import Any, Protocol
import weakref

import numpy as np

from vla_ros.action_space import Slice
from vla_ros.actions.decode import Codec
from vla_ros.errors import ConfigError, PolicyError, UnknownNameError
from vla_ros.policies.base import pictures_of
from vla_ros.policies.pictures import resize_with_pad
from vla_ros.policies.wire.message import WireError
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.types import ActionChunk, Array, ChunkPrefix, Image, Observation

SLICE = 0.05  # [s] longest time for which a call to a library does not look for an interrupt
PAUSE, LONGEST_PAUSE = 0.05, 1.0  # [s] before the first and before every further new connection
RESIZES = ('pad', 'none')


@dataclass(frozen=True, kw_only=True)
class RemoteOptions:
    """What `options:` of a policy file says about every kind of server."""

    timeout: float = 2.0  # [s] for one answer, and for a connection
    start_timeout: float = 60.0  # [s] for the first answer: servers load and compile before it
    resize: str = 'none'  # pictures: as they are, or to the file's size with 'pad', black bars

    def __post_init__(self) -> None:
        if not 0.0 < self.timeout <= self.start_timeout < np.inf:
            raise ConfigError(
                f'timeout is {self.timeout} s and start_timeout {self.start_timeout} s: expected '
                'more than 0, and the second not below the first.'
            )
        if self.resize not in RESIZES:
            raise UnknownNameError('resize', self.resize, RESIZES, 'options')


class LinkError(Exception):
    """A connection that cannot be made or was lost; another try may do better."""


class OutOfTime(Exception):
    """The deadline passed."""


class Interrupted(Exception):
    """The wait for a server was ended from outside."""


class Wait:
    """What is left of the time for something, ended early by an event."""

    def __init__(self, seconds: float, stop: threading.Event) -> None:
        self._end = time.monotonic() + seconds
        self._stop = stop

    def left(self) -> float:
        """Return the rest [s].

        Raises:
            Interrupted: The event came.
            OutOfTime: Nothing is left.
        """
        if self._stop.is_set():
            raise Interrupted
        left = self._end - time.monotonic()
        if left <= 0.0:
            raise OutOfTime
        return left

    def slice(self) -> float:
        """Return how long a library may wait before `slice` is asked again [s]; as `left`."""
        return min(SLICE, self.left())

    def anew(self, seconds: float) -> Wait:
        """Return a wait of another length that the same event ends."""
        return Wait(seconds, self._stop)

    def pause(self, seconds: float) -> None:
        """Let time pass, if there is enough; as `left`."""
        self._stop.wait(min(seconds, self.left()))
        self.left()


class Link(Protocol):
    """A connection to one server, used by one thread at a time."""

    address: str  # for messages

    def open(self, wait: Wait) -> None:
        """Connect, if it is not; LinkError where that fails."""

    def ask(self, request: Any, wait: Wait) -> Any:
        """Return the answer to one request.

        Raises:
            LinkError: The connection was lost.
            PolicyError: The server says that it cannot answer.
            WireError: The answer cannot be read.
        """

    def reset(self) -> None:
        """Begin anew: neither the server's memory nor an answer still to come is wanted."""

    def close(self) -> None:
        """Let go of the connection; `open` makes another."""


class RemotePolicy:
    """The Policy protocol over a link; a subclass says what a request and an answer hold."""

    offers: frozenset[str] = frozenset({'interrupt'})

    def __init__(
        self,
        spec: PolicySpec,
        robot: RobotSpec,
        options: RemoteOptions,
        link: Link,
        state: Mapping[str, Sequence[str]],
    ) -> None:
        """Check the policy file; nothing is connected before the first `infer`.

        Args:
            spec: The policy file.
            robot: The arm.
            options: Its deadlines.
            link: To the server.
            state: The server's key -> kinds of the state slices that it holds.
        """
        self.spec = spec
        self._options = options
        self._link = link
        weakref.finalize(self, link.close)
        self._codec = Codec(robot, robot.urdf_path, spec)
        self._slots = [image.slot or image.camera for image in spec.images]  # keys of pictures
        self._state = columns(state, spec.state, robot, f'policy {spec.name}: state')
        self._stop = threading.Event()
        self._known = False  # an answer came before: the server is loaded

    def reset(self, instruction: str, *, seed: int) -> None:
        """Begin a session with the server, which draws from seeds of its own."""
        del instruction, seed
        self._link.reset()

    def interrupt(self) -> None:
        """End an inference in flight; it raises PolicyError. May come from any thread."""
        self._stop.set()

    def infer(self, obs: Observation, prefix: ChunkPrefix | None = None) -> ActionChunk:
        """Return what the server answers; a prefix changes nothing.

        Raises:
            PolicyError: There is no answer within the deadline, it cannot be used, or the
                inference was interrupted; the message says why.
        """
        del prefix
        self._stop.clear()
        start = time.perf_counter()
        request = self._request(obs)
        ready = time.perf_counter()
        answer = self._exchange(request)
        try:
            actions = self._checked(self._actions(answer))
        except WireError as error:
            raise PolicyError(f'policy server {self._link.address} sent {error}') from error
        self._known = True
        timings = {'preprocess': ready - start, 'inference': time.perf_counter() - ready}
        return ActionChunk(obs.stamp, actions, self.spec.step, timings)

    def _request(self, obs: Observation) -> Any:
        """Return what the link's `ask` takes."""
        raise NotImplementedError

    def _actions(self, answer: Any) -> np.ndarray:
        """Return the actions (T, A) that the link's `ask` gave; WireError where there are none."""
        raise NotImplementedError

    def _exchange(self, request: Any) -> Any:
        """Ask, over new connections as long as they may take, and say why where it fails."""
        options, link = self._options, self._link
        limit = options.timeout if self._known else options.start_timeout
        opening, answering = Wait(options.timeout, self._stop), Wait(limit, self._stop)
        server, reason, pause = f'policy server {link.address}', 'no sign of life', PAUSE
        try:
            while True:
                try:
                    link.open(opening)
                    reason = ''
                    return link.ask(request, answering)
                except LinkError as error:
                    link.close()
                    reason = str(error)
                opening.pause(pause)
                pause = min(2.0 * pause, LONGEST_PAUSE)
        except Interrupted:
            link.reset()
            raise PolicyError(f'{server}: the wait for its answer was interrupted.') from None
        except OutOfTime:
            link.reset()
            if reason:
                raise PolicyError(
                    f'{server} cannot be reached for {options.timeout:g} s: {reason}; start it, '
                    'or correct its address in the policy file.'
                ) from None
            raise PolicyError(
                f'{server} gave no answer within {limit:g} s; see its log, or allow more by '
                'timeout or start_timeout in the policy file.'
            ) from None
        except WireError as error:
            link.reset()
            raise PolicyError(f'{server} sent {error}') from error

    def _checked(self, actions: np.ndarray) -> Array:
        """Return the first `horizon` actions."""
        found, expected = actions.shape, (self.spec.horizon, self._codec.action_dim)
        if len(found) != 2 or found[0] < expected[0] or found[1] != expected[1]:
            raise WireError(
                f'actions of shape {found}, expected {expected} (horizon, action): correct the '
                'policy file.'
            )
        if not np.isfinite(actions).all():
            raise WireError('actions that are not finite.')
        return np.asarray(actions[: expected[0]], dtype=np.float64)

    def _pictures(self, obs: Observation) -> dict[str, Image]:
        """Return the picture (H, W, 3) of each of the server's keys."""
        pictures = pictures_of(obs, self.spec.images)
        if self._options.resize == 'pad':
            sizes = [(image.size, image.size) for image in self.spec.images]
            pictures = [
                resize_with_pad(picture, *size, kernel='pillow').astype(np.uint8)
                for picture, size in zip(pictures, sizes)
            ]
        return {key: np.ascontiguousarray(p) for key, p in zip(self._slots, pictures)}

    def _states(self, obs: Observation) -> dict[str, Array]:
        """Return the numbers (S,) of each of the server's keys."""
        vector = self._codec.state(obs.joints)
        return {key: vector[part] for key, part in self._state.items()}


def columns(
    keys: Mapping[str, Sequence[str]], slices: Sequence[Slice], robot: RobotSpec, where: str
) -> dict[str, np.ndarray]:
    """Return the columns of the policy's vector that each of the server's keys holds.

    Args:
        keys: Server's key -> kinds of the slices that it holds, in its order; of several slices
            of one kind the first comes first.
        slices: Of the policy file, in the order of its vector.
        robot: Whose joints and grippers count.
        where: For messages.

    Raises:
        ConfigError: A kind that no slice is left for, or a slice that no key holds.
    """
    places: dict[str, list[np.ndarray]] = {}
    first = 0
    for part in slices:
        size = width((part,), robot)
        places.setdefault(part.kind, []).append(np.arange(first, first + size))
        first += size
    named = [kind for kinds in keys.values() for kind in kinds]
    declared = [part.kind for part in slices]
    if sorted(named) != sorted(declared):
        raise ConfigError(
            f'{where}: the options name {named or "none"}, the policy file declares '
            f'{declared or "none"}; name each slice once.'
        )
    return {
        key: np.concatenate([places[kind].pop(0) for kind in kinds])
        for key, kinds in keys.items()
    }
