"""The safety filter: what the plan wants comes in, a command with a verified stop goes out.

On the plan only its clock gives way (`path`), or the velocity nearest to the wanted one is taken
(`cbf`), or first the one and then the other (`path+cbf`):

    min |v - v_d|^2 / 2   with   lo <= v <= hi             position, velocity, acceleration, jerk
                                 G v >= -alpha(h - margin)   the arm itself, floor, obstacles

Either way v is applied only if a stop behind it, along the plan or straight, keeps every
clearance and every limit. The reference (q_r, v_r) is integrated here; what is measured is only
compared with it. By induction: from rest in a clear pose, every commanded pose keeps its margins
in a static world.
"""

from __future__ import annotations

import numpy as np

from vla_ros.errors import ConfigError, ShapeError, UnknownNameError
from vla_ros.robot import RobotSpec
from vla_ros.safety.certify import ALONG_PLAN
from vla_ros.safety.clocks import Clocks, Tick
from vla_ros.safety.config import FAULTS, SafetyConfig, SETTINGS
from vla_ros.safety.core import begin_in, ease_in, finish_in, Seen, step_in
from vla_ros.safety.decide import ASKS, Decision, NOT_FINITE, REFUSED, STILL, UNSOLVED
from vla_ros.safety.limits import limits_of
from vla_ros.safety.model import build_model
from vla_ros.safety.notes import Notes
from vla_ros.safety.qp import QpSolver
from vla_ros.safety.result import intervention_of, Level, Plan, SafetyResult
from vla_ros.safety.scene import Scene
from vla_ros.safety.stop import Brake, Choice, command_of, go_on
from vla_ros.safety.tick import tool_speed
from vla_ros.safety.tracking import Tracking
from vla_ros.safety.watchdog import Watchdog
from vla_ros.safety.work import knobs_of
from vla_ros.safety.world import World
from vla_ros.types import Array, frozen, JointCommand, JointState, PlanPieces


