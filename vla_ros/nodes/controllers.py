"""The controllers of a simulated arm on their topics and actions, as ROS knows them."""

from __future__ import annotations

from functools import partial
import math
import threading
from typing import Any

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.clock import Clock, ClockType

from vla_ros import graph
from vla_ros.drivers.gripper import last_position
from vla_ros.errors import ShapeError, VlaError
from vla_ros.nodes.sim_arm import SimArm, TOLERANCES
from vla_ros.ros import convert
from vla_ros.ros.node import Node
from vla_ros.ros.qos import interface
from vla_ros.status import GoalCode

MONITOR = 0.05  # [s] from one look at a goal to the next: action_monitor_rate 20


class Controllers:
    """Hears commands of whatever kind the robot file names, and gives them to the simulation.

    As real controllers do, they drop what they cannot use, and say so.
    """

    def __init__(self, node: Node, sim: SimArm, lock: threading.Lock) -> None:
        """Listen.

        Args:
            node: Of the simulator.
            sim: The arm.
            lock: Around the simulated cell.
        """
        self.dropped = 0  # commands that a controller could not use
        self._node, self._sim, self._lock = node, sim, lock
        robot = sim.robot
        arm, *hand = graph.controllers(robot)
        topics = {topic.name: topic for topic in graph.controller_topics(robot)}
        self._servers: list[Server] = []
        takes = ARMS[arm.kind]
        if arm.input in topics:
            self._subscriptions = [node.listen(topics[arm.input], partial(self._take, takes))]
        else:
            self._subscriptions = []
            self._servers.append(ArmServer(self, arm.input, arm.type))
        for one in hand:
            if one.input in topics:
                take = partial(self._take, HANDS[one.kind])
                self._subscriptions.append(node.listen(topics[one.input], take))
            else:
                self._servers.append(GripperServer(self, one.input, one.type))

    def close(self) -> None:
        """Stop listening."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        for server in self._servers:
            server.close()

    def drop(self, error: VlaError) -> None:
        """Note a command that cannot be used."""
        self.dropped += 1
        self._node.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _take(self, take: Any, msg: Any) -> None:
        try:
            with self._lock:
                take(self._sim, msg, self._node.now())
        except VlaError as error:
            self.drop(error)


def _trajectory(sim: SimArm, msg: Any, now: float) -> None:
    sim.command_arm(convert.trajectory_from_msg(msg, sim.robot.commanded_joints), now)


def _values(sim: SimArm, msg: Any, now: float) -> None:
    sim.stream_arm(convert.positions_from_msg(msg), now)


def _targets(sim: SimArm, msg: Any, now: float) -> None:
    sim.stream_arm(convert.targets_from_msg(msg, sim.robot.commanded_joints)[0], now)


def _jog(sim: SimArm, msg: Any, now: float) -> None:
    stamp, velocity = convert.jog_from_msg(msg, sim.robot.arm_joints)
    sim.stream_arm(velocity, now, stamp)


def _grip_trajectory(sim: SimArm, msg: Any, now: float) -> None:
    command = convert.trajectory_from_msg(msg, (sim.robot.gripper.joint,))
    target = last_position(command.positions)
    if target is not None:
        sim.command_gripper(target, now)


def _grip_value(sim: SimArm, msg: Any, now: float) -> None:
    values = convert.positions_from_msg(msg)
    if values.shape != (1,):
        raise ShapeError(f'the gripper got {len(values)} values, expected 1.')
    sim.command_gripper(float(values[0]), now)


ARMS: dict[str, Any] = {  # what is done with a message, by the kind of the robot file
    'joint_trajectory_controller': _trajectory,
    'follow_joint_trajectory': None,  # an action: ArmServer
    'forward_position_controller': _values,
    'forward_velocity_controller': _values,
    'isaac': _targets,
    'moveit_servo': _jog,
}
HANDS: dict[str, Any] = {
    'joint_trajectory_controller': _grip_trajectory,
    'forward_position_controller': _grip_value,
    'gripper_command': None,  # an action: GripperServer
}


class Server:
    """An action of a controller: one goal at a time, a newer one preempts it."""

    def __init__(self, owner: Controllers, name: str, kind: str) -> None:
        """Offer the action."""
        self._owner, self._node = owner, owner._node
        self._sim, self._lock = owner._sim, owner._lock
        self._goal: ServerGoalHandle | None = None  # that runs
        self._results: dict[int, tuple[str, Any]] = {}  # of goals that are over, by identity
        self._action = ActionServer(
            self._node, interface(kind), name, self._finish,
            goal_callback=self._wanted,
            handle_accepted_callback=self._accepted,
            cancel_callback=self._canceled,
        )  # fmt: skip
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(MONITOR, self._look, clock=steady)

    def close(self) -> None:
        """Withdraw the action."""
        self._node.destroy_timer(self._timer)
        self._action.destroy()

    def wanted(self, goal: Any) -> None:
        """Raise VlaError if the controller refuses a goal."""

    def begin(self, goal: Any) -> None:
        """Follow a goal; the lock is held."""

    def judged(self) -> tuple[str, Any] | None:
        """Return how the goal that runs has ended; the lock is held."""

    def preempted(self) -> Any:
        """Return the result of a goal that a newer one took over from; the lock is held."""

    def halt(self) -> None:
        """Hold where it is; the lock is held."""

    def _wanted(self, goal: Any) -> GoalResponse:
        try:
            with self._lock:
                self.wanted(goal)
        except VlaError as error:
            self._owner.drop(error)
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _accepted(self, handle: ServerGoalHandle) -> None:
        with self._lock:
            before, self._goal = self._goal, handle
            result = self.preempted()
            try:
                self.begin(handle.request)
            except VlaError as error:  # its time ran out since it was looked at
                self._owner.drop(error)
        if before is not None:
            self._end(before, 'abort', result)

    def _canceled(self, handle: ServerGoalHandle) -> CancelResponse:
        if handle is self._goal:
            with self._lock:
                self.halt()
                result = self.preempted()
            self._goal = None
            self._end(handle, 'canceled', result)
        return CancelResponse.ACCEPT

    def _look(self) -> None:
        handle = self._goal
        if handle is None:
            return
        with self._lock:
            ended = self.judged()
        if ended is not None:
            self._goal = None
            self._end(handle, *ended)

    def _end(self, handle: ServerGoalHandle, how: str, result: Any) -> None:
        self._results[id(handle)] = how, result
        handle.execute()  # called when the end is known: nothing waits meanwhile

    def _finish(self, handle: ServerGoalHandle) -> Any:
        how, result = self._results.pop(id(handle))
        getattr(handle, how)()
        return result


class ArmServer(Server):
    """FollowJointTrajectory of a joint trajectory controller."""

    def wanted(self, goal: Any) -> None:
        """Refuse other joints, sizes and times, as the topic does."""
        self._sim.check_arm(self._trajectory(goal), self._node.now())

    def begin(self, goal: Any) -> None:
        """Follow the trajectory, within the goal's tolerances."""
        tolerances = TOLERANCES.asked(*convert.tolerances_from_msg(goal))
        self._sim.command_arm(self._trajectory(goal), self._node.now(), tolerances)

    def judged(self) -> tuple[str, Any] | None:
        """Return the error code once there is one."""
        code = self._sim.judge_arm(self._node.now())
        if code is None:
            return None
        how = 'succeed' if code is GoalCode.SUCCESSFUL else 'abort'
        return how, convert.goal_result(int(code), code.name.lower().replace('_', ' '))

    def preempted(self) -> Any:
        """Return what a joint trajectory controller says then."""
        return convert.goal_result(GoalCode.INVALID_GOAL, 'preempted by a newer goal')

    def halt(self) -> None:
        """Hold where the arm is."""
        self._sim.hold_arm()

    def _trajectory(self, goal: Any) -> Any:
        return convert.trajectory_from_msg(goal.trajectory, self._sim.robot.commanded_joints)


class GripperServer(Server):
    """GripperCommand of a gripper action controller."""

    def wanted(self, goal: Any) -> None:
        """Refuse what is no place."""
        position, _ = convert.gripper_goal_from_msg(goal)
        if not math.isfinite(position):
            raise ShapeError('the gripper goal is not finite.')

    def begin(self, goal: Any) -> None:
        """Go to the place."""
        self._sim.command_gripper(convert.gripper_goal_from_msg(goal)[0], self._node.now())

    def judged(self) -> tuple[str, Any] | None:
        """Return how the motion ended: what it holds stalls it, and that is no failure."""
        word, position = self._sim.judge_gripper(self._node.now())
        if not word:
            return None
        effort = self._sim.robot.gripper.effort if word == 'stalled' else 0.0
        result = convert.gripper_result(position, effort, word == 'stalled', word == 'reached')
        return 'succeed' if word == 'reached' else 'abort', result

    def preempted(self) -> Any:
        """Return where the gripper is."""
        position = self._sim.judge_gripper(self._node.now())[1]
        return convert.gripper_result(position, 0.0, False, False)

    def halt(self) -> None:
        """Hold where the gripper is."""
        now = self._node.now()
        self._sim.command_gripper(self._sim.judge_gripper(now)[1], now)
