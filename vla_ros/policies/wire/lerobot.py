"""LeRobot's pickles, written and read without LeRobot, torch or trust.

Source: lerobot/async_inference/helpers.py, policy_server.py, robot_client.py, of one form in the
releases 0.4.0 to 0.6.1. What is read is list[TimedAction], whose tensors come as torch's legacy
storages; seven names are known, and no other gets through.
"""

from __future__ import annotations

from collections.abc import Mapping
import io
import pickle
from typing import Any

import numpy as np

from vla_ros.policies.wire import pickles
from vla_ros.policies.wire.message import WireError

HELPERS = 'lerobot.async_inference.helpers'
ANSWER = 4 * 2**20  # [bytes] of an answer; LeRobot's own client takes no more
PROTOCOL = 3  # of our pickles: has bytes, and no frames, so that parts can be joined
# Opening of torch's legacy format: magic number, version, and where it was written.
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {
    'torch.FloatStorage': '<f4', 'torch.DoubleStorage': '<f8', 'torch.HalfStorage': '<f2'
}  # fmt: skip


def setup(
    policy_type: str, path: str, features: Mapping[str, Any], actions: int, device: str
) -> bytes:
    """Return the pickle of a RemotePolicyConfig: which policy the server is to load.

    Args:
        policy_type: A word that the server knows, such as 'smolvla'.
        path: Folder or hub name, on the server.
        features: What observations hold: data set features by their full key.
        actions: Most actions of a chunk.
        device: Of torch, on the server.
    """
    return _instance(
        'RemotePolicyConfig',
        {
            'policy_type': policy_type,
            'pretrained_name_or_path': path,
            'lerobot_features': dict(features),
            'actions_per_chunk': actions,
            'device': device,
            'rename_map': {},
        },
    )


def observation(stamp: float, timestep: int, values: Mapping[str, Any]) -> bytes:
    """Return the pickle of a TimedObservation that must be answered.

    Args:
        stamp: Time that the answer's stamps count from [s].
        timestep: Number that the answer's numbers count from.
        values: One number for each motor, a picture (H, W, 3) for each camera, text for 'task'.
    """
    state = {'timestamp': stamp, 'timestep': timestep, 'observation': dict(values)}
    return _instance('TimedObservation', {**state, 'must_go': True})


def _instance(name: str, state: dict[str, Any]) -> bytes:
    """Return the pickle of an instance of a class of HELPERS, which need not be there.

    GLOBAL, EMPTY_TUPLE, NEWOBJ, the state less its own opening and STOP, BUILD, STOP.
    """
    body = pickle.dumps(state, PROTOCOL)
    named = f'c{HELPERS}\n{name}\n'.encode()
    return body[:2] + named + b')\x81' + body[2:-1] + b'b.'


def actions(data: bytes) -> tuple[int, np.ndarray]:
    """Read a pickle of list[TimedAction]; return the first timestep and the actions (T, A).

    Raises:
        WireError: It names anything but actions, tensors and numbers, or is damaged.
    """
    if len(data) > ANSWER:
        raise WireError(f'an answer of {len(data)} bytes, expected at most {ANSWER}.')
    timed = pickles.read(io.BytesIO(data), KNOWN)
    if not isinstance(timed, list) or not timed:
        raise WireError(f'an answer of {type(timed).__name__}, expected a list of timed actions.')
    steps, rows = [], []
    for entry in timed:
        fields = entry if isinstance(entry, pickles.Fields) else {}
        step, row = fields.get('timestep'), fields.get('action')
        if type(step) is not int or not isinstance(row, np.ndarray) or row.ndim != 1:
            raise WireError('an answer with an entry that is no timed action of one vector.')
        steps.append(step)
        rows.append(row)
    if steps != list(range(steps[0], steps[0] + len(steps))) or len({len(r) for r in rows}) > 1:
        raise WireError('an answer whose timed actions do not follow one another.')
    return steps[0], np.array(rows, dtype=np.float64)


def _tensor(arguments: tuple[Any, ...]) -> np.ndarray:
    """Cut a tensor out of a storage (N,): entry i lies at offset + i . stride."""
    values, offset, size, stride = arguments[:4]
    numbers = [offset, *size, *stride]
    whole = all(type(n) is int and n >= 0 for n in numbers) and len(size) == len(stride)
    if not isinstance(values, np.ndarray) or values.ndim != 1 or not whole or len(size) > 2:
        raise WireError('an answer with a tensor of unusual form.')
    last = offset + sum((n - 1) * s for n, s in zip(size, stride))
    if 0 in size or last >= len(values) or np.prod(size, dtype=float) > len(values):
        raise WireError('an answer with a tensor that reaches beyond its storage.')
    steps = [s * values.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps).copy()


def _storage(arguments: tuple[Any, ...]) -> np.ndarray:
    """Read a storage (N,) in torch's legacy format, as `torch.save` without zip writes it.

    Five pickles: magic number, version, properties of the writing machine, a reference to the
    storage, the list of keys; then, for the one key, the count as int64 and the numbers.
    """
    (data,) = arguments
    if not isinstance(data, bytes):
        raise WireError(f'an answer with a storage of {type(data).__name__}.')
    file = io.BytesIO(data)
    magic, version, machine = (pickles.read(file, {}) for _ in range(3))
    code, key, count = pickles.read(file, dict.fromkeys(STORAGES, _nothing), _reference)
    keys = pickles.read(file, {})
    whole = isinstance(machine, dict) and machine.get('little_endian') is True
    if not whole or (magic, version) != (MAGIC, VERSION) or keys != [key]:
        raise WireError('an answer with a storage of another format.')
    body = data[file.tell() :]
    if int.from_bytes(body[:8], 'little') != count or len(body) != 8 + count * code.itemsize:
        raise WireError('an answer with a storage that is cut off.')
    return np.frombuffer(body, code, offset=8)


def _reference(pid: Any) -> tuple[np.dtype, str, int]:
    """Return type, key and length of the storage that a persistent id names."""
    kind, dtype, key, _, count, view = pid
    if kind != 'storage' or type(key) is not str or type(count) is not int or view is not None:
        raise WireError('an answer with a storage of unusual form.')
    return np.dtype(STORAGES[dtype.name]), key, count


def _nothing(arguments: Any) -> Any:
    raise WireError('an answer that calls a class.')


KNOWN: dict[str, pickles.Construct] = {
    f'{HELPERS}.TimedAction': _nothing,  # instances only
    'torch._utils._rebuild_tensor_v2': _tensor,
    'torch.storage._load_from_bytes': _storage,
    'collections.OrderedDict': lambda arguments: {},
}
