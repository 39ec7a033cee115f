"""What the forwarder says to the gripper's controller: positions on a ramp, or goals."""

from __future__ import annotations

from functools import partial
import time
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from vla_ros import graph
from vla_ros.drivers.gripper import EVERY, GripperGoals, GripperRamp
from vla_ros.robot import RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.node import Node
from vla_ros.ros.qos import interface


class GripperStream:
    """Positions of a gripper that goes to its target at its own speed.

    `tick` may run in a thread of its own: it and `want` share one number.
    """

    def __init__(self, node: Node, robot: RobotSpec) -> None:
        """Advertise the controller's topic."""
        self._node, self._ramp = node, GripperRamp(robot.gripper)
        self._out = node.advertise(graph.controller_topics(robot)[-1])
        self._target: float | None = None  # [m]
        self._said = -np.inf  # [s] when something went out last

    def want(self, target: float) -> None:
        """Take a target [m]."""
        self._target = target

    def tick(self, dt: float) -> None:
        """Go on for `dt` [s]; a gripper that rests is told so now and then."""
        target, now = self._target, time.monotonic()
        if target is None:
            return
        place, speed = self._ramp.advance(target, dt)
        if speed or now - self._said > EVERY:
            self._said = now
            self._out.publish(convert.positions_to_msg(np.array([place])))

    def close(self) -> None:
        """Release the topic."""
        self._node.destroy_publisher(self._out)


class GripperAction:
    """Goals of GripperCommand; everything but `tick` belongs to the executor's thread."""

    def __init__(self, node: Node, robot: RobotSpec) -> None:
        """Join the controller's action."""
        hand = graph.controllers(robot)[-1]
        self._node, self._effort = node, robot.gripper.effort
        self._goals = GripperGoals()
        self._client: Any = ActionClient(node, interface(hand.type), hand.input)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(0.5 * EVERY, self._send, clock=steady)

    def want(self, target: float) -> None:
        """Take a target [m]."""
        self._goals.want(target)

    def tick(self, dt: float) -> None:
        """Do nothing: goals have a timer of their own."""

    def close(self) -> None:
        """Leave the action."""
        self._node.destroy_timer(self._timer)
        self._client.destroy()

    def _send(self) -> None:
        if not self._client.server_is_ready():
            return
        goal = self._goals.take(time.monotonic())
        if goal is not None:
            sent = self._client.send_goal_async(convert.gripper_goal(goal, self._effort))
            sent.add_done_callback(partial(self._answered, goal))

    def _answered(self, goal: float, answer: Future) -> None:
        handle: Any = answer.result()
        if handle is None or not handle.accepted:
            self._goals.failed(time.monotonic())
            self._node.get_logger().warning(f'the gripper refused {goal} m: it is asked again')


def gripper_outlet(node: Node, robot: RobotSpec) -> GripperStream | GripperAction | None:
    """Return what speaks to the gripper's controller, None where the safety filter does."""
    hand = robot.arm().hand
    if hand is None or not hand.forwarded:
        return None
    return (GripperAction if '/action/' in hand.type else GripperStream)(node, robot)
