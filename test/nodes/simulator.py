"""A process that says and hears on topics what Gazebo behind ros_gz_bridge, or Isaac Sim, does.

Types, QoS, frames, rates and `/clock` are theirs; the arm is perfect. `simulator/told` sets how
fast its time passes; 0 is a pause. What each does then differs, see `KINDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
import sys
import threading
import time
from typing import Any

import numpy as np

from vla_ros import graph, paths
from vla_ros.drivers.follower import TrajectoryFollower
from vla_ros.errors import ShapeError
from vla_ros.nodes.client import Client
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.priority import set_niceness
from vla_ros.ros.qos import interface, profile
from vla_ros.types import Frame, JointState

TOLD = graph.Topic('simulator/told', 'std_msgs/msg/String', graph.EVENTS)
TICKS = 250.0  # [Hz] of this process


@dataclass(frozen=True)
class Kind:
    """How a simulator speaks."""

    step: float  # [s] of simulated time between two clock messages
    joints_every: int  # steps between two joint states
    pictures_every: int  # steps between two pictures of each camera
    clock_in_pause: bool  # whether the standing time is published again and again
    effort: float  # of every joint; ros2_control writes nan where there is no such interface
    extra: tuple[str, ...]  # joints that its arm has beside those of the robot file


KINDS = {
    # Physics steps of 4 ms; joint_state_broadcaster; cameras of 31 Hz.
    'gazebo': Kind(0.004, 1, 8, True, math.nan, ('panda_finger_joint2',)),
    # One action graph, ticked by each frame, which all rests while it is paused.
    'isaac': Kind(1.0 / 60.0, 1, 2, False, 0.0, ('panda_finger_joint2',)),
}
RELIABLE = graph.Qos(reliable=True, depth=10)  # what both give unless they are told otherwise


class Simulator:
    """Time that can be slowed and stopped, an arm that follows, cameras that see noise."""

    def __init__(self, client: Client, robot: str, kind: str) -> None:
        self.kind = KINDS[kind]
        self.robot = load_robot(paths.find('robots', robot))
        self._lock = threading.Lock()
        self._rate = 1.0  # [s] of its time a second
        self._owed = 0.0  # [s] of its time that is not simulated yet
        self._steps = 0
        self._arm = TrajectoryFollower(np.array(self.robot.home))
        self._image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
        self._clock = self._out(client, graph.CLOCK)
        self._joints = self._out(client, graph.JOINT_STATES)
        self._cameras = [
            (c, *(self._out(client, t) for t in graph.camera_topics(self.robot, c.name)))
            for c in self.robot.cameras
        ]
        for topic in graph.controller_topics(self.robot)[:1]:
            client.listen(topic, self._on_command)
        client.listen(TOLD, self._on_told)

    @staticmethod
    def _out(client: Client, topic: graph.Topic) -> Any:
        return client.node.create_publisher(interface(topic.type), topic.name, profile(RELIABLE))

    @property
    def now(self) -> float:
        """Simulated time [s], which begins near 0 as theirs does."""
        return self._steps * self.kind.step

    def tick(self, dt: float) -> None:
        """Simulate what is due, and repeat the clock in a pause where it is usual."""
        with self._lock:
            self._owed = min(self._owed + self._rate * dt, 0.1)
            due = int(self._owed / self.kind.step + 1e-9)
            self._owed -= due * self.kind.step
            paused = self._rate == 0.0
        if paused and self.kind.clock_in_pause:
            self._clock.publish(convert.clock_to_msg(self.now))
        for _ in range(due):
            self._step()

    def _step(self) -> None:
        with self._lock:
            self._steps += 1
            place, speed = self._arm.sample(self.now)
        self._clock.publish(convert.clock_to_msg(self.now))
        if self._steps % self.kind.joints_every == 0:
            self._publish_joints(place, speed)
        if self._steps % self.kind.pictures_every == 0:
            for camera, images, infos in self._cameras:
                frame = Frame(self.now, self._image)
                infos.publish(convert.camera_info_to_msg(camera, self.now))
                images.publish(convert.frame_to_msg(frame, camera.optical_frame))

    def _publish_joints(self, place: Any, speed: Any) -> None:
        """Publish every joint of the arm, in an order that is not the robot file's."""
        opened, extra = self.robot.gripper.open, self.kind.extra
        fingers = np.full(1 + len(extra), opened)
        names = (*extra, self.robot.gripper.joint, *self.robot.arm_joints)
        state = JointState(
            self.now, np.append(fingers, place), np.append(np.zeros_like(fingers), speed)
        )
        message = convert.joint_state_to_msg(state, names)
        message.effort = [self.kind.effort] * len(names)
        self._joints.publish(message)

    def _on_command(self, message: Any) -> None:
        command = convert.trajectory_from_msg(message, self.robot.arm_joints)
        with self._lock:
            try:
                self._arm.accept(command, self.now)
            except ShapeError as error:  # a controller refuses it, and takes the next
                print(error, file=sys.stderr)

    def _on_told(self, message: Any) -> None:
        with self._lock:
            self._rate = float(convert.text_from_msg(message))


def main(robot: str, kind: str) -> None:
    """Run until SIGINT."""
    set_niceness(graph.SIM_NICE)
    failed: list[BaseException] = []
    with Client('simulator') as client:
        pace = Pace(TICKS, Simulator(client, robot, kind).tick, failed=failed.append, name='sim')
        pace.start()
        try:
            while not failed:
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass
        pace.stop()
    if failed:
        raise failed[0]


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2])
