"""FAST's frequencies against SciPy, and its text as an inverse pair."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest
from scipy.fft import dct, idct

from vla_ros.actions.fast import FastCodec, frequencies
from vla_ros.errors import PolicyError

SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 9))


@pytest.mark.parametrize('steps', [1, 2, 5, 16, 50])
def test_frequencies_are_those_of_scipy(steps):
    chunk = np.random.default_rng(0).standard_normal((steps, 3))
    found = frequencies(steps) @ chunk
    np.testing.assert_allclose(found, dct(chunk, axis=0, norm='ortho'), atol=1e-12)
    np.testing.assert_allclose(
        frequencies(steps).T @ found, idct(found, axis=0, norm='ortho'), atol=1e-12
    )


@given(SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(-354, 2000))))
def test_rounded_frequencies_and_text_are_an_inverse_pair(rounded):
    codec = FastCodec(*rounded.shape, scale=10.0, lowest=-354)
    text = ''.join(chr(code + 354) for code in rounded.ravel())  # row by row, low ones first
    actions = codec.actions(text)
    np.testing.assert_allclose(
        dct(actions, axis=0, norm='ortho') * 10.0, rounded, atol=1e-8 * (1 + abs(rounded).max())
    )
    assert codec.text(actions) == text


@given(SHAPES.flatmap(lambda shape: arrays(float, shape, elements=st.floats(-2.0, 2.0))))
def test_actions_come_back_within_the_rounding(actions):
    codec = FastCodec(*actions.shape, scale=10.0, lowest=-354)
    text = codec.text(actions)
    assert len(text) == actions.size
    # The transform is orthonormal: T errors of at most 0.05 in each dimension.
    worst = 0.05 * np.sqrt(len(actions)) + 1e-9
    assert np.abs(codec.actions(text) - actions).max() <= worst


def test_low_frequencies_come_first_and_dimensions_lie_side_by_side():
    codec = FastCodec(4, 2, scale=10.0, lowest=0)
    text = codec.text(np.column_stack([np.full(4, 1.5), np.full(4, 0.5)]))
    assert [ord(c) for c in text] == [30, 10, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ('text', 'match'),
    [('abc', '3 frequencies, expected 2 steps of 2'), ('', '0 frequencies'), ('abcde', '5 freq'),
     ('abc\ufffd', 'no text')],
)  # fmt: skip
def test_a_text_that_is_no_chunk_is_refused_and_never_zeros(text, match):
    with pytest.raises(PolicyError, match=match + '.*plan kept'):
        FastCodec(2, 2, scale=10.0, lowest=-354).actions(text)


@pytest.mark.parametrize('value', [-40.0, 1e4])
def test_frequencies_beyond_the_characters_are_refused(value):
    with pytest.raises(PolicyError, match='expected -354 to .*normalised'):
        FastCodec(1, 1, scale=10.0, lowest=-354).text(np.array([[value]]))
