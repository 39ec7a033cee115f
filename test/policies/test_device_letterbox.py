"""A letterbox of tensor operations against those of Pillow and torch."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
import torch

from vla_ros.errors import ConfigError
from vla_ros.policies.device_letterbox import DeviceLetterbox
from vla_ros.policies.pictures import KERNELS, Letterbox, SIDES

SIZES = [(480, 640), (480, 848), (720, 1280), (1080, 1920), (240, 320), (37, 501), (224, 224),
         (90, 160), (640, 480)]  # fmt: skip
LEVEL = 1.0 / 127.5


def pictures(shape: tuple[int, int], seed: int, count: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(count)]


def both(box: Letterbox, shown: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return DeviceLetterbox(box)(torch.from_numpy(np.stack(shown))).numpy(), box(shown)


@pytest.mark.parametrize('shape', SIZES)
@pytest.mark.parametrize('kernel', KERNELS)
def test_a_network_sees_the_same_pixels(kernel, shape):
    found, wanted = both(Letterbox(224, kernel), pictures(shape, 0))
    assert found.dtype == np.float32
    if kernel == 'bilinear':  # fractions, summed in another order
        np.testing.assert_allclose(found, wanted, rtol=0.0, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, wanted)


@given(
    rows=st.integers(8, 120), columns=st.integers(8, 120), size=st.integers(16, 64),
    kernel=st.sampled_from(KERNELS), sides=st.sampled_from(SIDES),
    border=st.floats(-2.0, 1.0), seed=st.integers(0, 99),
)  # fmt: skip
def test_whatever_the_sizes_the_bars_and_the_picture(
    rows, columns, size, kernel, sides, border, seed
):
    box = Letterbox(size, kernel, sides, border)
    found, wanted = both(box, pictures((rows, columns), seed, 1))
    most = LEVEL if kernel == 'pillow' else 0.0
    np.testing.assert_allclose(found, wanted, rtol=0.0, atol=most + 1e-5)


def test_weights_are_made_once_for_each_size_so_that_a_graph_may_read_them():
    resize = DeviceLetterbox(Letterbox(32, 'pillow'))
    shown = torch.from_numpy(np.stack(pictures((48, 64), 0)))
    first = resize(shown)
    known = dict(resize._filters)
    assert len(known) == 2 and torch.equal(resize(shown), first)
    assert all(resize._filters[key] is known[key] for key in known)


def test_a_picture_that_vanishes_is_refused():
    with pytest.raises(ConfigError, match='1000x1 px has no place in 20x20: crop it'):
        both(Letterbox(20, 'pillow'), pictures((1, 1000), 0))
