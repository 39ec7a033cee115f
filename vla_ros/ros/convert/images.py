"""Pictures and camera models."""

from __future__ import annotations

from array import array
import math

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vla_ros.errors import PictureError
from vla_ros.messages import frame_from_msg
from vla_ros.robot import Camera
from vla_ros.ros.convert.basics import header
from vla_ros.types import Frame


def frame_to_msg(frame: Frame, frame_id: str, transport: str = 'raw') -> Image | CompressedImage:
    """Return a message of a picture: rgb8, or JPEG.

    Args:
        frame: The picture.
        frame_id: Frame of its camera.
        transport: A word of TRANSPORTS.
    """
    if transport == 'compressed':
        return _jpeg_to_msg(frame, frame_id)
    height, width, _ = frame.image.shape
    data = array('B')
    data.frombytes(np.ascontiguousarray(frame.image))  # type: ignore[arg-type]
    msg = Image(header=header(frame.stamp, frame_id), height=height, width=width)
    msg.encoding, msg.step = 'rgb8', 3 * width
    msg.data = data
    return msg


def _jpeg_to_msg(frame: Frame, frame_id: str) -> CompressedImage:
    """Return a JPEG message of a picture."""
    import cv2

    done, data = cv2.imencode('.jpg', frame.image[:, :, ::-1])
    if not done:
        raise PictureError(f'a picture of shape {frame.image.shape} cannot be written as JPEG.')
    msg = CompressedImage(header=header(frame.stamp, frame_id))
    msg.format = 'rgb8; jpeg compressed bgr8'
    msg.data = array('B', data.tobytes())
    return msg


def jpeg_of_msg(msg: Image) -> CompressedImage:
    """Return a JPEG message of a raw one, with its header.

    Raises:
        VlaError: It is no picture of colours or greys of 8 bits.
    """
    jpeg = _jpeg_to_msg(frame_from_msg(msg), '')
    jpeg.header = msg.header
    return jpeg


def camera_info_to_msg(camera: Camera, stamp: float) -> CameraInfo:
    """Return the pinhole model of a camera without distortion: f = h / (2 tan(fovy / 2))."""
    focal = 0.5 * camera.height / math.tan(0.5 * camera.fovy)
    cx, cy = 0.5 * (camera.width - 1), 0.5 * (camera.height - 1)
    return CameraInfo(
        header=header(stamp, camera.optical_frame),
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )
