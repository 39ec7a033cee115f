"""One episode of the invariance run: an arm, an arena, an adversary, and every check.

Whatever the plan wants, in whatever world inside its declared bounds:

    nothing that stands still is touched, nothing that moves is touched while a joint moves
    lower <= q <= upper    |v| <= v_max    |v - v'| <= a dt    all to 1e-9, all finite
    in S0 and S1 also    |(v - v') - (v' - v'') dt / dt'| <= j dt max(dt, dt')
"""

from __future__ import annotations

import numpy as np

from vla_ros.actions import Plan
from vla_ros.bench.adversary import Adversary, Situation
from vla_ros.bench.arena import Arena
from vla_ros.bench.oracle import Oracle
from vla_ros.bench.tally import Tally, Violation
from vla_ros.robot import RobotSpec
from vla_ros.safety import Level, SafetyFilter, SafetyResult, World
from vla_ros.types import Array, JointCommand, JointState

TOLERANCE = 1e-9
START = 100.0  # [s] ROS time of the first tick
SHORTEST, LONGEST = 0.001, 0.010  # [s] of a tick; never longer than the two periods promised
CLEAR, CLOSE = 0.08, 0.002  # [m] from the arm to every solid at the start; one in four is close
FREE = 0.02  # [m] the arm from itself and the floor at the start
TAIL_EVERY = 50  # ticks between two looks at a whole stop
FAULT = 1.0 / 2000.0  # chance of an e-stop or of a broken joint state in a tick
STUCK = 150  # ticks on a latched fault after which an episode has nothing more to show
NOISE = 1e-4  # [rad] of the measured joints
EXCESS = (  # what may not exceed a limit, in the order of the checks
    'step [rad]', 'lower [rad]', 'upper [rad]', 'speed [rad/s]', 'acceleration [rad/s]',
    'end of the stop [rad/s]', 'integrated time [s]',
)  # fmt: skip
JERK = 'jerk [rad/s]'  # not a matter of safety: noted once, and the episode goes on
OWN_FAULTS = ('internal', 'solver')  # failures of the filter itself; nothing may cause them


