"""A process in the place of arm, controllers and clock: it follows commands, and lies when told.

`faults/told` names what it does wrong; `faults/truth` carries where the arm really is, whatever
the joint states say, with velocities taken from positions. Its efforts are 1 while the arm has
been late itself: hardware is not, but a process on a busy machine is, and then it must catch up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import sys
import threading
import time
from typing import Any

import numpy as np

from vla_ros import graph, paths
from vla_ros.drivers.follower import PositionFollower, TrajectoryFollower
from vla_ros.nodes.client import Client
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.priority import set_niceness
from vla_ros.ros.qos import interface, profile
from vla_ros.types import JointState, Trajectory

TOLD = graph.Topic('faults/told', 'std_msgs/msg/String', graph.EVENTS)
TRUTH = graph.Topic('faults/truth', 'sensor_msgs/msg/JointState', graph.EVENTS)
WINDOW = 10  # joint states over which the true speed is taken: 50 ms
OLDEST = 0.1  # [s] age of a command that is believed; else the clocks differ and it is new
PROMPT = 0.03  # [s] age of a command, or time between two ticks, that is not late
LEAD = 0.01  # [s] from the first point of a command to the instant at which it was made
CATCHES_UP = 0.5  # [s] for which it is late after one that was
Messages = list[Any]


class Clock:
    """ROS time that can be stepped, paused and slowed, and the arm's own time that only pauses."""

    def __init__(self) -> None:
        self.rate = 1.0  # [s] of ROS time a second; 0 is a pause
        self.own = 0.0  # [s] for which the arm has lived
        self._offset = time.time()  # [s] from there to ROS time
        self._last = time.monotonic()

    def advance(self) -> None:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        self.own += passed * self.rate

    def step(self, seconds: float) -> None:
        self._offset += seconds

    @property
    def ros(self) -> float:
        return self.own + self._offset


class Arm:
    """A perfect arm behind the kind of controller that its robot file names."""

    def __init__(self, client: Client, robot: str, simulated: bool) -> None:
        """Play the clock too, if `simulated`; else ROS time is the wall clock."""
        self.robot = load_robot(paths.find('robots', robot))
        self._simulated = simulated
        self._clock = Clock()
        self._lock = threading.Lock()
        kind = PositionFollower if self.robot.driver.streams else TrajectoryFollower
        self._follower: Any = kind(np.array(self.robot.home))
        self._way = deque([(0.0, np.array(self.robot.home))], maxlen=WINDOW)  # [s], [rad]
        self._jammed = False
        self._late_until = 0.0  # [s] of the arm's own time
        self._lie: Callable[[Any], Messages] = LIES['honest']
        self._out = {
            topic: client.node.create_publisher(
                interface(topic.type), topic.name, profile(topic.qos)
            )
            for topic in (graph.JOINT_STATES, graph.CLOCK, TRUTH)
        }
        client.listen(graph.controller_topics(self.robot)[0], self._on_command)
        client.listen(TOLD, self._on_told)

    def tick(self, dt: float) -> None:
        with self._lock:
            self._clock.advance()
            own = self._clock.own
            if dt > PROMPT:
                self._late_until = own + CATCHES_UP
            late = own < self._late_until
            place = self._follower.sample(own)[0]
            ros = self._clock.ros if self._simulated else time.time()
            running = self._clock.rate > 0.0
        at, before = self._way[0]
        speed = (place - before) / (own - at) if running and own > at else np.zeros_like(place)
        if running:
            self._way.append((own, place))
        joints = np.append(place, self.robot.gripper.open)
        truth = JointState(ros, joints, np.append(speed, 0.0))
        message = convert.joint_state_to_msg(truth, self.robot.joint_names)
        message.effort = [float(late)] * len(joints)
        self._out[TRUTH].publish(message)
        if not running:  # a paused simulator
            return
        if self._simulated:
            self._out[graph.CLOCK].publish(convert.clock_to_msg(ros))
        for message in self._lie(convert.joint_state_to_msg(truth, self.robot.joint_names)):
            self._out[graph.JOINT_STATES].publish(message)

    def _on_command(self, message: Any) -> None:
        if self.robot.driver.streams:
            with self._lock:
                if not self._jammed:
                    self._follower.accept(convert.positions_from_msg(message))
            return
        command = convert.trajectory_from_msg(message, self.robot.arm_joints)
        with self._lock:
            if self._jammed:
                return
            age = (self._clock.ros if self._simulated else time.time()) - command.stamp
            own = self._clock.own
            if age > PROMPT + LEAD:
                self._late_until = own + CATCHES_UP
            stamp = own - (age if 0.0 <= age <= OLDEST else LEAD)
            self._follower.accept(
                Trajectory(stamp, command.times, command.positions, command.velocities), own
            )

    def _on_told(self, message: Any) -> None:
        what, _, value = convert.text_from_msg(message).partition(' ')
        with self._lock:
            if what == 'joints':
                self._lie = LIES[value]
            elif what == 'controller':
                self._jammed = value == 'jam'
                self._follower.hold(self._follower.sample(self._clock.own)[0])
            elif what == 'place':
                self._follower.hold(np.array([float(number) for number in value.split()]))
                self._way.clear()
                self._way.append((self._clock.own, self._follower.sample(self._clock.own)[0]))
            elif what == 'rate':
                self._clock.advance()
                self._clock.rate = float(value)
            elif what == 'step':
                self._clock.step(float(value))


