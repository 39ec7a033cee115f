"""Picture preparation against numbers that TensorFlow 2.15 gave, and against slow definitions."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.policies.rlds_pictures import centre_crop, jpeg, lanczos3


def pattern(rows, columns):
    i, j, c = np.meshgrid(np.arange(rows), np.arange(columns), np.arange(3), indexing='ij')
    return ((37 * i + 91 * j + 53 * c + 7 * i * j) % 256).astype(np.uint8)


def smooth():
    i, j, c = np.meshgrid(np.arange(24), np.arange(32), np.arange(3), indexing='ij')
    waves = 127 + 60 * np.sin(i / 5 + c) + 60 * np.cos(j / 7 - c) + 3 * ((i * j) % 3)
    return np.rint(waves).astype(np.uint8)


# tf.image.resize(pattern(9, 13), (4, 4), 'lanczos3', antialias=True), rounded
LANCZOS = [
    [[107, 127, 135], [116, 150, 126], [132, 111, 136], [157, 116, 133]],
    [[129, 136, 150], [129, 133, 117], [143, 119, 138], [142, 120, 103]],
    [[132, 135, 131], [153, 131, 124], [117, 130, 125], [90, 158, 116]],
    [[114, 122, 132], [126, 136, 117], [137, 124, 129], [106, 113, 179]],
]
# tf.image.crop_and_resize of the central 90%, as bytes
CROP = [
    [[36, 89, 142], [125, 178, 163], [178, 43, 96], [127, 117, 134]],
    [[135, 130, 162], [102, 94, 128], [203, 87, 140], [130, 162, 84]],
    [[155, 161, 84], [181, 173, 57], [119, 172, 56], [106, 160, 82]],
    [[77, 130, 120], [96, 150, 197], [163, 211, 81], [57, 110, 163]],
]
# One row of tf.io.decode_image(tf.image.encode_jpeg(smooth())), every fourth pixel
JPEG_ROW = [
    [230, 157, 52], [231, 184, 92], [205, 188, 119], [167, 168, 134],
    [140, 145, 138], [121, 110, 118], [126, 80, 82], [146, 68, 46],
]  # fmt: skip


def test_lanczos_gives_the_numbers_of_tensorflow():
    assert np.abs(lanczos3(pattern(9, 13), 4).astype(int) - LANCZOS).max() == 0
    assert lanczos3(pattern(9, 13), 11).sum(dtype=int) == 46511  # reduces rows, widens columns


def test_the_central_crop_gives_the_numbers_of_tensorflow():
    assert np.abs(centre_crop(pattern(9, 13), 4).astype(int) - CROP).max() == 0
    assert centre_crop(pattern(9, 13), 11).sum(dtype=int) == 46629


def test_jpeg_is_near_to_tensorflow_whose_decoder_is_coarser():
    found = jpeg(smooth()).astype(int)
    assert np.abs(found[11, ::4] - JPEG_ROW).max() <= 11
    assert np.abs(found - smooth()).max() <= 16
    assert not np.array_equal(found, smooth())  # it goes through a file


@pytest.mark.parametrize(('rows', 'columns', 'size'), [(30, 21, 8), (5, 6, 12)])
def test_lanczos_is_a_normalised_sum_over_the_kernel(rows, columns, size):
    image = pattern(rows, columns)

    def weights(length):
        scale = length / size
        width = max(scale, 1.0)
        for k in range(size):
            found = []
            for n in range(length):
                x = abs(n + 0.5 - (k + 0.5) * scale) / width
                w = 0.0 if x >= 3 else 1.0
                if 0 < x < 3:
                    w = 3 * np.sin(np.pi * x) * np.sin(np.pi * x / 3) / (np.pi * x) ** 2
                found.append(w)
            yield np.array(found) / sum(found)

    expected = np.empty((size, size, 3))
    for r, row in enumerate(weights(rows)):
        for c, column in enumerate(weights(columns)):
            expected[r, c] = np.einsum('i,ijk,j->k', row, image, column)
    found = lanczos3(image, size)
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-3


def test_the_crop_keeps_nine_tenths_of_the_area_around_the_middle():
    ramp = np.tile(np.linspace(0, 255, 224)[:, None, None], (1, 224, 3)).astype(np.uint8)
    found = centre_crop(ramp, 224)
    assert (found[-1, 0, 0] - found[0, 0, 0]) / 255.0 == pytest.approx(np.sqrt(0.9), abs=0.01)
    middle = 0.5 * (float(found[0, 0, 0]) + float(found[-1, 0, 0]))
    assert middle == pytest.approx(127.5, abs=1.0)
    flat = np.full((50, 60, 3), 200, np.uint8)
    np.testing.assert_array_equal(centre_crop(flat, 20), np.full((20, 20, 3), 200))
    np.testing.assert_array_equal(lanczos3(flat, 20), np.full((20, 20, 3), 200))
