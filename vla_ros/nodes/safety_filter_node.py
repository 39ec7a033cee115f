"""The safety filter node: nothing else talks to the arm's controllers.

The control loop runs in a thread of its own that sleeps to absolute deadlines; callbacks run
beside it and only put values where the next tick finds them. Every command carries the stop
that follows it, so this process may die at any time and the arm still comes to rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import gc
import sys
import threading
import time
from typing import Any

import numpy as np
from rclpy.publisher import Publisher

from vla_ros import graph, paths
from vla_ros.errors import JointNamesError, ShapeError, VlaError
from vla_ros.nodes.arm_sender import ArmSender
from vla_ros.nodes.control import Control
from vla_ros.nodes.driver_stop import DriverStop
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.node import Node, run
from vla_ros.ros.parameters import declare, declare_number, on_change
from vla_ros.safety.config import load_safety, MODES, SafetyConfig, SETTINGS
from vla_ros.safety.result import Level, SafetyResult
from vla_ros.safety.sources import load_scene, Worlds
from vla_ros.status import SafetyStatus
from vla_ros.types import JointCommand, Trajectory

GRIPPER_RATE = 10.0  # [Hz] at which the gripper's goal is repeated
DIAGNOSTICS_PERIOD = 1.0  # [s]
NEAREST = 3  # pairs of bodies whose distance a status tells
REST = 3.0  # [s] until the arm must be at rest when the node is deactivated
PRIORITY = 20  # of SCHED_FIFO, where the process may ask for it
PREFIX = 'safety.'  # of the parameters that are fields of SafetyConfig
SLOWEST = 0.01  # smallest speed scale
DRIVER = 2.0  # [s] for the driver's stop service to appear and to answer
SWITCH = 0.0005  # [s] how long another thread may keep the interpreter


class SafetyFilterNode(Node):
    """Lets trajectories through as far as they are safe, at the rate of the safety file."""

    hastened = True

    def __init__(self, **kwargs: Any) -> None:
        """Declare the parameters."""
        super().__init__('safety_filter', **kwargs)
        self._robot_name = self.argument('robot')
        self._safety = self.argument('safety')
        self._scene = self.argument('scene')
        self._dry_run = self.argument('dry_run')
        if self.argument('preflight'):  # the preflight node starts it
            self.autostart = False
        self._active = False

    def configure(self) -> None:
        """Build the filter and compile its core."""
        self._robot = robot = load_robot(paths.find('robots', self._robot_name))
        self._config = self._declare(load_safety(paths.find('safety', self._safety)))
        scene = load_scene(paths.find('scenes', self._scene))
        self._worlds = Worlds(robot, scene, self._config)
        self._control = Control(robot, self._config, self._dry_run)
        self._control.speed_scale = self._declare_speed_scale()
        self._forget_changes = on_change(self, self._on_change)
        self._control.put_world(self._worlds.world)
        self._would_be = convert.CommandWriter(robot.joint_names, slice(None))
        self._would_be_out = self.advertise(graph.DRY_RUN_COMMAND)
        self._arms: list[ArmSender] = []
        self._last_resort: Publisher | None = None
        if not self._dry_run:  # else not even `ros2 topic info` shows a publisher
            self._arms = [ArmSender(self, robot, arm) for arm in robot.arms]
            resort = (self.advertise(t) for t in graph.last_resort_topics(robot))
            self._last_resort = next(resort, None)
        self._execution_out = self.advertise(graph.EXECUTION_STATE)
        self._status_out = self.advertise(graph.SAFETY_STATUS)
        self._diagnostics_out = self.advertise(graph.DIAGNOSTICS)
        self._ends = [
            self.listen(graph.JOINT_STATES, self._on_joints),
            self.listen(graph.TRAJECTORY, self._on_trajectory),
            self.listen(graph.OVERRIDE, self._on_override),
            self.listen(graph.OBSTACLES, self._on_obstacles),
            self.listen(graph.ESTOP, self._on_estop),
            self.listen(graph.ESTOP.volatile, self._on_estop),
            *(self.listen(topic, self._on_enable) for topic in graph.enable_topics(robot)),
            *(self.listen(topic, self._on_hold) for topic in graph.hold_topics(robot)),
            self.serve(graph.RESET_SERVICE, self._on_reset),
        ]
        self._forwarder = self.ask(graph.FORWARDER_RESET_SERVICE) if robot.streams else None
        self._drivers = [self.ask(service) for service in graph.stop_services(robot)]
        stoppable = self._drivers and not self._dry_run
        self._driver_stop = DriverStop(self._stop_driver if stoppable else None)

    def activate(self) -> None:
        """Start the control loop; the arm holds until a trajectory comes."""
        self._control.start()
        self._sent: dict[str, Any] = {}
        for arm in self._arms:
            arm.begin(self._config.period)
        self._counts = dict.fromkeys(Level, 0)
        self._refusals = self._control.refusals
        rate = 1.0 / self._config.period
        # Ticks from one message to the next.
        self._execution_every = max(1, round(rate / graph.EXECUTION_RATE))
        self._status_every = max(1, round(rate / graph.STATUS_RATE))
        self._gripper_every = max(1, round(rate / GRIPPER_RATE))
        self._pace = Pace(rate, self._tick, failed=self.die, name='control', priority=PRIORITY)
        self._timer = self.create_timer(DIAGNOSTICS_PERIOD, self._on_diagnostics)
        sys.setswitchinterval(SWITCH)
        gc.collect()
        gc.freeze()
        gc.disable()  # no pause in the loop; _on_diagnostics collects what is young
        self._pace.start()
        self._active = True

    def deactivate(self) -> None:
        """Brake, wait for rest, stop publishing."""
        self._control.put_fault('deactivated', '')
        deadline = time.monotonic() + REST
        time.sleep(2.0 * self._pace.period)
        while not self._control.at_rest and time.monotonic() < deadline:
            time.sleep(self._pace.period)
        self._pace.stop()
        self._active = False
        self.destroy_timer(self._timer)
        gc.enable()
        gc.unfreeze()

    def cleanup(self) -> None:
        """Release the topics."""
        self._forget_changes()
        for publisher in (
            self._would_be_out,
            self._last_resort,
            self._execution_out,
            self._status_out,
            self._diagnostics_out,
        ):
            if publisher is not None:
                self.destroy_publisher(publisher)
        for arm in self._arms:
            arm.close()
        *subscriptions, service = self._ends
        for subscription in subscriptions:
            self.destroy_subscription(subscription)
        self.destroy_service(service)
        for client in (*self._drivers, self._forwarder):
            if client is not None:
                self.destroy_client(client)

    def _declare(self, config: SafetyConfig) -> SafetyConfig:
        """Return the settings with what the parameters `safety.*` say otherwise."""
        said = {}
        for name, setting in SETTINGS.items():
            unit = f' [{setting.unit}]' if setting.unit else ''
            said[name] = declare_number(
                self,
                f'{PREFIX}{name}',
                getattr(config, name),
                (setting.low, setting.high),
                f'{setting.meaning}{unit}',
                live=setting.live,
            )
        mode = declare(self, f'{PREFIX}mode', config.mode, f'One of {", ".join(MODES)}.')
        return replace(config, mode=mode, **said)  # type: ignore[arg-type]

    def _declare_speed_scale(self) -> float:
        argument = graph.ARGUMENTS['speed_scale']
        default, bounds = float(argument.default), (SLOWEST, 1.0)
        return declare_number(self, argument.name, default, bounds, argument.description)

    # --- the control thread ---

    def _tick(self, dt: float) -> None:
        now = self.now()
        began = time.perf_counter()
        result = self._control.tick(now, dt)
        spent = time.perf_counter() - began
        if result.command is not None and not self._control.silent:
            self._send(result.command)
        if self._last_resort is not None and self._control.alone:
            self._last_resort.publish(convert.positions_to_msg(np.zeros(self._robot.dof)))
        driver = self._driver_stop.judge(result.level)
        ticks = self._pace.ticks
        self._counts[result.level] += 1
        if ticks % self._execution_every == 0:
            state = self._control.execution_state(now, result)
            self._execution_out.publish(convert.execution_state_to_msg(state))
        # The step from S0 to S1 and back is no event; the periodic report shows it.
        rung = (max(result.level, Level.S1_FILTERED), result.latched, result.faults, driver)
        if rung != self._sent.get('rung') or ticks % self._status_every == 0:
            self._sent['rung'] = rung
            status = self._status(now, result, spent, driver)
            self._status_out.publish(convert.safety_status_to_msg(status))
            self._sent['status'] = status

    def _send(self, command: JointCommand) -> None:
        if self._dry_run:
            self._would_be_out.publish(self._would_be.write(command))
            return
        again = self._pace.ticks % self._gripper_every == 0
        for arm in self._arms:
            arm.send(command, again)

    def _status(self, now: float, result: SafetyResult, spent: float, driver: str) -> SafetyStatus:
        counts = self._counts
        known = np.isfinite(result.min_barrier)
        nearest = self._control.nearest(NEAREST) if known else []
        return SafetyStatus(
            stamp=now,
            level=int(result.level),
            reason=result.reason,
            message=f'{result.message}; {driver}' if driver else result.message,
            latched=result.latched,
            mode=self._control.config.mode,
            intervention='' if result.intervention == 'none' else result.intervention,
            source=self._control.source,
            dry_run=self._dry_run,
            speed_scale=self._control.speed_scale,
            active_constraints=result.active_constraints,
            min_barrier=result.min_barrier,
            min_barrier_pair=result.min_barrier_pair,
            nearest_pairs=tuple(near.name for near in nearest),
            nearest_distances=np.array([near.distance for near in nearest]),
            nearest_margins=np.array([near.margin for near in nearest]),
            slack=result.slack,
            nominal_velocity=np.append(result.nominal_velocity, 0.0),  # the gripper's
            filtered_velocity=np.append(result.filtered_velocity, 0.0),
            cycle_time=spent,
            ticks=self._pace.ticks,
            missed_ticks=self._pace.missed,
            filtered_ticks=counts[Level.S1_FILTERED],
            braked_ticks=sum(n for level, n in counts.items() if level > Level.S1_FILTERED),
            longest_gap=self._pace.longest_gap,
        )

    # --- the executor thread ---

    def _on_joints(self, msg: Any) -> None:
        try:
            state = convert.joint_state_from_msg(msg, self._robot.joint_names)
            self._control.put_state(state)
            self._worlds.put_joints(state.stamp, state.position)
        except ShapeError as error:
            named = isinstance(error, JointNamesError)
            self._control.put_fault('joint_names' if named else 'joint_state_shape', str(error))
            self.get_logger().error(str(error), throttle_duration_sec=5.0)

    def _on_trajectory(self, msg: Any) -> None:
        self._control.put_trajectory(self._read(msg))

    def _on_override(self, msg: Any) -> None:
        self._control.put_override(self._read(msg))

    def _read(self, msg: Any) -> Trajectory | VlaError:
        try:
            return convert.trajectory_from_msg(msg, self._robot.joint_names)
        except VlaError as error:
            return error

    def _on_obstacles(self, msg: Any) -> None:
        try:
            frame, obstacles = convert.obstacles_from_msg(msg)
            reason = self._worlds.put(convert.stamp_from_msg(msg), frame, obstacles, self.now())
        except VlaError as error:
            reason = str(error)
            self._worlds.put_refusal(reason)
        self._control.put_world(self._worlds.world)
        if reason:
            self.get_logger().warning(f'obstacles not taken: {reason}', throttle_duration_sec=5.0)

    def _on_estop(self, msg: Any) -> None:
        self._control.put_estop(convert.flag_from_msg(msg))

    def _on_enable(self, msg: Any) -> None:
        self._control.put_enable(convert.flag_from_msg(msg))

    def _on_hold(self, msg: Any) -> None:
        try:
            self._control.put_hold(convert.hold_from_msg(msg, self._robot.arm_joints))
        except ShapeError as error:
            self._control.put_fault('process_lost', str(error))
        if self._forwarder is not None and self._control.resuming:
            self._forwarder.call_async(convert.trigger_request())  # the call before was lost

    def _on_reset(self, request: Any) -> Any:
        done, message = self._control.request_reset()
        if done and self._forwarder is not None:
            # Its answer is not awaited: what it does is what it reports.
            self._forwarder.call_async(convert.trigger_request())
        self.get_logger().info(f'reset: {message}')
        return convert.trigger_answer(done, message)

    def _on_change(self, values: Mapping[str, Any]) -> str:
        """Put changed parameters to use; return why they cannot be, empty if they are."""
        said = {k.removeprefix(PREFIX): v for k, v in values.items() if k.startswith(PREFIX)}
        if said:
            try:
                config = replace(self._control.config, **said)
            except VlaError as error:
                return str(error)
            take = self._control.request_retune if self._active else self._control.retune
            done, why = take(config)
            if not done:
                return why
        if 'speed_scale' in values:
            self._control.speed_scale = values['speed_scale']
        return ''

    def _on_diagnostics(self) -> None:
        gc.collect(1)
        if self._control.refusals > self._refusals:
            self._refusals = self._control.refusals
            self.get_logger().warning(f'trajectory refused: {self._control.refused}')
        status = self._sent.get('status')
        if status is None:
            return
        severity = (0, 0, 1, 2, 2)[status.level]
        values = {
            **status.figures(),
            'refused_trajectories': self._control.refusals,
            'last_refusal': self._control.refused,
        }
        report = convert.diagnostics_to_msg(
            self.now(), self.get_name(), severity, status.message, values.items()
        )
        self._diagnostics_out.publish(report)

    # --- the thread of a driver stop

    def _stop_driver(self) -> str:
        """Ask every driver to stop and return what they answered."""
        return '; '.join([self._stop_one(client) for client in self._drivers])

    def _stop_one(self, client: Any) -> str:
        answered = threading.Event()
        if not client.wait_for_service(timeout_sec=DRIVER):
            return f'the driver did not stop: there is no service {client.srv_name}'
        future = client.call_async(convert.trigger_request())
        future.add_done_callback(lambda _: answered.set())
        if not answered.wait(DRIVER):
            return f'the driver did not answer within {DRIVER} s'
        done, message = convert.trigger_from_msg(future.result())
        return f'the driver {"stopped" if done else "did not stop"}: {message}'


def main() -> int:
    """Run the node until it is told to end."""
    return run(SafetyFilterNode, graph.SAFETY_NICE)


if __name__ == '__main__':
    raise SystemExit(main())
