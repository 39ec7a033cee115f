"""What the safety filter's control thread does in one tick. No ROS, no clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
import threading

import numpy as np

from vla_ros.actions.arbiter import Arbiter
from vla_ros.actions.plan import Plan
from vla_ros.actions.timeline import Acceptance, Verdict
from vla_ros.drivers.link import Link, silence_of
from vla_ros.errors import VlaError
from vla_ros.robot import RobotSpec
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.filter import SafetyFilter
from vla_ros.safety.result import Level, SafetyResult
from vla_ros.safety.scene import Near
from vla_ros.safety.world import World
from vla_ros.status import ExecutionState, Hold
from vla_ros.types import JointState, Trajectory

REST = 1e-6  # [rad/s] below it the arm is at rest
ANSWER = 1.0  # [s] until a request to the control thread must be served
STRAY = 1e-3  # [rad] from a resting arm to the reference of a dry run, before it returns there

Answer = tuple[bool, str]  # whether it was done, and why or why not


@dataclass
class _Request:
    """Something that only the control thread may do."""

    serve: Callable[[float], Answer]  # takes ROS time [s]
    done: threading.Event
    answer: Answer = (False, '')


class Control:
    """Safety filter and plans, fed by other threads, stepped by one.

    Methods whose names begin with `put_` and `request_` may be called from any thread; the others
    belong to the control thread, or to whoever knows that it does not run.
    """

    def __init__(self, robot: RobotSpec, config: SafetyConfig, dry_run: bool = False) -> None:
        """Build the filter and compile its core.

        Args:
            robot: Its arms.
            config: Settings of the filter.
            dry_run: Whether the commands reach no arm, so that none can follow them.

        Raises:
            KinematicsError: The robot is not one that the filter can model.
        """
        self.robot, self.config, self.dry_run = robot, config, dry_run
        self._filter = SafetyFilter(robot, config)
        self._arbiter = Arbiter(
            robot.joint_names,
            config.start_tolerance,
            robot.limits('acceleration'),
            len(robot.grippers),
        )
        linked = robot.streams and not dry_run
        self._link = Link(silence_of(robot.driver)) if linked else None
        self._started = False
        self._state: JointState | None = None
        self._faults: deque[tuple[str, str]] = deque()  # fault, detail
        self._trajectories: deque[tuple[bool, Trajectory | VlaError]] = deque(maxlen=8)
        self._requests: deque[_Request] = deque()
        self._world = World()
        self._estop = False
        self._enabled, self._enable_heard, self._enable_age = False, False, 0.0
        self._last: SafetyResult | None = None
        self._lost = False  # the arm, and it has been told to rest
        self.refusals = 0  # trajectories that were not accepted
        self.refused = ''  # why the last of them was not

    def start(self) -> None:
        """Begin anew: the next good joint state is where the arm is, at rest."""
        self._filter.forget()
        self._started = False
        self._state = None
        self._last = None
        self._lost = False

    # --- from any thread ---

    def put_state(self, state: JointState) -> None:
        """Take the newest measured joints."""
        self._state = state

    def put_fault(self, fault: str, detail: str) -> None:
        """Raise a fault of the table; it latches."""
        self._faults.append((fault, detail))

    def put_trajectory(self, trajectory: Trajectory | VlaError) -> None:
        """Take a trajectory of the policy, or the reason why a message held none."""
        self._trajectories.append((False, trajectory))

    def put_override(self, trajectory: Trajectory | VlaError) -> None:
        """Take a trajectory of higher priority, or the reason why a message held none."""
        self._trajectories.append((True, trajectory))

    def put_world(self, world: World) -> None:
        """Take all known obstacles."""
        self._world = world

    def put_estop(self, pressed: bool) -> None:
        """Press or release the emergency stop; releasing it does not clear the fault."""
        self._estop = pressed

    def put_enable(self, pressed: bool) -> None:
        """Hear the dead-man switch; `pressed` must come again within its timeout."""
        self._enabled, self._enable_heard = pressed, True

    def put_hold(self, hold: Hold) -> None:
        """Hear the forwarder."""
        if self._link is not None:
            self._link.hear(hold)

    def request_reset(self) -> Answer:
        """Clear latched faults in the next tick; return whether it was done, and why not."""
        return self._request(self._reset)

    def request_retune(self, config: SafetyConfig) -> Answer:
        """Take other settings in the next tick; return whether it was done, and why not."""
        return self._request(partial(self.retune, config))

    def _request(self, serve: Callable[[float], Answer]) -> Answer:
        request = _Request(serve, threading.Event())
        self._requests.append(request)
        if not request.done.wait(ANSWER):
            return False, 'the control loop does not run: activate the node.'
        return request.answer

    # --- the control thread ---

    @property
    def at_rest(self) -> bool:
        """Whether the last command stands still, or none was ever sent."""
        last = self._last
        if last is None or last.command is None:
            return True
        return bool(np.abs(last.command.velocities).max() < REST)

    @property
    def silent(self) -> bool:
        """Whether nothing may be sent, since the reference went on without the arm.

        The forwarder was lost or stopped the arm; or the arm is not where it was commanded, and
        has been told to rest. What comes back to life would leap to the reference; a reset
        brings the reference to the arm.
        """
        return self._lost or (self._link is not None and self._link.broken)

    @property
    def alone(self) -> bool:
        """Whether the forwarder that spoke before is lost."""
        return self._link is not None and self._link.lost

    @property
    def resuming(self) -> bool:
        """Whether a reset was served and the forwarder holds the arm all the same."""
        return self._link is not None and self._link.resuming

    @property
    def source(self) -> str:
        """Whose trajectory is followed: 'policy', 'override' or empty."""
        return self._arbiter.source

    @property
    def plan(self) -> Plan:
        """The plan that the filter walks."""
        return self._arbiter.plan

    @property
    def speed_scale(self) -> float:
        """Upper bound of the plan clock's rate, in (0, 1]; may be set from any thread."""
        return self._filter.speed_scale

    @speed_scale.setter
    def speed_scale(self, scale: float) -> None:
        self._filter.speed_scale = scale

    def tick(self, now: float, dt: float) -> SafetyResult:
        """Answer one control period.

        Args:
            now: ROS time [s].
            dt: Monotonic time since the last tick began [s].
        """
        state = self._state
        told = now > 0.0  # a simulated clock stands at 0 until its first message, which may be any
        if told and not self._started and state is not None:
            self._begin(state, now)
        self._watch(dt)
        while self._requests:
            request = self._requests.popleft()
            request.answer = request.serve(now)
            request.done.set()
        if self._arbiter.overriding:
            self._arbiter.update(now, self.at_rest)
        while self._trajectories:
            self._accept(*self._trajectories.popleft(), now)
        if self.dry_run and state is not None:
            state = self._imagined(state, now)
        rested = self.at_rest
        self._last = self._filter.step(state, self._arbiter.plan, self._world, now, dt)
        self._lost = rested and self.at_rest and 'tracking_lost' in self._last.faults
        return self._last

    def retune(self, config: SafetyConfig, now: float = 0.0) -> Answer:
        """Take other settings, unless they would make the present state illegal."""
        try:
            self._filter.retune(config)
        except VlaError as error:
            return False, str(error)
        self.config, self._arbiter.tolerance = config, config.start_tolerance
        return True, ''

    def nearest(self, count: int) -> list[Near]:
        """Return the pairs of bodies with the smallest barriers in the last tick."""
        return self._filter.scene.nearest(count)

    def execution_state(self, now: float, result: SafetyResult) -> ExecutionState:
        """Return what the policy side needs to know about a tick; no joints without a command."""
        plan, command = self._arbiter.plan, result.command
        nothing = np.zeros(0)
        return ExecutionState(
            stamp=now,
            plan_clock=result.phi,
            rate=result.rate,
            accepted_plan=plan.stamp,
            accepted_plan_clock=plan.timeline.phi_at_stamp,
            joint_names=self.robot.joint_names if command is not None else (),
            reference_position=nothing if command is None else command.positions[0],
            reference_velocity=nothing if command is None else command.velocities[0],
            level=int(result.level),
        )

    def _begin(self, state: JointState, now: float) -> None:
        """Take the first good joint state for the place of the arm, at rest."""
        if not np.isfinite(state.position).all():
            self._filter.trip('joint_state_nonfinite')
            return
        self._filter.reset(state.position)
        self._arbiter.reset(now)
        self._started = True

    def _watch(self, dt: float) -> None:
        """Raise the faults that others reported or that time alone tells."""
        while self._faults:
            self._filter.trip(*self._faults.popleft())
        if self._estop:
            self._filter.trip('estop')
        if not self._pressed(dt):
            self._filter.trip('enable_released')
        if dt > self.config.deadline and not self.at_rest:
            self._filter.trip('missed_deadline', f'{1e3 * dt:.0f} ms after the tick before')
        if self._link is not None:
            fault, detail = self._link.tick(dt)
            if fault:
                self._filter.trip(fault, detail)

    def _pressed(self, dt: float = 0.0) -> bool:
        """Whether the dead-man switch is pressed, or there is none."""
        if self.robot.enable is None:
            return True
        self._enable_age = 0.0 if self._enable_heard else self._enable_age + dt
        self._enable_heard = False
        return self._enabled and self._enable_age <= self.robot.enable.timeout

    def _reset(self, now: float) -> Answer:
        if self._estop:
            return False, 'the emergency stop is pressed: release it first.'
        if not self._pressed():
            return False, 'the dead-man switch is not pressed: press it, then reset.'
        if self._link is not None and self._link.silent:
            return False, 'the forwarder says nothing: start it, then reset.'
        if not self._filter.clear():
            return False, 'the arm still moves, or no good joint state is there: try again.'
        if self._link is not None and self._link.broken:
            self._rejoin(self._link)
        self._arbiter.reset(now)
        return True, 'cleared; trajectories from before are refused.'

    def _rejoin(self, link: Link) -> None:
        """Begin where the forwarder holds the arm, so that it can take up the stream."""
        state, last = self._state, self._last
        assert state is not None, 'a filter that cleared has a joint state'
        assert last is not None and last.command is not None, 'and has commanded'
        dof = self.robot.dof
        held = state.position[:dof] if link.held is None else link.held
        self._filter.reset(np.append(held, last.command.positions[0, dof:]))
        link.resume()

    def _accept(self, overrides: bool, trajectory: Trajectory | VlaError, now: float) -> None:
        answer = self._judge(overrides, trajectory, now)
        if not answer.ok:
            self.refusals += 1
            who = 'override: ' if overrides else ''
            self.refused = f'{who}{answer.verdict.value}: {answer.reason}'

    def _judge(self, overrides: bool, trajectory: Trajectory | VlaError, now: float) -> Acceptance:
        if isinstance(trajectory, VlaError):
            answer = Acceptance(Verdict.SHAPE, str(trajectory))
            if not overrides:
                self._arbiter.refuse(answer)
            return answer
        if self._link is not None and not self._link.ready:
            return Acceptance(Verdict.BEFORE_RESET, 'the forwarder does not stream yet')
        last = self._last
        if last is None or last.command is None:
            return Acceptance(Verdict.BEFORE_RESET, 'the place of the arm is not known yet')
        judge = self._arbiter.override if overrides else self._arbiter.follow
        return judge(trajectory, now, last.command.positions[0])

    def _imagined(self, state: JointState, now: float) -> JointState:
        """Return the joints of an arm that would have followed; they are as fresh as the real.

        At rest without a plan that moves it, the reference returns to where the arm really is.
        """
        last = self._last
        good = len(state.position) == len(self.robot.joint_names)
        if not (good and np.isfinite(state.position).all() and np.isfinite(state.velocity).all()):
            return state
        if last is None or last.command is None:
            return state
        place, speed = last.command.positions[0], last.command.velocities[0]
        stray = np.abs(place - state.position)[: self.robot.dof].max()
        idle = last.level is Level.S2_VERIFIED_BRAKE and not last.latched and self.at_rest
        if idle and stray > STRAY:
            self._filter.reset(state.position)
            self._arbiter.reset(now)
            return state
        return replace(state, position=place, velocity=speed)
