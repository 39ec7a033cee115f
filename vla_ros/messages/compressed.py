"""Compressed pictures: JPEG and PNG, as `image_transport`'s plug-in `compressed` sends them."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.errors import PictureError
from vla_ros.messages.basics import time_from_msg
from vla_ros.types import Frame

# How a file of each kind begins, and what its last part holds.
_JPEG, _JPEG_SCAN, _JPEG_END = b'\xff\xd8\xff', b'\xff\xda', b'\xff\xd9'
_PNG, _PNG_END = b'\x89PNG\r\n\x1a\n', b'IEND\xae\x42\x60\x82'
_DEPTH = ('16UC1', '32FC1')  # pixel formats of distances, not of colours

_QUANTISED = struct.Struct('<iff')  # kind, and a and b of 32FC1: distance = a / (pixel - b)

# OpenCV is imported where it is needed: the nodes that see no picture do without it.


def compressed_from_msg(msg: Any) -> Frame:
    """Return a picture as RGB; grey becomes equal parts of the three.

    Raises:
        PictureError: It is depth, neither JPEG nor PNG, or damaged.
    """
    import cv2

    data, words = bytes(msg.data), msg.format
    if 'compresseddepth' in words.lower() or words.split(';')[0].strip() in _DEPTH:
        raise PictureError(
            f"its format is '{words}', which is depth; expected colour or grey as JPEG or PNG: "
            "name the colour camera's topic in the robot file."
        )
    _check_whole(data, words)
    # What the file says of its orientation is ignored, as for a raw picture.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise PictureError(f'its {len(data)} bytes cannot be read: {error}') from error
    if image is None:
        raise PictureError(
            f"its {len(data)} bytes of format '{words}' are damaged: look at the camera's "
            'driver and at the network.'
        )
    # The transport encodes the bytes as they are: this picture went in with red first.
    red_first = 'compressed rgb' in words
    return Frame(
        time_from_msg(msg.header.stamp),
        np.asarray(image if red_first else image[:, :, ::-1], np.uint8),
    )


def compressed_depth(msg: Any) -> NDArray[np.float32]:
    """Return distances (H, W) [m] as the plug-ins `compressedDepth` and `compressed` send them.

    Raises:
        PictureError: It is not depth as PNG, or damaged.
    """
    import cv2

    data, words = bytes(msg.data), msg.format
    kind = words.split(';')[0].strip()
    start = data.find(_PNG, 0, _QUANTISED.size + len(_PNG))
    if kind not in _DEPTH or start < 0:
        raise PictureError(
            f"its format is '{words}', expected 16UC1 or 32FC1 as PNG: set the camera driver's "
            'compression to PNG.'
        )
    _check_whole(data[start:], words)
    pixels = cv2.imdecode(np.frombuffer(data[start:], np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2:
        raise PictureError(f"its {len(data)} bytes of format '{words}' are damaged.")
    if kind == '16UC1':
        return distances(pixels, 1e-3)
    if start < _QUANTISED.size:
        raise PictureError(f"its format is '{words}' and it lacks how it was quantised.")
    _, a, b = _QUANTISED.unpack_from(data)
    with np.errstate(divide='ignore', invalid='ignore'):
        found = a / (pixels.astype(np.float32) - b)
    return np.where(pixels > 0, found, np.nan).astype(np.float32)


def distances(stored: NDArray[Any], unit: float) -> NDArray[np.float32]:
    """Return distances [m], nan where a camera writes 0 or infinity for want of one.

    Args:
        stored: As the camera wrote them (H, W).
        unit: Of these [m].
    """
    found = stored.astype(np.float32) * np.float32(unit)
    found[~(np.isfinite(found) & (found > 0.0))] = np.nan
    return found


def _check_whole(data: bytes, words: str) -> None:
    """Refuse what is no JPEG or PNG, or lacks its end: some decoders make the rest grey."""
    if data.startswith(_JPEG):
        whole = data.rfind(_JPEG_END) > data.rfind(_JPEG_SCAN)
    elif data.startswith(_PNG):
        whole = _PNG_END in data[-64:]
    else:
        raise PictureError(
            f"its {len(data)} bytes of format '{words}' begin with '{data[:4].hex(' ')}', "
            "expected JPEG or PNG: set the camera driver's compression to one of them."
        )
    if not whole:
        raise PictureError(
            f'its {len(data)} bytes are cut off before the end of the picture: look at the '
            "camera's driver and at the network."
        )
