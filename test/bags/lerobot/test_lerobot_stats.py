"""Statistics against numpy on the same numbers."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.bags.lerobot_stats import (
    column_stats,
    PictureStats,
    pooled,
    QUANTILES,
    sampled,
    thinned,
)


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_picture_statistics_are_numpys_over_all_pixels(count, side, seed):
    pictures = np.random.default_rng(seed).integers(0, 256, (count, side, side + 1, 3), np.uint8)
    stats = PictureStats(count)
    for index, picture in enumerate(pictures):
        stats.add(index, picture)
    found, values = stats.result(), pictures.reshape(-1, 3) / 255.0
    assert found['count'] == [count]
    for name, expected in [
        ('min', values.min(0)), ('max', values.max(0)), ('mean', values.mean(0)),
        ('std', values.std(0)),
        *((n, np.quantile(values, q, axis=0)) for n, q in QUANTILES.items()),
    ]:  # fmt: skip
        assert found[name].shape == (3, 1, 1)
        np.testing.assert_allclose(found[name][:, 0, 0], expected, atol=1e-12)


@pytest.mark.parametrize(
    'count, number', [(1, 1), (99, 99), (100, 100), (464, 100), (1000, 177), (20000, 1681)]
)
def test_as_many_pictures_are_looked_at_as_the_library_says(count, number):
    """The numbers stand in the docstring of its `estimate_num_samples`."""
    chosen = sampled(count)
    assert len(chosen) == number and chosen[0] == 0 and chosen[-1] == count - 1
    assert (np.diff(chosen) > 0).all()


@pytest.mark.parametrize(
    'shape, thin', [((299, 299), (299, 299)), ((480, 640), (120, 160)), ((640, 480), (160, 120))]
)
def test_large_pictures_are_thinned(shape, thin):
    assert thinned(np.zeros((*shape, 3), np.uint8)).shape[:2] == thin


@settings(max_examples=50)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_pooled_statistics_are_those_of_all_rows(lengths, seed):
    rng = np.random.default_rng(seed)
    parts = [rng.normal(rng.normal(), 1.0, (n, 3)) for n in lengths]
    whole, found = np.concatenate(parts), pooled([column_stats(part) for part in parts])
    np.testing.assert_allclose(found['mean'], whole.mean(0), atol=1e-12)
    np.testing.assert_allclose(found['std'], whole.std(0), atol=1e-12)
    np.testing.assert_array_equal(found['min'], whole.min(0))
    np.testing.assert_array_equal(found['max'], whole.max(0))
    assert found['count'] == [sum(lengths)]
    each = [np.quantile(part, 0.99, axis=0) for part in parts]
    np.testing.assert_allclose(found['q99'], np.max(each, axis=0))
    each = [np.quantile(part, 0.01, axis=0) for part in parts]
    np.testing.assert_allclose(found['q01'], np.min(each, axis=0))
