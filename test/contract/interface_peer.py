"""The other end of test_interfaces: echoes ChunkInfo and serves RunInstruction."""

from __future__ import annotations

import rclpy
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from vla_ros_msgs.action import RunInstruction
from vla_ros_msgs.msg import ChunkInfo


def main() -> None:
    """Serve until interrupted."""
    rclpy.init()
    node = rclpy.create_node('interface_peer')
    publisher = node.create_publisher(ChunkInfo, 'chunk_back', 1)
    node.create_subscription(ChunkInfo, 'chunk', publisher.publish, 1)

    def execute(goal):
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
