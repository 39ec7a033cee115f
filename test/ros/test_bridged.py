"""Encodings that cv_bridge reads: asked where it is installed, named where it is not."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from vla_ros.errors import PictureError, UnknownNameError
from vla_ros.messages import frame_from_msg


class CvBridgeError(TypeError):
    """As cv_bridge's own."""


class CvBridge:
    """Does for one Bayer pattern what cv_bridge does: OpenCV's conversion."""

    def imgmsg_to_cv2(self, msg, desired_encoding='passthrough'):
        if msg.encoding != 'bayer_rggb8' or desired_encoding != 'rgb8':
            raise CvBridgeError(f'[{msg.encoding}] is not a color format')
        mosaic = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)
        return cv2.cvtColor(mosaic, cv2.COLOR_BayerBG2RGB)


def message(encoding: str):
    """Return a mosaic of one colour: red 200, green 100, blue 50."""
    mosaic = np.empty((8, 8), np.uint8)
    mosaic[0::2, 0::2], mosaic[1::2, 1::2] = 200, 50
    mosaic[0::2, 1::2] = mosaic[1::2, 0::2] = 100
    header = SimpleNamespace(stamp=SimpleNamespace(sec=3, nanosec=0))
    return SimpleNamespace(
        header=header, height=8, width=8, step=8, encoding=encoding, data=mosaic.tobytes()
    )


@pytest.fixture
def installed(monkeypatch):
    module = ModuleType('cv_bridge')
    module.CvBridge, module.CvBridgeError = CvBridge, CvBridgeError
    monkeypatch.setitem(sys.modules, 'cv_bridge', module)


def test_a_bayer_picture_has_its_colours(installed):
    frame = frame_from_msg(message('bayer_rggb8'))
    assert frame.stamp == 3.0
    assert frame.image.shape == (8, 8, 3)
    assert frame.image[4, 4].tolist() == [200, 100, 50]


def test_what_cv_bridge_cannot_read_is_named(installed):
    with pytest.raises(PictureError, match='bayer_rggb16.*rgb8 or bgr8'):
        frame_from_msg(message('bayer_rggb16'))


def test_without_cv_bridge_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)  # an import of it fails
    with pytest.raises(PictureError, match='cv-bridge'):
        frame_from_msg(message('yuv422_yuy2'))


def test_an_encoding_that_nobody_knows_stays_one(installed):
    with pytest.raises(UnknownNameError, match='rgb8'):
        frame_from_msg(message('8UC7'))
