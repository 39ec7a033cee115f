"""The two msgpack dialects: inverse pairs, the published bytes, and what is refused."""

from __future__ import annotations

import contextlib
import io

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import msgpack
import numpy as np
import pytest

from vla_ros.policies.wire import gr00t, openpi
from vla_ros.policies.wire.message import LIMIT, WireError

NUMBERS = hnp.arrays(
    st.sampled_from([np.dtype(t) for t in ('?', 'u1', 'i2', '<i8', '>i4', '<f2', '<f4', '>f8')]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()


def same(a, b) -> bool:
    if isinstance(a, np.ndarray):
        alike = isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape
        return alike and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b or a != a


@pytest.mark.parametrize('codec', [openpi, gr00t])
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_packed_is_unpacked(codec, data):
    leaves = NUMBERS | PLAIN
    tree = st.recursive(
        leaves, lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(), t, max_size=3)
    )
    value = {'it': data.draw(tree)}
    assert same(value, codec.unpack(codec.pack(value)))


def published_openpi(value):
    """What openpi-client's packer makes of arrays, spelt out from its format."""
    return {
        b'__ndarray__': True,
        b'data': value.tobytes(order='C'),
        b'dtype': value.dtype.str,
        b'shape': list(value.shape),
    }


def published_gr00t(value):
    file = io.BytesIO()
    np.save(file, value)
    return {'__ndarray_class__': True, 'as_npy': file.getvalue()}


@pytest.mark.parametrize(
    ('codec', 'published'), [(openpi, published_openpi), (gr00t, published_gr00t)]
)
def test_the_bytes_are_those_of_the_published_format(codec, published):
    picture = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::-1]  # not contiguous
    theirs = msgpack.packb({'picture': published(picture), 'prompt': 'go'})
    assert codec.pack({'picture': picture, 'prompt': 'go'}) == theirs
    np.testing.assert_array_equal(codec.unpack(theirs)['picture'], picture)


def test_numpy_scalars_of_openpi_are_read_and_written():
    packed = openpi.pack({'ms': np.float32(1.5), 'ok': np.bool_(True)})
    assert msgpack.unpackb(packed)['ms'] == {
        b'__npgeneric__': True, b'data': 1.5, b'dtype': '<f4'
    }  # fmt: skip
    answer = openpi.unpack(packed)
    assert answer['ms'] == 1.5 and answer['ms'].dtype == np.float32
    assert answer['ok'].dtype == np.bool_


def ndarray(**changes):
    whole = {b'__ndarray__': True, b'data': bytes(8), b'dtype': '<f4', b'shape': [2]}
    return {**whole, **{key.encode(): value for key, value in changes.items()}}


@pytest.mark.parametrize(
    'table',
    [
        ndarray(dtype='|O'),
        ndarray(dtype='<f4,<f4'),
        ndarray(dtype='<M8'),
        ndarray(dtype='<U2'),
        ndarray(dtype='<f3'),
        ndarray(dtype=b'<f4'),
        ndarray(dtype=7),
        ndarray(shape=[3]),
        ndarray(shape=[-2, -1]),
        ndarray(shape=[True, 2]),
        ndarray(shape=[2**40, 2**40]),
        ndarray(shape=[1] * 9 + [2]),
        ndarray(shape='2'),
        ndarray(data='12345678'),
        ndarray(data=None),
        {b'__ndarray__': True},
        {b'__npgeneric__': True, b'data': 'x', b'dtype': '<f4'},
        {b'__npgeneric__': True, b'data': 1.0, b'dtype': '|O'},
    ],
)
def test_arrays_that_are_not_plain_numbers_are_refused(table):
    with pytest.raises(WireError):
        openpi.unpack(msgpack.packb({'actions': table}))


def pickled_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2))
    return file.getvalue()


def text_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array(['a']))
    return file.getvalue()


@pytest.mark.parametrize(
    'data', [pickled_npy(), zipped(), text_npy(), b'', b'\x93NUMPY\x01\x00\xff\xff', 'text', None]
)
def test_npy_files_that_are_not_plain_numbers_are_refused(data):
    with pytest.raises(WireError):
        gr00t.unpack(msgpack.packb({'actions': {'__ndarray_class__': True, 'as_npy': data}}))


@pytest.mark.parametrize('codec', [openpi, gr00t])
@pytest.mark.parametrize(
    'data',
    [b'', b'\xc1', b'\x93\x01', b'ERROR', b'\x91' * 5000, b'\xdb' + b'\xff' * 4, b'\xa1\xff'],
)  # fmt: skip
def test_garbage_is_one_kind_of_error(codec, data):
    with pytest.raises(WireError):
        codec.unpack(data)


@pytest.mark.parametrize('codec', [openpi, gr00t])
@settings(max_examples=200)
@given(data=st.binary(max_size=64))
def test_whatever_comes_is_a_value_or_that_error(codec, data):
    with contextlib.suppress(WireError):
        codec.unpack(data)


@pytest.mark.parametrize('codec', [openpi, gr00t])
def test_too_large_a_message_is_refused_unread(codec):
    with pytest.raises(WireError, match='at most'):
        codec.unpack(bytes(LIMIT + 1))


@pytest.mark.parametrize('value', [object(), np.array(['a']), np.array([{}]), 2**70])
@pytest.mark.parametrize('codec', [openpi, gr00t])
def test_what_has_no_form_is_refused(codec, value):
    with pytest.raises(WireError, match='cannot be put'):
        codec.pack({'it': value})


def test_numpy_scalars_have_no_form_in_gr00t():
    with pytest.raises(WireError, match='float32'):
        gr00t.pack({'it': np.float32(1.0)})
