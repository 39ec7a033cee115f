"""LeRobot's pickles and protobuf: genuine ones are read and written, nothing else gets through."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import subprocess
import sys
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from lerobot_helpers import (
    HELPERS,
    modules,
    RemotePolicyConfig,
    TimedAction,
    TimedObservation,
)
import numpy as np
import pytest
import torch

from vla_ros.policies.wire import lerobot, protobuf
from vla_ros.policies.wire.message import WireError


@pytest.fixture(autouse=True)
def helpers(monkeypatch):
    """Put the classes where LeRobot has them, so that pickle writes and reads their real names."""
    for name, module in modules().items():
        monkeypatch.setitem(sys.modules, name, module)


def answer(chunk: torch.Tensor, first: int = 3, protocol: int = 4) -> bytes:
    """What the server sends: rows of one storage, as `list(tensor)` gives them."""
    timed = [TimedAction(0.1 * k, first + k, row) for k, row in enumerate(list(chunk))]
    return pickle.dumps(timed, protocol)


@pytest.mark.parametrize('protocol', [3, 4, 5])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.float16])
def test_a_genuine_answer_is_read_to_the_bit(protocol, dtype):
    chunk = torch.randn(12, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    first, actions = lerobot.actions(answer(chunk, 5, protocol))
    assert first == 5
    np.testing.assert_array_equal(actions, chunk.double().numpy())


def test_strided_rows_are_read():
    chunk = torch.arange(60.0).reshape(6, 10).T[2:9:2]  # offset and strides
    np.testing.assert_array_equal(lerobot.actions(answer(chunk))[1], chunk.numpy())


def test_what_is_written_is_what_the_server_unpickles():
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    values = {'state_0': 0.25, 'wrist': picture, 'task': 'lift it'}
    seen = pickle.loads(lerobot.observation(1.5, 7, values))  # noqa: S301
    assert isinstance(seen, TimedObservation)
    assert (seen.timestamp, seen.timestep, seen.must_go) == (1.5, 7, True)
    assert seen.observation['task'] == 'lift it'
    np.testing.assert_array_equal(seen.observation['wrist'], picture)
    features = {'observation.state': {'dtype': 'float32', 'shape': (1,), 'names': ['state_0']}}
    asked = pickle.loads(lerobot.setup('smolvla', 'me/policy', features, 50, 'cuda'))  # noqa: S301
    assert asked == RemotePolicyConfig('smolvla', 'me/policy', features, 50, 'cuda', {})


def test_what_is_written_names_two_classes_and_numpy_only():
    data = lerobot.observation(1.5, 7, {'wrist': np.zeros((2, 2, 3), np.uint8)})
    named = {arg for op, arg, _ in pickletools.genops(data) if op.name == 'GLOBAL'}
    assert named - {
        f'{HELPERS} TimedObservation',
        'numpy._core.multiarray _reconstruct', 'numpy.core.multiarray _reconstruct',
        'numpy ndarray', 'numpy dtype',
    } == set()  # fmt: skip


class Runs:
    """A pickle that calls something when it is read."""

    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def hidden_in_a_storage() -> Runs:
    """A tensor whose storage is a pickle that runs code, as torch.load would run it."""
    inner = pickle.dumps(Runs(os.system, 'touch hacked'))
    return Runs(torch._utils._rebuild_tensor_v2, Runs(torch.storage._load_from_bytes, inner), 0,
                (1,), (1,), False, {})  # fmt: skip


@pytest.mark.parametrize(
    'evil',
    [
        Runs(os.system, 'touch hacked'),
        Runs(eval, '__import__("os").system("touch hacked")'),
        Runs(subprocess.check_call, ['touch', 'hacked']),
        Runs(getattr, TimedAction, '__init__'),
        Runs(torch.storage._load_from_bytes, pickle.dumps(Runs(os.system, 'touch hacked'))),
        Runs(torch.load, 'hacked'),
        hidden_in_a_storage(),
        np.zeros(2),
        TimedObservation(0.0, 0, {}),
    ],
    ids=('system', 'eval', 'check_call', 'getattr', 'load_from_bytes', 'torch_load', 'storage',
         'array', 'observation'),
)
@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
def test_malicious_and_foreign_answers_are_refused_before_anything_runs(
    evil, protocol, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for payload in ([TimedAction(0.0, 0, evil)], evil, [evil]):
        with pytest.raises(WireError):
            lerobot.actions(pickle.dumps(payload, protocol))
    assert not list(tmp_path.iterdir())


def test_the_malice_of_these_tests_is_real(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Runs(os.system, 'touch hacked')))  # noqa: S301
    assert [file.name for file in tmp_path.iterdir()] == ['hacked']


def test_an_answer_cannot_change_how_the_next_one_is_read():
    """BUILD sets attributes of what it is applied to; here of the class and the functions."""
    def build(module: str, name: str) -> bytes:
        state = pickle.dumps((None, {'timestep': 3, '__defaults__': (1,), 'action': 4}), 3)[2:-1]
        return b'\x80\x03c' + f'{module}\n{name}\n'.encode() + state + b'b.'

    for module, name in (
        (HELPERS, 'TimedAction'),
        ('torch._utils', '_rebuild_tensor_v2'),
        ('torch.storage', '_load_from_bytes'),
        ('collections', 'OrderedDict'),
    ):
        with pytest.raises(WireError):
            lerobot.actions(build(module, name))
    with pytest.raises(WireError, match='no timed action'):
        lerobot.actions(b'\x80\x03](c' + f'{HELPERS}\nTimedAction\n'.encode() + b')\x81e.')
    chunk = torch.ones(2, 3)
    np.testing.assert_array_equal(lerobot.actions(answer(chunk))[1], chunk.numpy())


def test_an_answer_that_would_take_years_to_hash_is_refused_at_once():
    doubled = b''.join(b'q' + bytes([k]) + b'h' + bytes([k]) + b'\x86' for k in range(100))
    begin = time.monotonic()
    with pytest.raises(WireError):
        lerobot.actions(b'\x80\x03}K\x01' + doubled + b'K\x02s.')
    with pytest.raises(WireError):
        lerobot.actions(b'\x80\x03]K\x01' + doubled + b'a.')
    assert time.monotonic() - begin < 1.0


def tensor(storage: bytes, offset, size, stride) -> bytes:
    loaded = Runs(torch.storage._load_from_bytes, storage)
    built = Runs(torch._utils._rebuild_tensor_v2, loaded, offset, size, stride, False, {})
    return pickle.dumps([TimedAction(0.0, 0, built)])


def legacy(values: torch.Tensor) -> bytes:
    file = io.BytesIO()
    untyped, kind = values.untyped_storage(), values.dtype
    storage = torch.storage.TypedStorage(wrap_storage=untyped, dtype=kind, _internal=True)
    torch.save(storage, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.mark.parametrize(
    ('offset', 'size', 'stride'),
    [
        (0, (5,), (1,)), (4, (1,), (1,)), (0, (3,), (2,)), (-1, (2,), (1,)), (0, (2,), (-1,)),
        (0, (2**40,), (0,)), (0, (4,), ()), (0, (1, 1, 4), (4, 4, 1)), (0, ('4',), (1,)),
        (2**70, (1,), (1,)), (0, (0,), (1,)), (0, 4, 1), (0.0, (4,), (1,)),
    ],
)  # fmt: skip
def test_tensors_that_reach_beyond_their_storage_are_refused(offset, size, stride):
    storage = legacy(torch.arange(4.0))
    assert lerobot.actions(tensor(storage, 0, (4,), (1,)))[1].tolist() == [[0.0, 1.0, 2.0, 3.0]]
    with pytest.raises(WireError):
        lerobot.actions(tensor(storage, offset, size, stride))


def test_storages_of_other_kinds_and_lengths_are_refused():
    whole = legacy(torch.arange(4.0))
    np.testing.assert_array_equal(lerobot._storage((whole,)), np.arange(4.0))
    zipped = io.BytesIO()
    torch.save(torch.arange(4.0), zipped)
    for data in (
        whole[:-1], whole + b'\0', whole[:50], b'', zipped.getvalue(), legacy(torch.arange(4)),
        legacy(torch.zeros(4, dtype=torch.bfloat16)), 'text',
    ):  # fmt: skip
        with pytest.raises(WireError):
            lerobot._storage((data,))


@pytest.mark.parametrize(
    'timed',
    [
        [],
        {},
        [TimedAction(0.0, 0, 1.0)],
        [TimedAction(0.0, 'x', torch.zeros(2))],
        [TimedAction(0.0, 0, torch.zeros(2)), TimedAction(0.0, 2, torch.zeros(2))],
        [TimedAction(0.0, 0, torch.zeros(2)), TimedAction(0.0, 1, torch.zeros(3))],
        [TimedAction(0.0, 0, torch.zeros(2, 2))],
    ],
)
def test_answers_that_are_no_chunk_are_refused(timed):
    with pytest.raises(WireError):
        lerobot.actions(pickle.dumps(timed))


@settings(max_examples=150)
@given(cut=st.integers(0, 2000), flip=st.integers(0, 255), where=st.integers(0, 10**6))
def test_damaged_answers_are_one_kind_of_error(cut, flip, where):
    data = bytearray(DAMAGED)
    data[where % len(data)] ^= flip
    with contextlib.suppress(WireError):
        lerobot.actions(bytes(data[: len(data) - cut]))


DAMAGED = (
    b'\x80\x03](c' + f'{HELPERS}\nTimedAction\n'.encode() + b')\x81'
    + pickle.dumps({'timestamp': 0.0, 'timestep': 0, 'action': [1.0, 2.0]}, 3)[2:-1] + b'be.'
)  # fmt: skip


def test_too_large_an_answer_is_refused_unread():
    with pytest.raises(WireError, match='at most'):
        lerobot.actions(bytes(lerobot.ANSWER + 1))
    with pytest.raises(WireError, match='instructions'):
        lerobot.actions(b'\x80\x03]' + b'N' * 10**6 + b'.')


def protobuf_fields(message: bytes) -> dict[int, Any]:
    """Read a message by the wire format: key = number << 3 | type, base-128 numbers."""
    def number() -> int:
        bits, digits = 0, 0
        while True:
            byte = next(stream)
            bits |= (byte & 127) << digits
            digits += 7
            if not byte & 128:
                return bits

    stream, found = iter(message), {}
    for key in stream:
        kind = key & 7
        assert kind in (0, 2)
        found[key >> 3] = number() if kind == 0 else bytes(next(stream) for _ in range(number()))
    return found


@given(st.binary(max_size=400))
def test_held_bytes_come_back(data):
    assert protobuf.held(protobuf.holder(data)) == data
    assert protobuf_fields(protobuf.holder(data)) == {1: data}


@pytest.mark.parametrize(
    ('size', 'states'),
    [(10, [3]), (protobuf.PART, [3]), (protobuf.PART + 1, [1, 3]), (3 * protobuf.PART, [1, 2, 3])],
)
def test_an_observation_is_sent_in_parts_below_4_mb(size, states):
    data = os.urandom(size)
    parts = [protobuf_fields(part) for part in protobuf.stream(data)]
    assert [part[1] for part in parts] == states
    assert b''.join(part[2] for part in parts) == data


@pytest.mark.parametrize(
    'message', [b'\x12\x01a', b'\x0a', b'\x0a\x02a', b'\x0a\x01ab', b'\x0a' + b'\xff' * 9]
)
def test_other_messages_are_refused(message):
    with pytest.raises(WireError):
        protobuf.held(message)


def test_nothing_held_is_empty():
    assert protobuf.held(b'') == protobuf.held(b'\x0a\x00') == b''
