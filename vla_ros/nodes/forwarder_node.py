"""The forwarder node: between the safety filter and a controller that takes single positions.

It passes each command on as it comes, and knows of each the stop that follows it. When the
commands fall silent while the arm moves, it plays that stop, and then the arm rests until
`vla/reset`. It does nothing else, so that it outlives what it guards against.
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
from vla_ros.errors import ConfigError, ShapeError
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.status import Hold

REPORT_RATE = 20.0  # [Hz]
REST = 3.0  # [s] until the arm must be at rest when the node is deactivated
PRIORITY = 30  # of SCHED_FIFO, above the filter's: it must run when that one does not


class ForwarderNode(Node):
    """The only publisher to a streaming controller."""

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('forwarder', **kwargs)
        self._robot_name = self.argument('robot')
        self._safety = self.argument('safety')
        self._lock = threading.Lock()  # around the core

    def configure(self) -> None:
        """Join the graph.

        Raises:
            ConfigError: The robot's driver takes trajectories, so there is nothing to forward.
        """
        self._robot = robot = load_robot(paths.find('robots', self._robot_name))
        self._period = period_of(paths.find('safety', self._safety))  # [s]
        if not robot.streams:
            raise ConfigError(
                f'driver.kind of {robot.name} is {robot.driver.kind}, which plays the stop of '
                'each command itself: start no forwarder.'
            )
        self._out = self.advertise(graph.controller_topics(robot)[0])
        (report,) = graph.hold_topics(robot)
        self._report_out = self.advertise(report)
        self._input = self.listen(graph.command_topics(robot)[0], self._on_command)
        self._reset = self.serve(graph.FORWARDER_RESET_SERVICE, self._on_reset)
        self._core: Forwarder | None = None  # None: not active

    def activate(self) -> None:
        """Wait for a stream."""
        period = self._period
        self._ended = False  # as it was reported last
        self._heard = False  # whether a controller listens
        self._ending = False  # by deactivation
        self._core = Forwarder(self._robot.dof, period, self._robot.driver.late)
        self._report_every = max(1, round(1.0 / (period * REPORT_RATE)))  # ticks
        self._pace = Pace(
            1.0 / period, self._tick, failed=self.die, name='forward', priority=PRIORITY
        )
        gc.collect()
        gc.freeze()  # what is built is never looked at again
        self._pace.start()

    def deactivate(self) -> None:
        """Play the stop of the last command, then go silent."""
        core = self._core
        assert core is not None, 'it was active'
        self._ending = True
        with self._lock:
            core.stop()
        deadline = time.monotonic() + REST
        while not core.at_rest and time.monotonic() < deadline:
            time.sleep(self._pace.period)
        self._pace.stop()
        self._core = None
        gc.unfreeze()

    def cleanup(self) -> None:
        """Release the topics."""
        self.destroy_publisher(self._out)
        self.destroy_publisher(self._report_out)
        self.destroy_subscription(self._input)
        self.destroy_service(self._reset)

    # --- the thread that stands in for a late command ---

    def _tick(self, dt: float) -> None:
        assert self._core is not None, 'it is active'
        with self._lock:
            place = self._core.fill(time.monotonic())
            if place is not None:
                self._out.publish(convert.positions_to_msg(place))
            hold = Hold(self._core.streams and self._heard, self._core.held)
        ended = hold.place is not None
        if ended is not self._ended or self._pace.ticks % self._report_every == 0:
            if ended and not self._ended and not self._ending:
                self.get_logger().warning('the stream has ended: the arm is stopped')
            self._ended = ended
            self._heard = self._out.get_subscription_count() > 0  # a controller is there
            names = self._robot.arm_joints
            self._report_out.publish(convert.hold_to_msg(self.now(), names, hold))

    # --- the executor thread ---

    def _on_command(self, msg: Any) -> None:
        core = self._core
        if core is None:
            return
        try:
            command = convert.trajectory_from_msg(msg, self._robot.arm_joints)
            with self._lock:
                place = core.accept(command, time.monotonic())
                if place is not None:
                    self._out.publish(convert.positions_to_msg(place))
        except ShapeError as error:
            self.get_logger().error(str(error), throttle_duration_sec=1.0)

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
