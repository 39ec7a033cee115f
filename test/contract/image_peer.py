"""The other end of test_transport: publishes numbered 640x480 images at 30 Hz."""

from __future__ import annotations

import array
import sys
import time

import rclpy
from sensor_msgs.msg import Image

from vla_ros.bootstrap import prepare_ros
from vla_ros.graph import SENSOR
from vla_ros.ros.qos import profile

RATE = 30.0  # [Hz]


def main(frames: int) -> None:
    """Publish `frames` images once somebody listens, then end."""
    prepare_ros()
    rclpy.init()
    node = rclpy.create_node('image_peer')
    publisher = node.create_publisher(Image, 'image', profile(SENSOR))
    data = array.array('B', bytes(640 * 480 * 3))
    message = Image(height=480, width=640, step=640 * 3, encoding='rgb8', data=data)
    while publisher.get_subscription_count() == 0:
        time.sleep(0.01)
    due = time.monotonic() + 0.2
    for number in range(frames):
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1.0 / RATE
        message.header.frame_id = str(number)
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
    time.sleep(0.5)  # a sample in shared memory dies with its writer
    rclpy.shutdown()


if __name__ == '__main__':
    main(int(sys.argv[1]))
