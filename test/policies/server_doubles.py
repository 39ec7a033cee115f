"""Other people's policy servers, written from what their public source does.

Each answers with `actions(instruction, state)` and notes what it was sent. `mood` says how it
behaves: 'well', 'deaf' (never answers), 'garbled', 'failing', or whatever the test makes of it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import io
import pickle
import queue
import socket
import sys
import threading
import time
from typing import Any

import grpc
from lerobot_helpers import modules, RemotePolicyConfig, TimedAction, TimedObservation
import msgpack
import numpy as np
import torch
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve
import zmq

JUNK = b'\xc1\xff\x00junk'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Double:
    """What the three have in common."""

    def __init__(self, actions) -> None:
        self.actions = actions
        self.mood = 'well'
        self.seen: list[Any] = []
        self.sessions = 0
        self.port = free_port()
        self._quiet = threading.Event()

    def moody(self) -> None:
        """Behave as the mood says, as far as that is the same for all."""
        if self.mood == 'deaf':
            while self.mood == 'deaf' and not self._quiet.wait(0.02):
                pass
        if self.mood == 'failing':
            raise RuntimeError('CUDA out of memory')

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop()


class Openpi(Double):
    """WebsocketPolicyServer: metadata first, an answer for each frame, errors as text and 1011."""

    @property
    def address(self) -> str:
        return f'ws://127.0.0.1:{self.port}'

    def start(self) -> None:
        self._quiet.clear()
        self._server = serve(
            self._client, '127.0.0.1', self.port, compression=None, max_size=None,
            close_timeout=0.2,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self._quiet.set()
        self._server.shutdown()
        self._thread.join(10.0)

    @staticmethod
    def _unhook(table):
        if b'__ndarray__' in table:
            flat = np.frombuffer(table[b'data'], dtype=np.dtype(table[b'dtype']))
            return flat.reshape(table[b'shape'])
        return table

    @staticmethod
    def _hook(value):
        value = np.asarray(value)
        return {b'__ndarray__': True, b'data': value.tobytes(), b'dtype': value.dtype.str,
                b'shape': value.shape}  # fmt: skip

    def _client(self, connection) -> None:
        self.sessions += 1
        connection.send(msgpack.packb({'reset_pose': [0.0]}))
        try:
            while True:
                obs = msgpack.unpackb(connection.recv(), object_hook=self._unhook)
                self.seen.append(obs)
                try:
                    self.moody()
                    answer = {'actions': self.actions(obs), 'policy_timing': {'infer_ms': 1.0}}
                except Exception as error:
                    connection.send(f'Traceback (most recent call last):\nRuntimeError: {error}\n')
                    connection.close(1011, 'Internal server error.')
                    return
                junk = self.mood == 'garbled'
                connection.send(JUNK if junk else msgpack.packb(answer, default=self._hook))
        except ConnectionClosed:
            pass


class Gr00t(Double):
    """A REP socket: {'endpoint', 'data'} in, the result or {'error'} out."""

    def __init__(self, actions, version: str) -> None:
        super().__init__(actions)
        self._flat = version == 'n1.5'

    @property
    def address(self) -> str:
        return f'tcp://127.0.0.1:{self.port}'

    def start(self) -> None:
        self._quiet.clear()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._quiet.set()
        self._thread.join(10.0)

    @staticmethod
    def _unhook(table):
        if '__ndarray_class__' in table:
            return np.load(io.BytesIO(table['as_npy']), allow_pickle=False)
        return table

    @staticmethod
    def _hook(value):
        file = io.BytesIO()
        np.save(file, value, allow_pickle=False)
        return {'__ndarray_class__': True, 'as_npy': file.getvalue()}

    def _reset(self, options=None):
        self.sessions += 1
        return {}

    def _get_action(self, observation, options=None):
        self.seen.append(observation)
        self.moody()
        return self.actions(observation)

    def _run(self) -> None:
        line = zmq.Context.instance().socket(zmq.REP)
        line.setsockopt(zmq.LINGER, 0)
        line.bind(self.address)
        while not self._quiet.is_set():
            if not line.poll(20):
                continue
            request = msgpack.unpackb(line.recv(), object_hook=self._unhook)
            try:
                endpoint, data = request.get('endpoint', 'get_action'), request.get('data', {})
                if endpoint == 'ping':
                    result = {'status': 'ok', 'message': 'Server is running'}
                elif endpoint == 'reset' and not self._flat:
                    result = self._reset(**data)
                elif endpoint == 'get_action':
                    result = self._get_action(data) if self._flat else self._get_action(**data)
                else:
                    raise ValueError(f'Unknown endpoint: {endpoint}')
            except Exception as error:
                result = {'error': str(error)}
            if not self._quiet.is_set():
                junk = self.mood == 'garbled'
                line.send(JUNK if junk else msgpack.packb(result, default=self._hook))
        line.close()


class Lerobot(Double):
    """PolicyServer of asynchronous inference: a queue of one observation, pickles both ways."""

    loading = 0.0  # [s] that it takes to load a policy
    patience = 0.3  # [s] for which GetActions waits for an observation

    def __init__(self, actions) -> None:
        super().__init__(actions)
        sys.modules.update(modules())
        self.asked: list[RemotePolicyConfig] = []

    @property
    def address(self) -> str:
        return f'127.0.0.1:{self.port}'

    def start(self) -> None:
        self._quiet.clear()
        self._queue: queue.Queue = queue.Queue(1)
        self._config = None
        rpc = {
            'Ready': grpc.unary_unary_rpc_method_handler(self._ready),
            'SendPolicyInstructions': grpc.unary_unary_rpc_method_handler(self._instructions),
            'SendObservations': grpc.stream_unary_rpc_method_handler(self._observations),
            'GetActions': grpc.unary_unary_rpc_method_handler(self._get_actions),
        }
        self._server = grpc.server(ThreadPoolExecutor(4), options=[('grpc.so_reuseport', 0)])
        service = grpc.method_handlers_generic_handler('transport.AsyncInference', rpc)
        self._server.add_generic_rpc_handlers((service,))
        assert self._server.add_insecure_port(self.address) == self.port
        self._server.start()

    def stop(self) -> None:
        self._quiet.set()
        self._server.stop(0.0).wait(10.0)

    def _ready(self, request: bytes, context) -> bytes:
        assert request == b''
        self._queue = queue.Queue(1)
        return b''

    def _instructions(self, request: bytes, context) -> bytes:
        assert request[:1] == b'\x0a'
        self._config = pickle.loads(request[request.index(b'\x80') :])  # noqa: S301
        assert type(self._config) is RemotePolicyConfig
        self.asked.append(self._config)
        time.sleep(self.loading)
        return b''

    def _observations(self, requests, context) -> bytes:
        data, states = b'', []
        for part in requests:
            assert part[:1] == b'\x08' and part[2:3] == b'\x12'
            states.append(part[1])
            head = 3
            while part[head] & 0x80:
                head += 1
            data += part[head + 1 :]
        assert states[-1] == 3
        seen = pickle.loads(data)  # noqa: S301
        assert type(seen) is TimedObservation
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put(seen)
        return b''

    def _get_actions(self, request: bytes, context) -> bytes:
        try:
            obs = self._queue.get(timeout=self.patience)
        except queue.Empty:
            return b''
        frame = {}
        for key, feature in self._config.lerobot_features.items():
            if feature['dtype'] == 'float32':
                frame[key] = np.array([obs.observation[n] for n in feature['names']], np.float32)
            else:
                frame[key] = obs.observation[key.removeprefix('observation.images.')]
                assert frame[key].shape == tuple(feature['shape'])
        self.seen.append({**frame, 'task': obs.observation['task']})
        try:
            self.moody()
        except RuntimeError:
            return b''  # only its log tells
        if self.mood == 'garbled':
            data = JUNK
        else:
            chunk = torch.tensor(np.asarray(self.actions(self.seen[-1])), dtype=torch.float32)
            data = pickle.dumps([
                TimedAction(obs.timestamp + k / 30, obs.timestep + k, row)
                for k, row in enumerate(list(chunk))
            ])  # fmt: skip
        size, head = len(data), bytearray(b'\x0a')
        while size > 127:
            head.append(size % 128 + 128)
            size //= 128
        return bytes((*head, size)) + data
