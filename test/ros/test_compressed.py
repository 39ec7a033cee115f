"""Compressed pictures: what JPEG and PNG give back, and what is refused with a clear cause."""

from __future__ import annotations

from array import array
import contextlib

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage

from vla_ros.errors import PictureError
from vla_ros.ros import convert
from vla_ros.types import Frame

STAMP = 1_790_000_000.25  # [s]
JPEG = 'rgb8; jpeg compressed bgr8'
PNG = 'bgr8; png compressed bgr8'


def scene() -> np.ndarray:
    """Return a smooth picture whose colours cannot be confused: red left, blue right."""
    ramp = np.linspace(0, 255, 96)
    image = np.zeros((72, 96, 3))
    image[..., 0], image[..., 2] = ramp[::-1], ramp
    image[..., 1] = np.linspace(20, 90, 72)[:, None]
    return image.astype(np.uint8)


def message(data: bytes, kind: str) -> CompressedImage:
    msg = CompressedImage(header=convert.header(STAMP), format=kind)
    msg.data = array('B', data)
    return deserialize_message(serialize_message(msg), CompressedImage)


def encode(image: np.ndarray, ending: str) -> bytes:
    """Return a file of a picture whose first channel is blue, as OpenCV has it."""
    return cv2.imencode(ending, image)[1].tobytes()


def test_our_own_message_comes_back():
    msg = convert.frame_to_msg(Frame(STAMP, scene()), 'eye', 'compressed')
    got = convert.frame_from_msg(message(bytes(msg.data), msg.format))
    assert (got.stamp, msg.header.frame_id, msg.format) == (STAMP, 'eye', JPEG)
    assert np.abs(got.image.astype(int) - scene()).max() < 12
    assert len(msg.data) < scene().nbytes / 4


@pytest.mark.parametrize('kind', [JPEG, '', 'jpeg', 'bgr8; jpeg compressed bgr8'])
def test_jpeg_is_close(kind):
    got = convert.frame_from_msg(message(encode(scene()[:, :, ::-1], '.jpg'), kind)).image
    assert np.abs(got.astype(int) - scene()).max() < 12


@pytest.mark.parametrize('kind', [PNG, '', 'png', 'rgb8; png compressed bgr8'])
def test_png_is_exact(kind):
    got = convert.frame_from_msg(message(encode(scene()[:, :, ::-1], '.png'), kind)).image
    np.testing.assert_array_equal(got, scene())


def test_a_picture_that_went_in_with_red_first_comes_out_so():
    got = convert.frame_from_msg(message(encode(scene(), '.png'), 'rgb8; png compressed rgb8'))
    np.testing.assert_array_equal(got.image, scene())


@pytest.mark.parametrize('ending', ['.jpg', '.png'])
def test_grey_becomes_three_equal_channels(ending):
    grey = np.repeat(np.arange(0, 240, 4, dtype=np.uint8)[None], 40, axis=0)
    kind = f'mono8; {ending[1:]} compressed '
    got = convert.frame_from_msg(message(encode(grey, ending), kind)).image
    assert got.shape == (40, 60, 3) and got.dtype == np.uint8
    assert (got[..., 0] == got[..., 1]).all() and (got[..., 0] == got[..., 2]).all()
    assert np.abs(got[..., 0].astype(int) - grey).max() < (1 if ending == '.png' else 6)


def test_sixteen_bits_and_a_transparent_picture_become_eight_bits_of_colour():
    deep = scene()[:, :, ::-1].astype(np.uint16) * 256
    got = convert.frame_from_msg(message(encode(deep, '.png'), 'rgb16; png compressed bgr16'))
    np.testing.assert_array_equal(got.image, scene())
    clear = np.dstack([scene()[:, :, ::-1], np.full((72, 96), 128, np.uint8)])
    got = convert.frame_from_msg(message(encode(clear, '.png'), 'bgra8; png compressed bgr8'))
    np.testing.assert_array_equal(got.image, scene())


@pytest.mark.parametrize('ending', ['.jpg', '.png'])
@pytest.mark.parametrize('share', [0.02, 0.5, 0.99])
def test_a_picture_that_is_cut_off_is_refused(ending, share):
    data = encode(scene(), ending)
    with pytest.raises(PictureError, match='cut off|damaged'):
        convert.frame_from_msg(message(data[: int(share * len(data))], JPEG))


def test_a_picture_whose_end_was_lost_and_filled_up_is_refused():
    """Some versions of the decoder take it and make the rest grey."""
    data = encode(scene(), '.jpg')
    filled = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)
    with pytest.raises(PictureError, match='cut off before the end'):
        convert.frame_from_msg(message(filled, JPEG))


def test_a_picture_that_is_damaged_inside_is_refused():
    data = bytearray(encode(scene(), '.png'))
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(PictureError, match='damaged'):
        convert.frame_from_msg(message(bytes(data), PNG))


def test_bytes_behind_the_end_do_no_harm():
    data = encode(scene()[:, :, ::-1], '.jpg') + bytes(64)
    assert convert.frame_from_msg(message(data, JPEG)).image.shape == scene().shape


@pytest.mark.parametrize('data', [b'', b'\xff', b'GIF89a' + bytes(40), bytes(1000)])
def test_what_is_neither_jpeg_nor_png_is_refused(data):
    with pytest.raises(PictureError, match='expected JPEG or PNG'):
        convert.frame_from_msg(message(data, JPEG))


@pytest.mark.parametrize(
    'kind',
    ['16UC1; compressedDepth', '16UC1; compressedDepth png', '32FC1; compressedDepth rvl',
     '16UC1; png compressed '],
)  # fmt: skip
def test_depth_is_refused(kind):
    with pytest.raises(PictureError, match='is depth; expected colour or grey'):
        convert.frame_from_msg(message(encode(scene(), '.png'), kind))


@pytest.mark.parametrize('seed', range(40))
def test_no_bytes_raise_anything_else(seed):
    rng = np.random.default_rng(seed)
    data = bytearray(encode(scene(), ('.jpg', '.png')[seed % 2]))
    for place in rng.integers(0, len(data), 20):
        data[place] = rng.integers(256)
    with contextlib.suppress(PictureError):
        assert convert.frame_from_msg(message(bytes(data), JPEG)).image.ndim == 3
