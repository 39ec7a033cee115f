"""openpi's policy protocol over a websocket: metadata first, then one answer for each request.

An error goes back as a text frame, and the connection is closed with 1011. /healthz answers
'OK'. Source: openpi, websocket_policy_server.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
import logging
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import serve, ServerConnection

from vla_ros.errors import ConfigError, VlaError
from vla_ros.policies.base import chunk_seed, Policy
from vla_ros.policies.wire import openpi
from vla_ros.policies.wire.message import LIMIT
from vla_ros.robot import RobotSpec
from vla_ros.serving.session import describe, Session

PING = 5.0  # [s] between two signs of life; a client that gives none is dropped
BUSY = 1013  # websocket status: try again later

log = logging.getLogger(__name__)


class PolicyServer:
    """Serves one policy to one client at a time; the next one is told to come again.

    A policy has a memory (noise, history), which two clients would take from one another.
    """

    def __init__(self, policy: Policy, robot: RobotSpec, slots: Sequence[str], seed: int) -> None:
        """Take a loaded policy; nothing is listened to yet.

        Args:
            policy: What answers.
            robot: Whose joints the clients send.
            slots: Key of each picture of the policy file.
            seed: Session k draws from `chunk_seed(seed, k)`.
        """
        self.sessions = 0
        self.answers = 0
        self._policy = policy
        self._robot = robot
        self._slots = slots
        self._seed = seed
        self._metadata = openpi.pack(describe(policy, robot, slots))
        self._turn = threading.Lock()

    def run(self, host: str, port: int, ready: Callable[[str], None]) -> None:
        """Serve until KeyboardInterrupt or whatever else the main thread raises.

        Args:
            host: Address to listen at.
            port: 0 takes a free one.
            ready: Called with the server's URL when clients can come.

        Raises:
            ConfigError: The address cannot be listened to.
        """
        try:
            server = serve(
                self._handle,
                host,
                port,
                origins=[None],  # no page in a browser may reach a server on its user's machine
                process_request=self._judge,
                compression=None,
                max_size=LIMIT,
                ping_interval=PING,
                ping_timeout=2.0 * PING,
                close_timeout=1.0,
            )
        except OSError as error:
            raise ConfigError(f'cannot listen at {host}:{port}: {error.strerror}.') from error
        # In a thread of its own: an interrupt may come before the server waits for clients.
        thread = threading.Thread(target=server.serve_forever, name='server')
        thread.start()
        try:
            ready(f'ws://{host}:{server.socket.getsockname()[1]}')
            thread.join()
        finally:
            server.shutdown()
            thread.join()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a question for health, and turn away who comes while another is served."""
        if request.path == '/healthz':
            return connection.respond(200, 'OK\n')
        if self._turn.locked():
            return connection.respond(503, 'busy: one client at a time\n')
        return None

    def _handle(self, connection: ServerConnection) -> None:
        if not self._turn.acquire(blocking=False):
            connection.close(BUSY, 'one client at a time')
            return
        try:
            with suppress(ConnectionClosed):
                self._serve(connection)
        finally:
            self._turn.release()
            log.info('client %s left', connection.remote_address[0])

    def _serve(self, connection: ServerConnection) -> None:
        log.info('client %s came', connection.remote_address[0])
        self.sessions += 1
        seed = chunk_seed(self._seed, self.sessions)
        session = Session(self._policy, self._robot, self._slots, seed)
        connection.send(self._metadata)
        before: float | None = None  # [s] from the last request to its answer
        while True:
            request = connection.recv(decode=False)
            begin = time.perf_counter()
            try:
                answer = session.answer(openpi.unpack(request), time.monotonic())
            except Exception as error:  # a policy is foreign code
                self._refuse(connection, error)
                return
            timing = {'infer_ms': 1000.0 * (time.perf_counter() - begin)}
            if before is not None:
                timing['prev_total_ms'] = 1000.0 * before
            connection.send(openpi.pack({**answer, 'server_timing': timing}))
            before = time.perf_counter() - begin
            self.answers += 1

    def _refuse(self, connection: ServerConnection, error: Exception) -> None:
        """Say why in one line; what is not an error of ours stays in our own log."""
        if isinstance(error, VlaError):
            text = str(error)
            log.warning('client %s: %s', connection.remote_address[0], text)
        else:
            text = f'{type(error).__name__} in the policy; the log of the server has more.'
            log.error('client %s', connection.remote_address[0], exc_info=error)
        connection.send(text)
        connection.close(1011, 'the error is in the text frame before')
