"""Normalisation statistics: published formulas, inverse pairs, and files that cannot be used."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from vla_ros.errors import CheckpointError, ShapeError
from vla_ros.statistics import Bounds, Identity, load_norm_stats, MeanStd

VALUES = st.floats(-1e3, 1e3, allow_subnormal=False)
WIDTHS = st.floats(1e-2, 1e3)


@st.composite
def pairs(draw):
    """Return statistics of any kind, shared or of each step, and values of their shape."""
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=2, max_side=5))
    first = draw(hnp.arrays(float, shape, elements=VALUES))
    second = draw(hnp.arrays(float, shape, elements=WIDTHS))
    epsilon = draw(st.sampled_from([0.0, 1e-8, 1e-6]))
    mask = draw(st.none() | st.tuples(*[st.booleans()] * shape[-1]))
    stats = draw(
        st.sampled_from([
            MeanStd(first, second, epsilon),
            Bounds(first, first + second, mask, epsilon),
            Identity(shape[-1]),
        ])
    )
    return stats, draw(hnp.arrays(float, shape, elements=VALUES))


@given(pairs())
def test_denormalize_undoes_normalize(pair):
    stats, x = pair
    assert stats.width == x.shape[-1]
    np.testing.assert_allclose(stats.denormalize(stats.normalize(x)), x, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(stats.normalize(stats.denormalize(x)), x, rtol=1e-9, atol=1e-4)


def test_mean_and_standard_deviation_as_they_are_written():
    stats = MeanStd([1.0, -2.0], [2.0, 0.0], 1e-6)
    x = np.array([[3.0, -2.0], [1.0, -2.0 + 5e-6]])
    np.testing.assert_allclose(stats.normalize(x), [[2.0 / 2.000001, 0.0], [0.0, 5.0]], rtol=1e-6)


def test_bounds_become_plus_and_minus_one():
    low, high = np.array([-0.5, 2.0]), np.array([1.5, 2.5])
    stats = Bounds(low, high)
    np.testing.assert_allclose(stats.normalize(np.stack([low, high])), [[-1, -1], [1, 1]])
    np.testing.assert_allclose(stats.normalize(low + 0.75 * (high - low)), 0.5)
    # outside of the bounds nothing is cut
    np.testing.assert_allclose(stats.normalize(high + (high - low)), 3.0)
    np.testing.assert_allclose(Bounds(low, high, None, 2.0).denormalize(np.ones(2)), high + 2.0)


def test_what_the_mask_leaves_out_passes_unchanged():
    stats = Bounds([0.0, 0.0], [10.0, 10.0], (True, False))
    np.testing.assert_allclose(stats.denormalize(np.array([0.5, 0.5])), [7.5, 0.5])
    np.testing.assert_allclose(stats.normalize(np.array([7.5, 0.5])), [0.5, 0.5])


def test_a_dimension_that_never_changed_is_zero_and_comes_back():
    stats = Bounds([3.0], [3.0])
    assert stats.normalize(np.array([3.0])).tolist() == [0.0]
    assert stats.denormalize(np.array([0.7])).tolist() == [3.0]


@pytest.mark.parametrize('kind', [MeanStd, Bounds])
def test_each_step_has_statistics_of_its_own(kind):
    low, high = np.arange(6.0).reshape(3, 2), 10.0 + np.arange(6.0).reshape(3, 2) ** 2
    stats, x = kind(low, high), np.full((3, 2), 4.0)
    for k in range(3):
        row = kind(low[k], high[k])
        np.testing.assert_array_equal(stats.normalize(x)[k], row.normalize(x[k]))
        assert row.first(1) is row
    np.testing.assert_array_equal(stats.first(2).normalize(x[:2]), stats.normalize(x)[:2])


@pytest.mark.parametrize(
    ('mean', 'std'),
    [
        ([0.0], [0.0]),
        ([0.0], [-1.0]),
        ([0.0], [float('nan')]),
        ([0.0], [float('inf')]),
        ([float('nan')], [1.0]),
        ([float('inf')], [1.0]),
    ],
)
def test_statistics_that_cannot_be_undone_are_refused(mean, std):
    with pytest.raises(CheckpointError, match='finite'):
        MeanStd(mean, std)
    with pytest.raises(CheckpointError, match='finite'):
        Bounds([1.0], [0.0])
    with pytest.raises(CheckpointError, match='finite'):
        Bounds([0.0], [float('nan')])


def test_statistics_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match='MeanStd.std'):
        MeanStd([0.0, 1.0], [1.0])
    with pytest.raises(ShapeError, match='mask has 1'):
        Bounds([0.0, 0.0], [1.0, 1.0], (True,))
    with pytest.raises(ShapeError, match='expected .A,. or .T, A.'):
        MeanStd(np.zeros((1, 2, 3)), np.ones((1, 2, 3)))


def test_statistics_are_read_as_they_were_written(tmp_path):
    path = tmp_path / 'norm_stats.json'
    table = {
        'state': {'mean': [0.0, 1.0], 'std': [1.0, 2.0]},
        'actions': {'mean': [[0.0], [1.0]], 'std': [[1.0], [2.0]]},
    }
    path.write_text(json.dumps({'norm_stats': table}), encoding='utf-8')
    stats = load_norm_stats(path)
    for key, entry in table.items():
        np.testing.assert_array_equal(stats[key].mean, entry['mean'])
        np.testing.assert_array_equal(stats[key].std, entry['std'])


@pytest.mark.parametrize(
    'text',
    [
        '',
        'no json',
        '[]',
        '{}',
        '{"norm_stats": []}',
        '{"norm_stats": {"state": {"mean": [0]}}}',
        '{"norm_stats": {"state": 3}}',
        '{"norm_stats": {"state": {"mean": ["a"], "std": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0, 0], "std": [1]}}}',
        '{"norm_stats": {"state": {"mean": [[0], [0, 1]], "std": [1]}}}',
        '{"norm_stats": {"state": {"mean": [0], "std": [0]}}}',
        '{"norm_stats": {"state": {"mean": [NaN], "std": [1]}}}',
    ],
)
def test_damaged_statistics_are_a_checkpoint_error(tmp_path, text):
    path = tmp_path / 'norm_stats.json'
    path.write_text(text, encoding='utf-8')
    with pytest.raises(CheckpointError):
        load_norm_stats(path)
    with pytest.raises(CheckpointError, match=r'gone\.json'):
        load_norm_stats(tmp_path / 'gone.json')
