"""GR00T's messages: msgpack, arrays as maps with str keys that hold a .npy file.

An array is {'__ndarray_class__': True, 'as_npy': bytes}; numpy's scalars have no form. Source:
Isaac-GR00T, gr00t/eval/service.py (N1.5) and gr00t/policy/server_client.py (N1.6, N1.7). The
first releases spoke pickles of torch, which are not read.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from vla_ros.policies.wire import message
from vla_ros.policies.wire.message import KINDS, WireError


def pack(value: Any) -> bytes:
    """Return a message of dictionaries, lists, text, numbers and arrays of numbers.

    Raises:
        WireError: Something in it has no place in a message.
    """
    return message.pack(value, _encode)


def unpack(data: bytes) -> Any:
    """Return what a message holds.

    Raises:
        WireError: It is no msgpack, too large, or holds an array that is not one of numbers.
    """
    return message.unpack(data, _decode)


def _encode(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in KINDS:
        raise TypeError(f'a {type(value).__name__}')
    file = io.BytesIO()
    np.lib.format.write_array(file, value, allow_pickle=False)
    return {'__ndarray_class__': True, 'as_npy': file.getvalue()}


def _decode(table: dict[Any, Any]) -> Any:
    if '__ndarray_class__' not in table:
        return table
    data = table.get('as_npy')
    if not isinstance(data, bytes):
        raise WireError(f'an array of {type(data).__name__}, expected the bytes of a .npy file.')
    try:
        array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except Exception as error:  # the header is parsed as Python and raises what comes
        raise WireError(f'an array that is no .npy file: {error}.') from error
    if array.dtype.kind not in KINDS:
        raise WireError(f'an array of {array.dtype}, expected one of numbers.')
    return array
