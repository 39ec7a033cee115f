"""What the forwarder says to the arm's controller: a stream of messages, or goals of an action."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.action import ActionClient
from rclpy.clock import Clock, ClockType
from rclpy.task import Future

from vla_ros import graph
from vla_ros.drivers.forwarder import Forwarder
from vla_ros.drivers.goals import EVERY, Goals
from vla_ros.drivers.velocity import VelocityLoop
from vla_ros.robot import RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.node import Node
from vla_ros.ros.qos import interface
from vla_ros.status import GoalCode
from vla_ros.types import JointState, Trajectory


class StreamOutlet:
    """One message after another, as the forwarder's core gives the places. Not thread-safe."""

    def __init__(self, node: Node, robot: RobotSpec) -> None:
        """Advertise the controller's topic."""
        driver, joints = robot.driver, robot.commanded_joints
        self._node, self._names = node, joints
        self._encode = convert.ENCODERS[driver.kind]
        self._out = node.advertise(graph.controller_topics(robot)[0])
        self._loop = (
            VelocityLoop(driver.gain, robot.limits('velocity')) if driver.arm.velocity else None
        )

    @property
    def heard(self) -> bool:
        """Whether a controller listens."""
        return self._out.get_subscription_count() > 0

    def measure(self, state: JointState) -> None:
        """Take the measured joints, the gripper's last."""
        if self._loop is not None:
            self._loop.measure(state.stamp, state.position[: len(self._names)])

    def accept(self, command: Trajectory, core: Forwarder, now: float) -> None:
        """Pass on a command that the core has accepted at monotonic time `now` [s]."""
        self._send(command.positions[0], core, now)

    def tick(self, core: Forwarder, now: float) -> None:
        """Pass on what the core gives in place of a command that is late."""
        place = core.fill(now)
        if place is not None:
            self._send(place, core, now)
        elif self._loop is not None and core.held is not None and core.at_rest:
            self._publish(core.held, np.zeros(len(self._names)))  # again and again: it must hear

    def flush(self) -> None:
        """Send what waits: nothing does."""

    def close(self) -> None:
        """Release the topic."""
        self._node.destroy_publisher(self._out)

    def _send(self, place: np.ndarray, core: Forwarder, now: float) -> None:
        velocity = core.velocity
        if self._loop is not None:
            self._loop.refer(core.due(now), place)
            velocity = self._loop.velocity(velocity)
            if core.held is not None and core.at_rest:
                velocity = np.zeros_like(velocity)
        self._publish(place, velocity)

    def _publish(self, place: np.ndarray, velocity: np.ndarray) -> None:
        out = convert.Outgoing(self._node.now(), self._names, place, velocity)
        self._out.publish(self._encode(out))


class GoalOutlet:
    """Goals of FollowJointTrajectory, each taking over from the one before.

    `tick` may run in a thread of its own; the rest belongs to the executor's.
    """

    def __init__(
        self, node: Node, robot: RobotSpec, period: float, failed: Callable[[str], None]
    ) -> None:
        """Join the controller's action.

        Args:
            node: The forwarder.
            robot: Its arm.
            period: From one command to the next [s].
            failed: Called with why the controller gave up.
        """
        arm = graph.controllers(robot)[0]
        self._names, self._failed, self._node = arm.joints, failed, node
        self._goals = Goals(period)
        self._client: Any = ActionClient(node, interface(arm.type), arm.input)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(EVERY, self.flush, clock=steady)
        self._newest = 0  # number of the last goal

    @property
    def heard(self) -> bool:
        """Whether a controller listens."""
        return bool(self._client.server_is_ready())

    def measure(self, state: JointState) -> None:
        """Take the measured joints: the controller has its own."""

    def accept(self, command: Trajectory, core: Forwarder, now: float) -> None:
        """Put a command that the core has accepted into the next goal."""
        self._goals.add(command)

    def tick(self, core: Forwarder, now: float) -> None:
        """Let the core's time pass; the stop is in the goal already."""
        core.fill(now)

    def flush(self) -> None:
        """Send the goal that is due."""
        goal = self._goals.take()
        if goal is None:
            return
        self._newest += 1
        sent = self._client.send_goal_async(convert.goal_to_msg(goal, self._names))
        sent.add_done_callback(partial(self._answered, self._newest))

    def close(self) -> None:
        """Leave the action."""
        self._node.destroy_timer(self._timer)
        self._client.destroy()

    def _answered(self, number: int, answer: Future) -> None:
        handle: Any = answer.result()
        if handle is None or not handle.accepted:
            self._give_up(f'the controller refused goal {number}')
            return
        handle.get_result_async().add_done_callback(partial(self._ended, number))

    def _ended(self, number: int, answer: Future) -> None:
        found: Any = answer.result()
        if found is None:
            return
        code, text = convert.goal_result_from_msg(found.result)
        preempted = code is GoalCode.INVALID_GOAL and number < self._newest
        if code is not GoalCode.SUCCESSFUL and not preempted:
            self._give_up(f'the controller ended goal {number} with {code.name}: {text}')

    def _give_up(self, reason: str) -> None:
        self._goals.forget()
        self._failed(reason)