def _changed(change: Callable[[Any], object]) -> Callable[[Any], Messages]:
    def lie(message: Any) -> Messages:
        change(message)
        return [message]

    return lie


def _set(field: str, index: int, value: float) -> Callable[[Any], Messages]:
    return _changed(lambda m: getattr(m, field).__setitem__(index, value))


def _shift(seconds: int) -> Callable[[Any], Messages]:
    def shift(message: Any) -> None:
        message.header.stamp.sec += seconds

    return _changed(shift)


def _rename(change: Callable[[list[str]], list[str]]) -> Callable[[Any], Messages]:
    def rename(message: Any) -> None:
        message.name = change(list(message.name))

    return _changed(rename)


def _reverse(message: Any) -> None:
    for field in ('name', 'position', 'velocity'):
        setattr(message, field, getattr(message, field)[::-1])


def _shorten(message: Any) -> None:
    message.position.pop()


def _lack(message: Any) -> None:
    for field in ('name', 'position', 'velocity'):
        setattr(message, field, getattr(message, field)[1:])


def _extend(message: Any) -> None:
    message.name = ['another_joint', *message.name]
    for field in ('position', 'velocity'):
        getattr(message, field).insert(0, 7.0)


def _pairs(take: Callable[[Any, Any], Messages]) -> Callable[[Any], Messages]:
    held: Messages = []

    def lie(message: Any) -> Messages:
        held.append(message)
        return take(*(held.pop(0), held.pop(0))) if len(held) == 2 else []

    return lie


LIES: dict[str, Callable[[Any], Messages]] = {
    'honest': lambda m: [m],
    'nan': _set('position', 2, float('nan')),
    'inf': _set('velocity', 4, float('inf')),
    'renamed': _rename(lambda names: ['another_joint', *names[1:]]),
    'missing': _changed(_lack),
    'short': _changed(_shorten),
    'reversed': _changed(_reverse),
    'extended': _changed(_extend),
    'old': _shift(-3600),
    'future': _shift(3600),
    'mute': lambda m: [],
    'twice': lambda m: [m, m],
    'halved': _pairs(lambda first, second: [second]),
    'swapped': _pairs(lambda first, second: [second, first]),
}


def main(robot: str, simulated: bool) -> None:
    """Run until SIGINT."""
    set_niceness(graph.SIM_NICE)
    failed: list[BaseException] = []
    with Client('arm') as client:
        arm = Arm(client, robot, simulated)
        pace = Pace(graph.JOINT_STATE_RATE, arm.tick, failed=failed.append, name='arm')
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
    main(sys.argv[1], sys.argv[2] == 'simulated')
