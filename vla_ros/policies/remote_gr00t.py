"""GR00T's policy server: ZeroMQ request and reply, msgpack.

N1.5 takes a flat dictionary {'video.KEY': (1, H, W, 3), 'state.KEY': (1, D), LANGUAGE: [text]} and
answers {'action.KEY': (T, D)}, axes of length 1 left out. N1.6 and N1.7 take {'observation':
{'video': {KEY: (1, 1, H, W, 3)}, 'state': {KEY: (1, 1, D)}, 'language': {LANGUAGE: [[text]]}},
'options': None} and answer [{KEY: (1, T, D)}, information]. Both answer {'error': text} where
they fail. Source: Isaac-GR00T, gr00t/eval/service.py, gr00t/policy/server_client.py and
gr00t_policy.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

from vla_ros.errors import PolicyError, UnknownNameError
from vla_ros.policies.remote import columns, LinkError, RemoteOptions, RemotePolicy, Wait
from vla_ros.policies.wire import gr00t
from vla_ros.policies.wire.message import LIMIT, WireError
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import Observation

VERSIONS = ('n1.5', 'n1.6', 'n1.7')


@dataclass(frozen=True, kw_only=True)
class Gr00tOptions(RemoteOptions):
    """`options:` of a policy file with adapter remote_gr00t."""

    address: str  # such as tcp://127.0.0.1:5555
    version: str  # of VERSIONS
    state: Mapping[str, tuple[str, ...]]  # the server's key -> our kinds
    actions: Mapping[str, tuple[str, ...]]  # likewise
    language: str = 'annotation.human.action.task_description'  # key of the instruction

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version not in VERSIONS:
            raise UnknownNameError('version', self.version, VERSIONS, 'options')


class Gr00tLink:
    """One REQ socket; it is thrown away whenever an answer does not come."""

    def __init__(self, address: str, resets: bool) -> None:
        """Take a tcp:// address, and whether the server has the endpoint 'reset'."""
        self.address = address
        self._resets = resets
        self._socket: zmq.Socket | None = None
        self._events: zmq.Socket | None = None  # tells when the socket loses its server

    def open(self, wait: Wait) -> None:
        """Make a socket; whether somebody answers shows when something is asked."""
        if self._socket is not None:
            return
        line: zmq.Socket = zmq.Context.instance().socket(zmq.REQ)
        line.setsockopt(zmq.LINGER, 0)
        line.setsockopt(zmq.MAXMSGSIZE, LIMIT)
        self._socket = line
        self._events = line.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        try:
            line.connect(self.address)
        except zmq.ZMQError as error:
            self.close()
            raise LinkError(str(error)) from error
        self._call({'endpoint': 'ping'}, wait)
        if self._resets:
            self._call({'endpoint': 'reset', 'data': {'options': None}}, wait)

    def ask(self, request: dict[str, Any], wait: Wait) -> Any:
        """Ask for actions."""
        return self._call({'endpoint': 'get_action', 'data': request}, wait)

    def reset(self) -> None:
        """Begin a session: the next `open` tells the server."""
        self.close()

    def close(self) -> None:
        """Throw the socket away."""
        if self._socket is not None:
            self._socket.disable_monitor()
            self._socket.close()
            self._socket = self._events = None

    def _call(self, request: dict[str, Any], wait: Wait) -> Any:
        assert self._socket is not None, 'open comes first'
        either = zmq.Poller()
        either.register(self._socket, zmq.POLLIN)
        either.register(self._events, zmq.POLLIN)
        try:
            self._socket.send(gr00t.pack(request), zmq.NOBLOCK)
            ready: dict[Any, int] = {}
            while self._socket not in ready:
                if ready:  # what was asked is lost; ZeroMQ would connect again and wait for ever
                    raise LinkError('the connection was lost')
                ready = dict(either.poll(int(1000.0 * wait.slice())))
            answer = gr00t.unpack(self._socket.recv(zmq.NOBLOCK))
        except zmq.ZMQError as error:
            raise LinkError(str(error)) from error
        if isinstance(answer, dict) and 'error' in answer:
            raise PolicyError(f'policy server {self.address} failed: {answer["error"]!s:.500}')
        return answer


class RemoteGr00t(RemotePolicy):
    """Asks a server that speaks GR00T's protocol."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Check the policy file; nothing is connected yet."""
        options = spec.read_options(Gr00tOptions)
        flat = options.version == 'n1.5'
        link = Gr00tLink(options.address, resets=not flat)
        super().__init__(spec, robot, options, link, options.state)
        self._gr00t, self._flat = options, flat
        where = f'policy {spec.name}: actions'
        self._parts = columns(options.actions, spec.action, robot, where)

    def _request(self, obs: Observation) -> dict[str, Any]:
        words, language = obs.instruction, self._gr00t.language
        pictures, states = self._pictures(obs), self._states(obs)
        if self._flat:
            video = {f'video.{key}': picture[None] for key, picture in pictures.items()}
            state = {f'state.{key}': value[None] for key, value in states.items()}
            return {**video, **state, language: [words]}
        observed = {
            'video': {key: picture[None, None] for key, picture in pictures.items()},
            'state': {k: v.astype(np.float32)[None, None] for k, v in states.items()},
            'language': {language: [[words]]},
        }
        return {'observation': observed, 'options': None}

    def _actions(self, answer: Any) -> np.ndarray:
        table = answer
        if not self._flat:
            table = answer[0] if isinstance(answer, list) and len(answer) == 2 else None
        if not isinstance(table, dict):
            raise WireError(
                f'an answer of {type(answer).__name__}, not of {self._gr00t.version}: correct '
                'version in the policy file.'
            )
        rows = {key: self._rows(table, key, len(part)) for key, part in self._parts.items()}
        counts = {key: len(values) for key, values in rows.items()}
        if len(set(counts.values())) != 1:
            raise WireError(f'actions of different lengths: {counts}.')
        actions = np.empty((next(iter(counts.values())), self._codec.action_dim))
        for key, part in self._parts.items():
            actions[:, part] = rows[key]
        return actions

    def _rows(self, table: dict[str, Any], key: str, size: int) -> np.ndarray:
        """Return one key's actions (T, D)."""
        name = f'action.{key}' if self._flat else key
        values = table.get(name)
        if not isinstance(values, np.ndarray):
            raise WireError(f"an answer without '{name}': {sorted(map(str, table))}.")
        if self._flat and values.ndim < 2:  # the server drops every axis of length 1
            values = values.reshape(-1, size) if values.size % size == 0 else values
        elif not self._flat and values.ndim == 3 and len(values) == 1:
            values = values[0]
        if values.ndim != 2 or values.shape[1] != size:
            raise WireError(f"'{name}' of shape {values.shape}, expected {size} columns.")
        return values
