"""Pictures in encodings that the distribution's cv_bridge knows: Bayer, YUV, 16 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_ros.errors import PictureError


def bridged(msg: Any) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) as RGB by cv_bridge, of the distribution where it is installed.

    PyPI's package of that name is of ROS 1 and does not do.

    Raises:
        PictureError: cv_bridge is not installed, or has no way from this encoding to RGB.
    """
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError as error:
        raise PictureError(
            f"its encoding '{msg.encoding}' needs cv_bridge, which cannot be loaded ({error}): "
            'install ros-$ROS_DISTRO-cv-bridge, or set the camera driver to rgb8 or bgr8.'
        ) from error
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(msg, 'rgb8'), np.uint8)
    except CvBridgeError as error:
        raise PictureError(
            f"its encoding '{msg.encoding}' cannot be read by cv_bridge ({error}): set the camera "
            'driver to rgb8 or bgr8.'
        ) from error
