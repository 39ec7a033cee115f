"""Pictures and camera models."""

from __future__ import annotations

from array import array
import math

import numpy as np
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vla_ros.errors import ShapeError, UnknownNameError
from vla_ros.robot import Camera
from vla_ros.ros.convert.basics import header, time_from_msg
from vla_ros.ros.convert.compressed import compressed_from_msg, compressed_to_msg
from vla_ros.types import Frame


def frame_to_msg(frame: Frame, frame_id: str, transport: str = 'raw') -> Image | CompressedImage:
    """Return a message of a picture: rgb8, or JPEG.

    Args:
        frame: The picture.
        frame_id: Frame of its camera.
        transport: A word of TRANSPORTS.
    """
    if transport == 'compressed':
        return compressed_to_msg(frame, frame_id)
    height, width, _ = frame.image.shape
    data = array('B')
    data.frombytes(np.ascontiguousarray(frame.image))  # type: ignore[arg-type]
    msg = Image(header=header(frame.stamp, frame_id), height=height, width=width)
    msg.encoding, msg.step = 'rgb8', 3 * width
    msg.data = data
    return msg


def frame_from_msg(msg: Image | CompressedImage) -> Frame:
    """Return a picture as RGB; an rgb8 message is not copied.

    Raises:
        UnknownNameError: The encoding is neither rgb8 nor bgr8.
        ShapeError: The data are not as long as height and step say.
        PictureError: A compressed picture cannot be read.
    """
    if isinstance(msg, CompressedImage):
        return compressed_from_msg(msg)
    if msg.encoding not in ('rgb8', 'bgr8'):
        raise UnknownNameError('image encoding', msg.encoding, ('rgb8', 'bgr8'))
    if msg.step < 3 * msg.width or len(msg.data) != msg.height * msg.step:
        raise ShapeError(
            f'the picture has {len(msg.data)} bytes with step {msg.step}, expected '
            f'{msg.height} rows of at least {3 * msg.width} bytes.'
        )
    rows = np.frombuffer(msg.data, np.uint8).reshape(msg.height, msg.step)
    image = rows[:, : 3 * msg.width].reshape(msg.height, msg.width, 3)
    if msg.encoding == 'bgr8':
        image = image[:, :, ::-1]
    return Frame(time_from_msg(msg.header.stamp), image)


def camera_info_to_msg(camera: Camera, stamp: float) -> CameraInfo:
    """Return the pinhole model of a camera without distortion: f = h / (2 tan(fovy / 2))."""
    focal = 0.5 * camera.height / math.tan(0.5 * camera.fovy)
    cx, cy = 0.5 * (camera.width - 1), 0.5 * (camera.height - 1)
    return CameraInfo(
        header=header(stamp, optical_frame(camera)),
        height=camera.height,
        width=camera.width,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[focal, 0.0, cx, 0.0, focal, cy, 0.0, 0.0, 1.0],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[focal, 0.0, cx, 0.0, 0.0, focal, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def optical_frame(camera: Camera) -> str:
    """Return the frame of a camera's pictures: z forward, x right, y down."""
    return f'{camera.name}_optical_frame'