class SafetyFilter:
    """Stands between any plan and the driver; `step` never raises on data."""

    def __init__(self, robot: RobotSpec, config: SafetyConfig) -> None:
        """Build the collision model and compile the core.

        Raises:
            KinematicsError: The robot is not one that the filter can model.
        """
        self.robot, self.config = robot, config
        model = build_model(robot, robot.urdf_path)
        limits = limits_of(robot)
        self._accel = limits.accel
        self.scene = Scene(model, limits, config)
        self.solver = QpSolver(robot.dof)
        self._notes = Notes(robot, self.scene)
        self._clocks = Clocks(config)
        self._watchdog = Watchdog(config, len(robot.joint_names))
        self._tracking = Tracking(model.arm, config)
        self._still = np.zeros(robot.dof)  # [rad/s]
        self._latched: dict[str, str] = {}  # fault -> detail
        self._measured: JointState | None = None  # newest one that is good
        self._started = False  # whether there was a first reset
        self._take(config)
        self._restart(np.array(robot.home), robot.ready[robot.dof :])
        self._warm_up()

    def _warm_up(self) -> None:
        """Compile the core, so that the first tick is as fast as the others."""
        n, dof = len(self.robot.joint_names), self.robot.dof
        due = np.array([-1.0, 0.0, 1.0])
        flat, still = np.zeros((2, n)), self._still
        plan = PlanPieces(due, np.zeros((3, n)), np.zeros((2, 4, n)), flat, flat)
        seen, _ = self._survey(plan, 0.0, True, False)
        self._settle((np.zeros(dof + 2), np.zeros(dof + 2)), 0, plan, 0.0, seen, False)
        measured = frozen(np.zeros(n), (None,), 'warm-up')  # read-only, as joint states are
        self._tracking.stays(self._q, measured[:dof])
        self._tracking.error(self._now, measured[:dof])
        age, grip = self.scene.age(self._now), self._gripper
        ease_in(self.scene.core, self._q, still, still, self._dt, age, grip, True, True)
        for stop in Brake(), Brake(plan, 0.0, 0.1, 1.0, still):
            go_on(stop, still, self._accel, self._dt)
            step_in(self.scene.core, self._q, still, still + 0.1, self._dt, grip)
            command_of(self._now, self.scene.work, self._accel, grip, stop)

    def _take(self, config: SafetyConfig) -> None:
        self.config = config
        self._watchdog.config = config
        self._tracking.limit = config.tracking_limit
        self.scene.tune(knobs_of(config, self.speed_scale))
        self._hindered, self._deviates = 0.0, False  # [s] waited for a body to go; go around it

    @property
    def speed_scale(self) -> float:
        """Largest sigma, in (0, 1]; may be set at any time."""
        return self.scene.knobs.scale

    @speed_scale.setter
    def speed_scale(self, scale: float) -> None:
        self.scene.tune(self.scene.knobs._replace(scale=min(max(scale, 0.0), 1.0)))

    def retune(self, config: SafetyConfig) -> None:
        """Take other settings from the next tick on.

        Raises:
            ConfigError: The state of now would break them, or one is fixed while the filter
                runs; nothing is changed.
        """
        for name, setting in SETTINGS.items():
            if not setting.live and getattr(config, name) != getattr(self.config, name):
                raise ConfigError(f'safety: {name} cannot change while the filter runs.')
        row = self.scene.broken_by(config, self._q, self._now)
        if row:
            raise ConfigError(f'safety: {row} is nearer than the new margin; move away first.')
        fast = tool_speed(self.scene.arm, self.scene.work.pose, self._v)
        if fast > config.tool_speed:
            raise ConfigError(
                f'safety: tool_speed {config.tool_speed} m/s is below the present {fast:.3f} m/s.'
            )
        self.scene.set_config(config)
        self._take(config)

    def reset(self, position: Array) -> None:
        """Start anew, at rest at a pose; latched faults are gone.

        Args:
            position: (n,) measured joints, the grippers' last [rad], [m].

        Raises:
            ShapeError: The position has the wrong shape or is not finite.
        """
        q = frozen(position, (len(self.robot.joint_names),), 'reset position')
        if not np.isfinite(q).all():
            raise ShapeError(f'reset position is {q}, expected finite numbers.')
        self._latched.clear()
        self._started = True
        self._restart(q[: self.robot.dof].copy(), q[self.robot.dof :])

    def _restart(self, q: Array, gripper: Array) -> None:
        self._q, self._v, self._acc = q, np.zeros_like(q), np.zeros_like(q)
        self._stop = Brake()  # what runs where the next velocity is refused
        self._hindered, self._deviates = 0.0, False
        limits = self.scene.limits
        self._gripper = np.minimum(np.maximum(gripper, limits.closed), limits.open)  # held
        self._rate, self._dt = 0.0, self.config.period  # of the time since the last tick
        self._now = 0.0  # [s] ROS time of the last tick
        self._clocks.restart()
        self._last: SafetyResult | None = None
        self._tracking.reset(q)

    def forget(self) -> None:
        """Forget where the arm is: nothing is commanded until the next reset."""
        self._started = False
        self._latched.clear()

    def trip(self, fault: str, detail: str = '') -> None:
        """Raise a fault from outside; it stays until it is cleared.

        Raises:
            UnknownNameError: The fault table has no such fault.
        """
        if fault not in self.config.faults:
            raise UnknownNameError('fault', fault, FAULTS)
        self._latched.setdefault(fault, detail)

    def clear(self) -> bool:
        """Clear latched faults; say whether it could.

        The reference restarts at the measured pose if tracking was lost, else it stays. Neither
        is possible while it still moves or without a good joint state. A fault whose cause is
        still there comes back at the next tick.
        """
        moving = np.abs(self._v).max() > STILL
        if not self._started or self._measured is None or moving:
            return False
        lost = 'tracking_lost' in self._latched
        self._latched.clear()
        place = self._measured.position[: self.robot.dof].copy() if lost else self._q
        self._restart(place, self._gripper)
        return True

    def step(
        self, state: JointState | None, plan: Plan, world: World, now: float, dt: float
    ) -> SafetyResult:
        """Filter one tick.

        Args:
            state: Newest measured joints, None before the first.
            plan: What to execute; its clock is advanced here.
            world: Obstacles in the base frame.
            now: ROS time of this tick [s].
            dt: Monotonic time since the last tick [s].
        """
        if not self._started:
            wants = 'no_joint_state' if now > 0.0 else 'clock_paused'
            return self._report(None, [*self._latched] or [wants], 0.0)
        tick = self._clocks.tick(now, dt)
        if tick.fault == 'clock_step':
            self._latched.setdefault('clock_step', f'from {self._now} s to {now} s')
        last = self._last
        waits = tick.step == 0.0 or (tick.fault and not self._latched)
        if last is not None and waits:  # for the ROS clock: time that has not passed is no time
            faults = [*self._latched] or ([tick.fault] if tick.fault else [])
            return self._report(last.command, faults, last.phi) if faults else last
        try:
            return self._step(state, plan, world, tick)
        except Exception as error:  # whatever it is, the arm must come to rest
            self._latched.setdefault('internal', f'{type(error).__name__}: {error}')
            return self._brake([*self._latched], last.phi if last else 0.0, None)

    def _step(
        self, state: JointState | None, plan: Plan, world: World, tick: Tick
    ) -> SafetyResult:
        self._now = tick.now
        phi = plan.advance(tick.now, self._rate, self._dt)
        phi = self._coast(plan, phi, tick.behind)
        self._dt = tick.step
        inputs = self._inputs(state, plan, world, phi)
        if not world.problem:
            self.scene.set_world(world)
        faults = [*self._latched, *inputs]
        if not len(plan.pieces.due):
            faults = faults or ['no_plan']
        table = self.config.faults
        straight = bool(faults) and any(table[fault].stop == 'brake' for fault in faults)
        seen, decision = self._survey(plan.pieces, phi, bool(faults), straight)
        if seen.touching >= 0:
            self._latched.setdefault('in_collision', self.scene.name(seen.touching))
            faults.append('in_collision')
        if straight or seen.touching >= 0 or not len(plan.pieces.due):
            return self._brake(faults, phi, seen)
        return self._follow(plan, phi, faults, seen, decision)

    def _coast(self, plan: Plan, phi: float, seconds: float) -> float:
        """Run the last stop for as long as the arm has, and return the plan clock [s]."""
        while seconds > 0.0:
            self._dt = min(seconds, self.config.period)
            seconds -= self._dt
            before = self._v
            self._move(self._stopping())
            self._q = self._q + 0.5 * self._dt * (before - self._v)  # as the command's cubic runs
            phi = plan.advance(self._now, self._rate, self._dt)
        return phi

    def _survey(
        self, pieces: PlanPieces, phi: float, halting: bool, straight: bool
    ) -> tuple[Seen, Decision]:
        seen, decision = begin_in(
            self.scene.core, pieces, self._q, self._v, self._acc, phi, self._rate, self._dt,
            self.scene.age(self._now), self._gripper, halting, straight, self._hindered,
            self._deviates,
        )  # fmt: skip
        return Seen(*seen), Decision(*decision)

    def _settle(
        self, answer: tuple[Array, Array], rows: int, pieces: PlanPieces, phi: float, seen: Seen,
        halting: bool,
    ) -> Decision:  # fmt: skip
        return Decision(*finish_in(
            self.scene.core, *answer, rows, seen.rows, pieces, self._q, self._v, self._acc, phi,
            seen.sigma, self._dt, self.scene.age(self._now), seen.tied, seen.smooth, seen.kept,
            halting,
        ))  # fmt: skip

    def _inputs(self, state: JointState | None, plan: Plan, world: World, phi: float) -> list[str]:
        """Return the faults of what came in; those that latch are latched already."""
        faults = [
            self._watchdog.joints(state, self._now),
            self._watchdog.plan(plan, phi, self._now),
            world.fault(self._now, self.config.obstacle_timeout),
        ]
        self._measured = None if faults[0] else state
        if self._measured is not None:
            measured = self._measured.position[: self.robot.dof]
            if not self._tracking.follows and self._tracking.stays(self._q, measured):
                faults.append('arm_stays')
            error = self._tracking.error(self._now, measured)
            if error > self.config.tracking_limit:
                self._latched.setdefault('tracking_lost', f'by up to {error:.3f} m')
        if not any(faults):
            return []
        for fault in faults:
            if fault and self.config.faults[fault].latched:
                self._latched.setdefault(fault, '')
        return [fault for fault in faults if fault and fault not in self._latched]

    def _follow(
        self, plan: Plan, phi: float, faults: list[str], seen: Seen, decision: Decision
    ) -> SafetyResult:
        """Walk the plan, or slow down along it where a fault says so."""
        work, pieces = self.scene.work, plan.pieces
        self._hindered, self._deviates = seen.hindered, seen.deviates
        if decision.status == NOT_FINITE:
            return self._brake([*faults, 'plan_nonfinite'], phi, seen)
        if decision.status == ASKS:
            rows = decision.rows
            answer = self.solver.solve(work.program, rows)
            if answer is not None:
                decision = self._settle(answer, rows, pieces, phi, seen, bool(faults))
        if decision.status in (ASKS, UNSOLVED):
            self._latched.setdefault('solver', 'no answer passed its check')
            return self._brake([*faults, 'solver'], phi, seen)
        self._gripper = work.grip.copy()
        active = self._notes.names(decision.notes)
        if decision.status == REFUSED:
            self._hindered += self._dt
            faults = [*faults, 'stop_not_verified']
            choice, command = self._slow(faults, seen)
            choice = choice._replace(active=active, checks=decision.checks)
            return self._report(command, faults, phi, choice, seen, work.wanted)
        if decision.jerky:
            faults = [*faults, 'stop_not_verified']
        stop = Brake(rate=decision.rate)
        if decision.stop == ALONG_PLAN:
            ahead = phi + decision.rate * self._dt
            stop = Brake(pieces, ahead, decision.rate, decision.slowing, work.rest.copy())
        choice = Choice(
            work.chosen.copy(), stop, decision.share, decision.passed, active, decision.slack,
            decision.checks,
        )  # fmt: skip
        return self._report(self._moved(choice), faults, phi, choice, seen, work.wanted)

    def _stopping(self) -> Choice:
        """Go on with the stop that was verified with the command before."""
        return Choice(*go_on(self._stop, self._v, self._accel, self._dt))

    def _brake(self, faults: list[str], phi: float, seen: Seen | None) -> SafetyResult:
        choice, command = self._slow(faults, seen)
        return self._report(command, faults, phi, choice, seen, self._still)

    def _slow(self, faults: list[str], seen: Seen | None) -> tuple[Choice, JointCommand]:
        """Brake: within the jerk limits where that is clear too and no fault asks for more."""
        mild = all(self.config.faults[fault].level == Level.S2_VERIFIED_BRAKE for fault in faults)
        if seen is not None and mild and self._stop.plan is None and self._v.any():
            clear, share = ease_in(
                self.scene.core, self._q, self._v, self._acc, self._dt,
                self.scene.age(self._now), self._gripper, seen.smooth, seen.kept,
            )  # fmt: skip
            if clear:
                rate = share * self._stop.rate
                choice = Choice(self.scene.work.chosen.copy(), Brake(rate=rate))
                return choice, self._moved(choice)
        choice = self._stopping()
        return choice, self._move(choice)

    def _move(self, choice: Choice) -> JointCommand:
        """Step at a velocity that the core does not know yet, and return the command."""
        step_in(self.scene.core, self._q, self._v, choice.velocity, self._dt, self._gripper)
        return self._moved(choice)

    def _moved(self, choice: Choice) -> JointCommand:
        """Take over the step that the core has made, and return its command with its stop."""
        work, stop = self.scene.work, choice.brake
        self._q, self._acc = work.place.copy(), work.bend.copy()
        self._v, self._rate, self._stop = choice.velocity, stop.rate, stop
        self._tracking.add(self._now, self._q)
        return command_of(self._now, work, self._accel, self._gripper, stop)

    def _report(
        self,
        command: JointCommand | None,
        faults: list[str],
        phi: float,
        choice: Choice | None = None,
        seen: Seen | None = None,
        nominal: Array | None = None,
    ) -> SafetyResult:
        table = self.config.faults
        # Copies: a caller who changes his result must not change the reference.
        nominal = (self._still if nominal is None else nominal).copy()
        filtered = (choice.velocity if choice else self._still).copy()
        active = choice.active if choice else ()
        level, reason, message = Level.S0_NOMINAL, '', 'the plan passes unchanged'
        if faults:
            faults = sorted(dict.fromkeys(faults), key=lambda fault: -table[fault].level)
            level, reason = Level(table[faults[0]].level), faults[0]
            detail = self._latched.get(reason, '') or ', '.join(active)
            message = table[reason].message + (f': {detail}' if detail else '')
        elif choice and not choice.passed:
            level, reason = Level.S1_FILTERED, 'deviated'
            message = f'held by {", ".join(active)}' if active else 'velocity limit'
        elif self._rate < self.speed_scale:
            level, reason, message = Level.S1_FILTERED, 'slowed', 'the plan clock is slowed'
        if self.config.mode == 'off' and level < Level.S2_VERIFIED_BRAKE:
            level, reason = Level.S1_FILTERED, 'off'
            message = 'OFF: nothing but the joint limits is kept'
        row = seen.least if seen else -1
        result = SafetyResult(
            command=command,
            level=level,
            reason=reason,
            message=message,
            latched=bool(self._latched),
            faults=tuple(faults),
            active_constraints=active,
            min_barrier=self.scene.barrier(row) if row >= 0 else np.inf,
            min_barrier_pair=self.scene.name(row) if row >= 0 else '',
            slack=choice.slack if choice else 0.0,
            nominal_velocity=nominal,
            filtered_velocity=filtered,
            phi=phi,
            rate=self._rate,
            checks=choice.checks if choice else 0,
            intervention=intervention_of(choice, level, reason),
        )
        self._last = result
        return result
