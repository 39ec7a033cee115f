"""LeRobot's policy server: gRPC, pickles; releases 0.4.0 to 0.6.1.

Ready and SendPolicyInstructions make the server load a policy; then each observation goes out by
SendObservations, and GetActions returns the chunk of the newest, or nothing where the server
waited in vain or failed, which only its log tells. Source: lerobot/async_inference,
lerobot/transport/services.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from vla_ros.errors import ConfigError, PolicyError
from vla_ros.policies.remote import LinkError, OutOfTime, RemoteOptions, RemotePolicy, Wait
from vla_ros.policies.wire import lerobot, protobuf
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.types import Observation

SERVICE = '/transport.AsyncInference/'


@dataclass(frozen=True, kw_only=True)
class LerobotOptions(RemoteOptions):
    """`options:` of a policy file with adapter remote_lerobot."""

    address: str  # such as 127.0.0.1:8080
    policy_type: str  # a word that the server knows, such as smolvla or pi0
    pretrained: str  # folder or hub name of the checkpoint, on the server
    device: str = 'cpu'  # of the server


class LerobotLink:
    """One gRPC channel; after each loss of it the server is told again what to load."""

    def __init__(self, address: str, load: bytes, start_timeout: float) -> None:
        """Take HOST:PORT, the pickle that says what to load, and the time for that [s]."""
        self.address = address
        self._load = protobuf.holder(load)
        self._start_timeout = start_timeout
        self._channel: grpc.Channel | None = None
        self._timestep = -1

    def open(self, wait: Wait) -> None:
        """Connect and let the server load the policy, which may take `start_timeout`."""
        if self._channel is not None:
            return
        options = [
            ('grpc.max_receive_message_length', 2 * lerobot.ANSWER), ('grpc.enable_http_proxy', 0)
        ]  # fmt: skip
        self._channel = grpc.insecure_channel(self.address, options)
        self._call('Ready', b'', wait)
        self._call('SendPolicyInstructions', self._load, wait.anew(self._start_timeout))

    def ask(self, request: tuple[float, dict[str, Any]], wait: Wait) -> np.ndarray:
        """Send a stamp [s] and named values, and return the actions (T, A) for them."""
        self._timestep += 1
        data = lerobot.observation(request[0], self._timestep, request[1])
        self._call('SendObservations', protobuf.stream(data), wait)
        while True:
            answer = protobuf.held(self._call('GetActions', b'', wait))
            if not answer:
                raise PolicyError(
                    f'policy server {self.address} answered without actions; its log says why.'
                )
            timestep, actions = lerobot.actions(answer)
            if timestep == self._timestep:  # else it is for an observation that was given up
                return actions

    def reset(self) -> None:
        """Do nothing: the server has no sessions, and late answers are known by their number."""

    def close(self) -> None:
        """Close the channel; the next `open` loads the policy again."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _call(self, method: str, request: Any, wait: Wait) -> bytes:
        assert self._channel is not None, 'open comes first'
        single = isinstance(request, bytes)
        kind = self._channel.unary_unary if single else self._channel.stream_unary
        call = kind(SERVICE + method).future(request, timeout=wait.left())
        try:
            while True:
                try:
                    return bytes(call.result(timeout=wait.slice()))
                except grpc.FutureTimeoutError:
                    continue  # `slice` says when it is enough
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise OutOfTime from None
            raise LinkError(f'{method}: {error.details()}') from error
        finally:
            call.cancel()


class RemoteLerobot(RemotePolicy):
    """Asks LeRobot's server for asynchronous inference."""

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Check the policy file; nothing is connected yet."""
        options = spec.read_options(LerobotOptions)
        if not spec.state:
            raise ConfigError(f'policy {spec.name}: LeRobot wants a state; declare its slices.')
        self._names = [f'state_{k}' for k in range(width(spec.state, robot))]
        features = {'observation.state': _feature('float32', (len(self._names),), self._names)}
        for image in spec.images:
            camera = robot.camera(image.camera)
            shape = (camera.height, camera.width, 3)
            if options.resize == 'pad':
                shape = (image.size, image.size, 3)
            key = f'observation.images.{image.slot or image.camera}'
            features[key] = _feature('image', shape, ['height', 'width', 'channels'])
        load = lerobot.setup(
            options.policy_type, options.pretrained, features, spec.horizon, options.device
        )
        link = LerobotLink(options.address, load, options.start_timeout)
        state = {'observation.state': [part.kind for part in spec.state]}
        super().__init__(spec, robot, options, link, state)

    def _request(self, obs: Observation) -> tuple[float, dict[str, Any]]:
        (vector,) = self._states(obs).values()
        numbers = dict(zip(self._names, vector.tolist()))
        return obs.stamp, {**numbers, **self._pictures(obs), 'task': obs.instruction}

    def _actions(self, answer: np.ndarray) -> np.ndarray:
        return answer


def _feature(dtype: str, shape: tuple[int, ...], names: list[str]) -> dict[str, Any]:
    return {'dtype': dtype, 'shape': shape, 'names': names}
