"""The forwarder node: between the safety filter and controllers that cannot play its stops.

It passes each command on as it comes, in the kind of the controller, and knows of each the stop
that follows it. When the commands fall silent while the arm moves, it plays that stop, and then
the arm rests until `vla/reset`. It does nothing else, so that it outlives what it guards against.
"""

from __future__ import annotations

from functools import partial
import gc
from pathlib import Path
import threading
import time
from typing import Any

from vla_ros import config, graph, paths
from vla_ros.drivers.forwarder import Forwarder
from vla_ros.drivers.gripper import last_position
from vla_ros.errors import ConfigError, ShapeError
from vla_ros.nodes.gripper_outlet import gripper_outlet
from vla_ros.nodes.outlet import GoalOutlet, StreamOutlet
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.status import Hold
from vla_ros.types import JointState

REPORT_RATE = 20.0  # [Hz]
URGENT_RATE = 50.0  # [Hz] where the arm would run on without it
REST = 3.0  # [s] until the arm must be at rest when the node is deactivated
PRIORITY = 30  # of SCHED_FIFO, above the filter's: it must run when that one does not


class ForwarderNode(Node):
    """The only one that speaks to a controller which takes no trajectory that carries its stop."""

    hastened = True

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('forwarder', **kwargs)
        self._robot_name = self.argument('robot')
        self._safety = self.argument('safety')
        self._lock = threading.Lock()  # around the core and the arm's outlet

    def configure(self) -> None:
        """Join the graph.

        Raises:
            ConfigError: The robot's controllers take trajectories, so there is nothing to do.
            MissingPackageError: A controller's interface is not installed.
        """
        self._robot = robot = load_robot(paths.find('robots', self._robot_name))
        self._period = period_of(paths.find('safety', self._safety))  # [s]
        if not robot.forwarded:
            raise ConfigError(
                f'the controllers of {robot.name} play the stop of each command themselves: '
                'start no forwarder.'
            )
        driver = robot.driver
        self._core: Forwarder | None = None  # None: not active, or the arm is not its concern
        self._state: JointState | None = None  # newest measured joints
        self._outlet: StreamOutlet | GoalOutlet | None = None
        if '/action/' in driver.arm.type:
            self._outlet = GoalOutlet(self, robot, self._period, self._on_failure)
        elif driver.streams:
            self._outlet = StreamOutlet(self, robot)
        self._gripper = gripper_outlet(self, robot)
        self._reports = [self.advertise(topic) for topic in graph.hold_topics(robot)]
        takes = [self._on_command] if driver.streams else []
        takes += [self._on_gripper] if self._gripper is not None else []
        self._inputs = [
            *(self.listen(t, take) for t, take in zip(graph.forwarded_topics(robot), takes)),
            *(self.listen(topic, self._on_joints) for topic in graph.feedback_topics(robot)),
        ]
        self._reset = self.serve(graph.FORWARDER_RESET_SERVICE, self._on_reset)

    def activate(self) -> None:
        """Wait for a stream."""
        period, driver = self._period, self._robot.driver
        self._ended = False  # as it was reported last
        self._heard = False  # whether a controller listens
        self._ending = False  # by deactivation
        if self._outlet is not None:
            joints = len(self._robot.commanded_joints)
            self._core = Forwarder(joints, period, driver.late, self._robot.arm().carries)
        rate = URGENT_RATE if driver.arm.runs_on else REPORT_RATE
        self._report_every = max(1, round(1.0 / (period * rate)))  # ticks
        self._pace = Pace(
            1.0 / period, self._tick, failed=self.die, name='forward', priority=PRIORITY
        )
        gc.collect()
        gc.freeze()  # what is built is never looked at again
        self._pace.start()

    def deactivate(self) -> None:
        """Play the stop of the last command, then go silent."""
        core = self._core
        self._ending = True
        if core is not None and self._outlet is not None:
            with self._lock:
                core.stop()
                self._outlet.flush()
            deadline = time.monotonic() + REST
            while not core.at_rest and time.monotonic() < deadline:
                time.sleep(self._pace.period)
            time.sleep(2.0 * self._pace.period)  # the rest itself is said too
        self._pace.stop()
        self._core = None
        gc.unfreeze()

    def cleanup(self) -> None:
        """Release the topics and actions."""
        for outlet in (self._outlet, self._gripper):
            if outlet is not None:
                outlet.close()
        for report in self._reports:
            self.destroy_publisher(report)
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self.destroy_service(self._reset)

    # --- the thread that stands in for a late command ---

    def _tick(self, dt: float) -> None:
        if self._gripper is not None:
            self._gripper.tick(dt)
        core, outlet = self._core, self._outlet
        if core is None or outlet is None:
            return
        with self._lock:
            outlet.tick(core, time.monotonic())
            hold = Hold(core.streams and self._heard, core.held, core.reason)
        ended = hold.place is not None
        if ended is not self._ended or self._pace.ticks % self._report_every == 0:
            if ended and not self._ended and not self._ending:
                self.get_logger().warning(f'the arm is stopped: {hold.reason}')
            self._ended = ended
            self._heard = outlet.heard  # a controller is there
            report = convert.hold_to_msg(self.now(), self._robot.arm_joints, hold)
            self._reports[0].publish(report)

    # --- the executor thread ---

    def _on_command(self, msg: Any) -> None:
        core, outlet = self._core, self._outlet
        if core is None or outlet is None:
            return
        try:
            command = convert.trajectory_from_msg(msg, self._robot.commanded_joints)
            with self._lock:
                now = time.monotonic()
                if core.accept(command, now) is not None:
                    outlet.accept(command, core, now)
        except ShapeError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)

    def _on_gripper(self, msg: Any) -> None:
        try:
            command = convert.trajectory_from_msg(msg, (self._robot.gripper.joint,))
        except ShapeError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)
            return
        target = last_position(command.positions)
        if target is not None and self._gripper is not None:
            self._gripper.want(target)

    def _on_joints(self, msg: Any) -> None:
        try:
            state = convert.joint_state_from_msg(msg, self._robot.joint_names)
        except ShapeError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._state = state
        if self._outlet is not None:
            with self._lock:
                self._outlet.measure(state)

    def _on_failure(self, reason: str) -> None:
        """Hold the arm where it is: its controller gave up, and rests there."""
        core, state = self._core, self._state
        if core is None or state is None:
            return
        with self._lock:
            core.halt(state.position[: len(self._robot.commanded_joints)], reason)

    def _on_reset(self, request: Any) -> Any:
        if self._core is None:
            return convert.trigger_answer(False, 'the forwarder is not active.')
        with self._lock:
            return convert.trigger_answer(*self._core.reset(time.monotonic()))


def period_of(path: Path) -> float:
    """Return the control period of a safety file [s].

    It is read alone: the filter's own reader would bring its compiled core into this process.

    Raises:
        ConfigError: The file has none.
    """
    data = config.read_extended(path, partial(paths.find, 'safety'))
    period = data.get('period') if isinstance(data, dict) else None
    if not isinstance(period, float) or not period > 0.0:
        raise ConfigError(f'{path.name}: period is {period}, expected seconds, such as 0.005.')
    return period


def main() -> int:
    """Run the node until it is told to end."""
    return run(ForwarderNode, graph.SAFETY_NICE)


if __name__ == '__main__':
    raise SystemExit(main())
