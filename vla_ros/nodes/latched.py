"""Reads a text that a topic keeps for late listeners, such as a robot's description."""

from __future__ import annotations

from time import monotonic

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from vla_ros.bootstrap import prepare_ros
from vla_ros.errors import NodeError
from vla_ros.graph import LATCHED
from vla_ros.ros.qos import interface, profile


def read_text(topic: str, timeout: float = 10.0) -> str:
    """Return the text of a std_msgs/String on a transient local topic.

    Args:
        topic: Its name, such as `robot_description`.
        timeout: For the first message [s].

    Raises:
        NodeError: There was none in time.
    """
    prepare_ros()
    context, heard = Context(), []
    rclpy.init(context=context)
    node = rclpy.create_node('vla_robot_import', context=context)
    executor = SingleThreadedExecutor(context=context)
    try:
        node.create_subscription(
            interface('std_msgs/msg/String'), topic,
            lambda message: heard.append(str(message.data)), profile(LATCHED),
        )  # fmt: skip
        executor.add_node(node)
        end = monotonic() + timeout
        while not heard and monotonic() < end:
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        context.shutdown()
    if not heard:
        raise NodeError(
            f"topic '{topic}' brought no text in {timeout:g} s: see that its publisher, such as "
            'robot_state_publisher, runs in this ROS_DOMAIN_ID, and that the name is whole.'
        )
    return heard[-1]