class Episode:
    """Draws everything from `rng`; ends at its first violation."""

    def __init__(
        self,
        robot: RobotSpec,
        safety: SafetyFilter,
        rng: np.random.Generator,
        ticks: int,
        name: tuple[int, int],
    ) -> None:
        """Put a filter of a robot into an arena; `name` is seed and number."""
        self._robot, self._safety, self._rng, self._name = robot, safety, rng, name
        self._n, self._ticks = robot.dof, ticks
        self._lower, self._upper = robot.limits('lower'), robot.limits('upper')
        self._speed, self._accel = robot.limits('velocity'), robot.limits('acceleration')
        self._jerk = robot.limits('jerk')
        period = safety.config.period
        longest = min(LONGEST, 2.0 * period)
        mean = period if rng.random() < 0.6 else rng.uniform(SHORTEST, longest)
        jitter = float(rng.choice([0.0, 0.1, 0.5, 0.9]))
        spread = 1.0 + jitter * rng.uniform(-1.0, 1.0, ticks)
        self._gaps = np.clip(mean * spread, SHORTEST, longest)  # [s] of every tick
        still, moving = int(rng.integers(0, 5)), int(rng.integers(0, 3))
        self._arena = Arena(still, moving, float(self._gaps.sum()), rng)
        self._oracle = Oracle(robot, self._arena.solids)
        self._adversary = Adversary(robot, rng)
        self._plan = Plan(
            len(robot.joint_names), len(robot.grippers), accel=robot.limits('acceleration')
        )
        self._every = int(rng.choice([1, 4, 10, 20]))  # ticks between two reports of the world
        self._fixed = ~np.isin(self._oracle.solid, list(self._arena.moving))  # (P,) still pairs
        self._excess = np.zeros((len(EXCESS), self._n))
        self.tally = Tally(episodes=1)
        self._begin()
        # Half of the attacks forget the plan with every chunk: no join makes them gentle.
        self._abrupt = bool(rng.random() < 0.5)

    def _begin(self) -> None:
        """Find a pose that is clear of everything, and start there at rest."""
        rng, least = self._rng, CLOSE if self._rng.random() < 0.25 else CLEAR
        own = self._oracle.solid < 0
        pose, opening = np.array(self._robot.home), self._robot.ready[self._n :]  # [rad], [m]
        for _ in range(200):
            drawn = rng.uniform(self._lower, self._upper)
            q = self._oracle.full(np.append(drawn, opening))
            if (self._oracle.distances(q)[own] > FREE).all():
                pose = drawn
                break
        self._now, self._time = START, 0.0  # [s] ROS time; of the arena at the last look
        self._q, self._opening = pose, opening
        self._v, self._before = np.zeros(self._n), np.zeros(self._n)
        self._dt = self._safety.config.period  # [s] of the step before
        self._integrated, self._elapsed, self._latched = 0.0, 0.0, 0
        self.settled = self._arena.settle(self._oracle, self._full(), least)
        self._safety.reset(np.append(pose, self._opening))
        self._plan.reset(self._now)
        self._world = World()
        self._still = np.zeros(self._n + len(opening))  # measured; the filter does not use it
        self._reached: set[int] = set()  # pairs of moving solids that reached the arm at rest
        self._last: SafetyResult | None = None
        solids = [motion.centre for motion in self._arena.motions]
        below = np.array([0.4, 0.0, (self._robot.floor_height or 0.0) - 0.1])
        self._targets = np.array([*solids, below, np.array([0.0, 0.0, 0.3])])

    def _full(self) -> Array:
        return self._oracle.full(np.append(self._q, self._opening))

    def run(self) -> Tally:
        """Tick until the end or the first violation."""
        if not self.settled:
            return self.tally
        for tick in range(self._ticks):
            dt = float(self._gaps[tick])
            self._now += dt
            self._elapsed += dt
            result = self._answer(tick, dt)
            self.tally.count(result.level.name[:2], result.reason, self._adversary.manner)
            found = self._judge(result, tick)
            if found is not None:
                what, amount = found
                manner, level = self._adversary.manner, int(result.level)
                self.tally.violations.append(
                    Violation(*self._name, tick, what, amount, level, result.reason, manner)
                )
                if what != JERK:
                    break
            self._latched = self._latched + 1 if result.latched else 0
            if result.latched:  # a brake goes on while the clock waits
                self._integrated, self._elapsed = 0.0, 0.0
            if result.latched and not self._v.any() and self._safety.clear():
                self._plan.reset(self._now)
            if self._latched > STUCK:
                break
        self.tally.looks += self._oracle.looks
        self.tally.nearest_m = float(self._oracle.nearest[self._fixed].min())
        return self.tally

    def _answer(self, tick: int, dt: float) -> SafetyResult:
        """Play one tick of the world, the adversary and chance."""
        rng, now = self._rng, self._now
        moving = len(self._arena.moving) > 0
        if tick == 0 or (moving and tick % self._every == 0):
            self._world = self._arena.world(now - START, now)
        position = np.append(self._q, self._opening)
        chunk = self._adversary.chunk(Situation(now, position, dt, self._targets))
        if chunk is not None:
            if self._abrupt:
                self._plan.timeline.clear()
            self._plan.accept(chunk, now, None if self._abrupt else position)
        measured = position.copy()
        measured[: self._n] += NOISE * rng.standard_normal(self._n)
        if rng.random() < FAULT:
            if rng.random() < 0.5:
                self._safety.trip('estop')
            else:
                measured[int(rng.integers(self._n))] = np.nan
        state = JointState(now, measured, self._still)
        return self._safety.step(state, self._plan, self._world, now, dt)

    def _judge(self, result: SafetyResult, tick: int) -> tuple[str, float] | None:
        """Return what is wrong with an answer, or None, and take it over."""
        command = result.command
        if command is None:
            return 'no command', np.inf
        for fault in OWN_FAULTS:
            if fault in result.faults:
                return f'{fault}: {result.message}', np.inf
        if self._last is not None and command is self._last.command:
            return None
        self._last = result
        total = command.times.sum() + command.positions.sum() + command.velocities.sum()
        if not np.isfinite(total):
            return 'not finite', np.inf
        n, dt, excess = self._n, float(command.times[0]), self._excess
        q, v = command.positions[0, :n], command.velocities[0, :n]
        step = v - self._v
        change = (
            self._v - self._before if self._v.any() else self._still[:n]
        )  # a stop ends in rest
        self._integrated += dt
        way = q - self._q
        excess[0] = np.maximum(
            np.abs(way) - self._speed * dt, np.abs(way - dt * v) - self._accel * dt**2
        )
        excess[1] = self._lower - q
        excess[2] = q - self._upper
        excess[3] = np.abs(v) - self._speed
        excess[4] = np.abs(step) - self._accel * dt
        excess[5] = np.abs(command.velocities[-1, :n])
        excess[6] = self._integrated - self._elapsed - 2.0 * self._safety.config.period
        bend = np.abs(step - change * (dt / self._dt)) - self._jerk * (dt * max(dt, self._dt))
        self._q, self._before, self._v, self._dt = q, self._v, v, dt
        self._opening = command.positions[0, n:]
        if excess.max() > TOLERANCE:
            worst = int((excess.max(axis=1) > TOLERANCE).argmax())
            return EXCESS[worst], float(excess[worst].max())
        found = self._contact(dt) or (self._tail(command) if tick % TAIL_EVERY == 0 else None)
        if not found and result.level <= Level.S1_FILTERED and bend.max() > TOLERANCE:
            self.tally.jerked += 1
            found = (JERK, float(bend.max())) if self.tally.jerked == 1 else None
        return found

    def _contact(self, dt: float) -> tuple[str, float] | None:
        moves = bool(self._v.any())
        self.tally.moved += moves
        time = self._now + dt - START
        due = self._oracle.due(self._full(), time - self._time)
        self._time = time
        if not due:
            self._reached = set()
            return None
        self._arena.place(self._oracle, time)
        touching = self._oracle.look(due)
        for pair, distance in touching:
            if self._fixed[pair] or moves:
                word = 'motion in contact' if pair in self._reached else 'contact'
                return f'{word} {self._oracle.name(pair)} [m]', -distance
        self._reached = {pair for pair, _ in touching}
        return None

    def _tail(self, command: JointCommand) -> tuple[str, float] | None:
        """Check the stop that the command carries: limits, and all that stands still."""
        n = self._n
        for row in command.positions[1:]:
            over = max((row[:n] - self._upper).max(), (self._lower - row[:n]).max())
            if over > TOLERANCE:
                return 'stop beyond a limit [rad]', float(over)
            distance = self._oracle.distances(self._oracle.full(row))
            if not (distance[self._fixed] > 0.0).all():
                pair = int(np.argmin(np.where(self._fixed, distance, np.inf)))
                return f'stop touches {self._oracle.name(pair)} [m]', -float(distance[pair])
        return None
