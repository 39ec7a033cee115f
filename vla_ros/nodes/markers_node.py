"""The markers node: what the safety filter sees and does, for RViz and Foxglove.

A process of its own, so that the control loop pays nothing for being watched; and while nobody
watches it listens to nothing and computes nothing.
"""

from __future__ import annotations

import time
from typing import Any

from rclpy.serialization import deserialize_message

from vla_ros import graph, paths
from vla_ros.errors import ShapeError, VlaError
from vla_ros.mark import Key
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.ros.qos import interface
from vla_ros.safety.config import load_safety
from vla_ros.safety.picture import Picture
from vla_ros.safety.sources import load_scene, Worlds
from vla_ros.status import ExecutionState, SafetyStatus
from vla_ros.types import JointState

RATE = 10.0  # [Hz] pictures while somebody watches
LOOK = 0.5  # [s] between two looks whether somebody does
LIFETIME = 1.0  # [s] after which a viewer forgets marks, should this process die
JOINT_PERIOD = 0.02  # [s] joint states that follow the last one read sooner are skipped


class MarkersNode(Node):
    """Draws the arm's capsules, what is near them, and what the safety filter does."""

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('markers', **kwargs)
        self._names = {kind: self.argument(kind) for kind in ('robot', 'safety', 'scene')}

    def configure(self) -> None:
        """Build the filter's geometry."""
        self._robot = load_robot(paths.find('robots', self._names['robot']))
        self._settings = load_safety(paths.find('safety', self._names['safety']))
        self._around = load_scene(paths.find('scenes', self._names['scene']))
        self._picture = Picture(self._robot, self._settings)
        self._joint_type = interface(graph.JOINT_STATES.type)
        self._out = self.advertise(graph.MARKERS)
        self._ends: list[Any] = []  # subscriptions; none while nobody watches

    def activate(self) -> None:
        """Wait for somebody who watches."""
        self._looking = self.create_timer(LOOK, self._on_look)

    def deactivate(self) -> None:
        """Stop drawing."""
        self.destroy_timer(self._looking)
        self._close()

    def cleanup(self) -> None:
        """Release the topic."""
        self.destroy_publisher(self._out)

    def _on_look(self) -> None:
        watched = self._out.get_subscription_count() > 0
        if watched and not self._ends:
            self._open()
        elif not watched:
            self._close()

    def _open(self) -> None:
        self._worlds = Worlds(self._robot, self._around, self._settings)
        self._joints: JointState | None = None
        self._status: SafetyStatus | None = None
        self._execution: ExecutionState | None = None
        self._read = 0.0  # [s] monotonic time at which a joint state was read
        self._drawn: set[Key] = set()
        self._ends = [
            self.listen(graph.JOINT_STATES, self._on_joints, raw=True),
            self.listen(graph.SAFETY_STATUS, self._on_status),
            self.listen(graph.EXECUTION_STATE, self._on_execution),
            self.listen(graph.OBSTACLES, self._on_obstacles),
        ]
        self._drawing = self.create_timer(1.0 / RATE, self._on_draw)

    def _close(self) -> None:
        if not self._ends:
            return
        self.destroy_timer(self._drawing)
        for subscription in self._ends:
            self.destroy_subscription(subscription)
        self._ends = []

    def _on_joints(self, raw: bytes) -> None:
        """Read few of many messages: the bytes are cheap, the fields are not."""
        if time.monotonic() - self._read < JOINT_PERIOD:
            return
        self._read = time.monotonic()
        msg = deserialize_message(raw, self._joint_type)
        try:
            self._joints = convert.joint_state_from_msg(msg, self._robot.joint_names)
        except ShapeError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._worlds.put_joints(self._joints.stamp, self._joints.position)

    def _on_status(self, msg: Any) -> None:
        self._status = convert.safety_status_from_msg(msg)

    def _on_execution(self, msg: Any) -> None:
        self._execution = convert.execution_state_from_msg(msg)

    def _on_obstacles(self, msg: Any) -> None:
        try:
            frame, obstacles = convert.obstacles_from_msg(msg)
        except VlaError as error:
            self._worlds.put_refusal(str(error))
            return
        self._worlds.put(convert.stamp_from_msg(msg), frame, obstacles, self.now())

    def _on_draw(self) -> None:
        now = self.now()
        marks = self._picture.draw(
            now, self._joints, self._worlds.world, self._status, self._execution
        )
        keys = {mark.key for mark in marks}
        gone = sorted(self._drawn - keys)
        self._drawn = keys
        frame = self._robot.base_frame
        self._out.publish(convert.marks_to_msg(marks, gone, now, frame, LIFETIME))


def main() -> int:
    """Run the node until it is told to end."""
    return run(MarkersNode, graph.MARKERS_NICE)


if __name__ == '__main__':
    raise SystemExit(main())
