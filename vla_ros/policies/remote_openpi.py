"""openpi's policy server, or ours (`vla serve`): websocket, msgpack.

The server speaks first, with its metadata; then each observation is answered by a dictionary with
'actions' (T, A), or by a text frame that tells its error. Source: openpi,
websocket_policy_server.py; keys of the layouts: its droid_policy.py, libero_policy.py,
aloha_policy.py and examples/.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
import socket
import threading
from typing import Any

import numpy as np
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

from vla_ros.errors import PolicyError, UnknownNameError
from vla_ros.policies.remote import (
    Interrupted,
    LinkError,
    OutOfTime,
    RemoteOptions,
    RemotePolicy,
    Wait,
)
from vla_ros.policies.wire import openpi
from vla_ros.policies.wire.message import LIMIT, WireError
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import Observation

HANDSHAKE = 2.0  # [s] for one try to connect, which nothing interrupts

# What the servers of openpi's own checkpoints call things; a policy file may change each.
LAYOUTS: dict[str, dict[str, Any]] = {
    'droid': {
        'slots': ('observation/exterior_image_1_left', 'observation/wrist_image_left'),
        'state': {
            'observation/joint_position': ('joint_position',),
            'observation/gripper_position': ('gripper',),
        },
    },
    'libero': {
        'slots': ('observation/image', 'observation/wrist_image'),
        'state': {'observation/state': ('tool_pose', 'gripper', 'gripper')},  # two fingers
    },
    'aloha': {
        'slots': ('cam_high', 'cam_left_wrist', 'cam_right_wrist'),
        'state': {'state': ('joint_position', 'gripper')},
        'group': 'images',
        'channels_first': True,
    },
}


@dataclass(frozen=True, kw_only=True)
class OpenpiOptions(RemoteOptions):
    """`options:` of a policy file with adapter remote_openpi."""

    url: str  # such as ws://127.0.0.1:8000
    layout: str | None = None  # of LAYOUTS: gives what the file leaves out
    state: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # its key -> our kinds
    slots: tuple[str, ...] = ()  # keys of the pictures in order, where images name no slot
    group: str = ''  # key of a dictionary that the pictures are in; empty: beside the rest
    channels_first: bool = False  # pictures as (3, H, W) in place of (H, W, 3)
    prompt: str = 'prompt'  # key of the instruction
    resize: str = 'pad'


class OpenpiLink:
    """One websocket; a new one is a new session."""

    def __init__(self, url: str) -> None:
        """Take a ws:// or wss:// address; nothing is connected yet."""
        self.address = url
        self.metadata: Any = None  # what the server said first
        self._connection: ClientConnection | None = None
        self._lines = ExitStack()  # closes it

    def open(self, wait: Wait) -> None:
        """Connect and read the metadata."""
        if self._connection is not None:
            return
        try:
            line = connect(
                self.address,
                compression=None,
                max_size=LIMIT,
                open_timeout=min(wait.left(), HANDSHAKE),
                close_timeout=0.1,
                ping_interval=None,  # deadlines do that; openpi's server is deaf while it infers
                proxy=None,
            )
            connection = self._lines.enter_context(line)
        except TimeoutError:
            raise LinkError('no handshake') from None
        except (OSError, WebSocketException) as error:
            raise LinkError(str(error)) from error
        self._connection = connection
        self.metadata = openpi.unpack(self._receive(connection, wait))

    def ask(self, request: bytes, wait: Wait) -> Any:
        """Send one observation and return the dictionary that answers it."""
        connection = self._connection
        assert connection is not None, 'open comes first'
        # A server that does not read blocks the call, for ever if nobody cuts the line.
        sent = threading.Event()
        threading.Thread(target=_cut, args=(connection.socket, sent, wait), daemon=True).start()
        try:
            connection.send(request)
        except (OSError, WebSocketException) as error:
            wait.left()  # says so where the line was cut for it
            raise LinkError(str(error)) from error
        finally:
            sent.set()
        return openpi.unpack(self._receive(connection, wait))

    def reset(self) -> None:
        """Leave the session."""
        self.close()

    def close(self) -> None:
        """Close the websocket."""
        self._connection = None
        self._lines.close()

    def _receive(self, connection: ClientConnection, wait: Wait) -> bytes:
        while True:
            try:
                answer = connection.recv(timeout=wait.slice())
            except TimeoutError:
                continue  # `slice` says when it is enough
            except (OSError, WebSocketException) as error:
                raise LinkError(str(error)) from error
            if isinstance(answer, str):  # an error; the server closes the connection
                self.close()
                lines = answer.strip().splitlines() or ['an error without words']
                raise PolicyError(f'policy server {self.address} failed: {lines[-1][:500]}')
            return answer


def _cut(line: socket.socket, sent: threading.Event, wait: Wait) -> None:
    """End a connection over which nothing is sent in time."""
    try:
        while not sent.wait(wait.slice()):
            pass
    except (Interrupted, OutOfTime):
        with suppress(OSError):  # closed already
            line.shutdown(socket.SHUT_RDWR)


class RemoteOpenpi(RemotePolicy):
    """Asks a server that speaks openpi's protocol."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Check the policy file against the layout; nothing is connected yet."""
        layout = spec.options.get('layout')
        if layout is not None and layout not in LAYOUTS:
            raise UnknownNameError('layout', str(layout), LAYOUTS, f'policy {spec.name}: options')
        defaults = LAYOUTS[layout] if layout else {}
        options = replace(spec, options={**defaults, **spec.options}).read_options(OpenpiOptions)
        super().__init__(spec, robot, options, OpenpiLink(options.url), options.state)
        for k, (image, key) in enumerate(zip(spec.images, options.slots)):
            self._slots[k] = image.slot or key
        self._openpi = options

    def _request(self, obs: Observation) -> bytes:
        pictures = self._pictures(obs)
        if self._openpi.channels_first:
            pictures = {key: picture.transpose(2, 0, 1) for key, picture in pictures.items()}
        group = {self._openpi.group: pictures} if self._openpi.group else pictures
        words = {self._openpi.prompt: obs.instruction}
        return openpi.pack({**group, **self._states(obs), **words})

    def _actions(self, answer: Any) -> np.ndarray:
        actions = answer.get('actions') if isinstance(answer, dict) else None
        if not isinstance(actions, np.ndarray):
            keys = sorted(map(str, answer)) if isinstance(answer, dict) else type(answer).__name__
            raise WireError(f"an answer without 'actions': {keys}.")
        return actions
