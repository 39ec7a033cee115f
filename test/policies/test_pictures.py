"""Pictures against the filters that the references use, written out as matrices."""

from __future__ import annotations

import numpy as np
from picture_oracle import corner, FILTERS, resized
import pytest

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.policies.pictures import Letterbox, resize_with_pad

SHAPES = [(480, 640), (640, 480), (100, 100), (37, 501), (224, 224), (720, 1280), (90, 160)]


def picture(shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def worst(shape, kernel: str, sides: str = 'centre', size: int = 224) -> float:
    """Return the largest deviation from the filter, of 255, and check that the bars are bars."""
    image = picture(shape)
    expected = resized(image, size, kernel)
    (top, left), (rows, columns) = corner(expected.shape, size, sides), expected.shape[:2]
    found = resize_with_pad(image, size, size, sides=sides, fill=300.0, kernel=kernel)
    inside = np.zeros((size, size), dtype=bool)
    inside[top : top + rows, left : left + columns] = True
    assert (found[~inside] == 300.0).all()
    return float(np.abs(found[inside] - expected.reshape(-1, 3)).max())


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('kernel', FILTERS)
def test_a_kernel_is_that_of_its_reference_within_one_level(shape, kernel):
    assert worst(shape, kernel) <= (0.05 if kernel == 'bilinear' else 1.0)


@pytest.mark.parametrize('sides', ['centre', 'left-top', 'right-bottom'])
@pytest.mark.parametrize('shape', [(480, 640), (640, 480), (101, 224)])
def test_bars_lie_where_the_reference_has_them(shape, sides):
    assert worst(shape, 'bilinear', sides) <= 0.05


def test_the_kernels_differ():
    image = picture((480, 640))
    found = {k: resize_with_pad(image, 224, 224, kernel=k) for k in FILTERS}
    for one, other in (('bilinear', 'pillow'), ('pillow', 'bicubic')):
        assert np.abs(found[one] - found[other]).max() > 10.0


@pytest.mark.parametrize('kernel', FILTERS)
def test_a_picture_of_the_right_size_stays_as_it_is(kernel):
    image = picture((224, 224))
    image.setflags(write=False)
    assert np.array_equal(resize_with_pad(image, 224, 224, kernel=kernel), image)


def test_a_letterbox_maps_black_to_minus_one_white_to_one_and_bars_to_the_border():
    image = np.zeros((10, 20, 3), dtype=np.uint8)
    image[:, 10:, 1] = 255
    found = Letterbox(20, 'bilinear', border=-3.0)([image, image])
    assert found.shape == (2, 3, 20, 20) and found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found[:, :, :5], -3.0, atol=1e-6)
    np.testing.assert_allclose(found[:, :, 15:], -3.0, atol=1e-6)
    np.testing.assert_allclose(found[:, 1, 5:15, 10:], 1.0, atol=1e-6)
    np.testing.assert_allclose(found[:, 0, 5:15], -1.0, atol=1e-6)


def test_names_that_are_unknown_and_pictures_that_vanish_are_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'left-top'"):
        resize_with_pad(picture((4, 4)), 8, 8, sides='top-left')
    with pytest.raises(UnknownNameError, match='kernel'):
        resize_with_pad(picture((4, 4)), 8, 8, kernel='lanczos')
    with pytest.raises(ConfigError, match='1000x1 px has no place in 20x20: crop it'):
        resize_with_pad(picture((1, 1000)), 20, 20)
