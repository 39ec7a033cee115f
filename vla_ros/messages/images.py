"""Pictures and depth."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_ros.errors import ShapeError, UnknownNameError
from vla_ros.messages.basics import time_from_msg
from vla_ros.messages.bridged import bridged
from vla_ros.messages.compressed import compressed_depth, compressed_from_msg, distances
from vla_ros.types import Depth, Frame

# Encoding -> bytes a pixel, and where red, green and blue stand in them.
_COLOURS = {
    'rgb8': (3, slice(None)),
    'bgr8': (3, slice(None, None, -1)),
    'rgba8': (4, slice(0, 3)),
    'bgra8': (4, slice(2, None, -1)),
    'mono8': (1, (0, 0, 0)),
}
_BRIDGED = ('bayer_', 'yuv', 'uyvy', 'yuyv', 'nv', 'rgb16', 'bgr16', 'rgba16', 'bgra16')
_DISTANCES = {'16UC1': ('u2', 1e-3), 'mono16': ('u2', 1e-3), '32FC1': ('f4', 1.0)}  # type, [m]


def frame_from_msg(msg: Any) -> Frame:
    """Return a picture as RGB, raw or compressed; an rgb8 message is not copied.

    Raises:
        UnknownNameError: The encoding is none of colours or greys of 8 bits.
        ShapeError: The data are not as long as height and step say.
        PictureError: A compressed picture cannot be read, or one that needs cv_bridge.
    """
    if hasattr(msg, 'format'):
        return compressed_from_msg(msg)
    if msg.encoding.startswith(_BRIDGED):
        return Frame(time_from_msg(msg.header.stamp), bridged(msg))
    if msg.encoding not in _COLOURS:
        raise UnknownNameError('image encoding', msg.encoding, _COLOURS)
    size, order = _COLOURS[msg.encoding]
    pixels = _rows(msg, size).reshape(msg.height, msg.width, size)
    image = pixels if msg.encoding == 'rgb8' else pixels[:, :, order]
    return Frame(time_from_msg(msg.header.stamp), image)


def lens_from_msg(msg: Any) -> tuple[int, int, float]:
    """Return width, height and vertical focal length of a camera_info [px]."""
    return int(msg.width), int(msg.height), float(msg.k[4])


def depth_from_msg(msg: Any) -> Depth:
    """Return a picture of distances, raw or compressed; pixels without one are nan.

    Raises:
        UnknownNameError: The encoding is neither 16UC1 [mm] nor 32FC1 [m].
        ShapeError: The data are not as long as height and step say.
        PictureError: A compressed picture cannot be read.
    """
    stamp = time_from_msg(msg.header.stamp)
    if hasattr(msg, 'format'):
        return Depth(stamp, compressed_depth(msg))
    if msg.encoding not in _DISTANCES:
        raise UnknownNameError('depth encoding', msg.encoding, _DISTANCES)
    kind, unit = _DISTANCES[msg.encoding]
    order = '>' if msg.is_bigendian else '<'
    size = int(kind[1])
    stored = np.ascontiguousarray(_rows(msg, size)).view(order + kind)
    return Depth(stamp, distances(stored, unit))


def _rows(msg: Any, size: int) -> Any:
    """Return the bytes of a raw picture's rows, (height, width * size), without padding."""
    width = size * msg.width
    if msg.step < width or len(msg.data) != msg.height * msg.step:
        raise ShapeError(
            f'the picture has {len(msg.data)} bytes with step {msg.step}, expected '
            f'{msg.height} rows of at least {width} bytes.'
        )
    return np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)[:, :width]
