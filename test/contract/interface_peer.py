"""The other end of test_interfaces: echoes ChunkInfo and serves RunInstruction."""

from __future__ import annotations

import time

import rclpy
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from vla_ros_msgs.action import RunInstruction
from vla_ros_msgs.msg import ChunkInfo

HEARD = 10.0  # [s] until the client is known


def main() -> None:
    """Serve until interrupted."""
    rclpy.init()
    node = rclpy.create_node('interface_peer')
    publisher = node.create_publisher(ChunkInfo, 'chunk_back', 1)
    node.create_subscription(ChunkInfo, 'chunk', publisher.publish, 1)

    def execute(goal):
        deadline = time.monotonic() + HEARD
        while not node.count_subscribers('run/_action/feedback') and time.monotonic() < deadline:
            time.sleep(0.01)  # feedback that nobody is known to listen to is lost
        for chunks in (1, 2, 3):
            goal.publish_feedback(RunInstruction.Feedback(chunks=chunks))
        goal.succeed()
        return RunInstruction.Result(
            code=RunInstruction.Result.SUCCEEDED, message=goal.request.instruction, chunks=3
        )

    server = ActionServer(node, RunInstruction, 'run', execute)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        server.destroy()


if __name__ == '__main__':
    main()
