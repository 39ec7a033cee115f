"""openpi's messages: msgpack, arrays as maps with bin keys.

An array is {b'__ndarray__': True, b'data': bytes, b'dtype': '<f4', b'shape': [..]}, a numpy
scalar {b'__npgeneric__': True, b'data': number, b'dtype': '<f4'}. Source: openpi-client 0.1,
msgpack_numpy.py.
"""

from __future__ import annotations

from math import prod
import re
from typing import Any

import numpy as np

from vla_ros.policies.wire import message
from vla_ros.policies.wire.message import KINDS, WireError

AXES = 8


def pack(value: Any) -> bytes:
    """Return a message of dictionaries, lists, text, numbers and arrays of numbers.

    Raises:
        WireError: Something in it has no place in a message.
    """
    return message.pack(value, _encode)


def unpack(data: bytes) -> Any:
    """Return what a message holds; its arrays are read-only views of it.

    Raises:
        WireError: It is no msgpack, too large, or holds an array that is not one of numbers.
    """
    return message.unpack(data, _decode)


def _encode(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f'a {type(value).__name__}')
    dtype = value.dtype
    if dtype.kind not in KINDS:
        raise TypeError(f'an array of {dtype}')
    if isinstance(value, np.generic):
        return {b'__npgeneric__': True, b'data': value.item(), b'dtype': dtype.str}
    return {
        b'__ndarray__': True, b'data': value.tobytes(), b'dtype': dtype.str, b'shape': value.shape
    }  # fmt: skip


def _decode(table: dict[Any, Any]) -> Any:
    if b'__ndarray__' in table:
        return _array(table)
    if b'__npgeneric__' in table:
        value = table.get(b'data')
        if not isinstance(value, (bool, int, float)):
            raise WireError(f'a scalar of {type(value).__name__}, expected a number.')
        return _dtype(table).type(value)
    return table


def _array(table: dict[Any, Any]) -> np.ndarray:
    dtype, data, shape = _dtype(table), table.get(b'data'), table.get(b'shape')
    if not isinstance(shape, list) or len(shape) > AXES or not isinstance(data, bytes):
        raise WireError(f'an array of shape {shape!r} with data of {type(data).__name__}.')
    if not all(type(n) is int and n >= 0 for n in shape):
        raise WireError(f'an array of shape {shape!r}.')
    if len(data) != prod(shape) * dtype.itemsize:
        raise WireError(f'an array {dtype.str}{shape} of {len(data)} bytes.')
    return np.frombuffer(data, dtype).reshape(shape)


def _dtype(table: dict[Any, Any]) -> np.dtype:
    """Read a code such as '<f4'; what is longer could spell a record with fields."""
    name = table.get(b'dtype')
    if not isinstance(name, str) or not re.fullmatch(f'[<>|=][{KINDS}][0-9]{{1,2}}', name):
        raise WireError(f'an array of {name!r}, expected one of numbers.')
    try:
        return np.dtype(name)
    except TypeError as error:
        raise WireError(f'an array of {name!r}: {error}.') from error
