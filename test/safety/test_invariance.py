"""Whatever the plan wants, the commanded arm keeps its limits and touches nothing.

Distances are coal's, between the collision shapes of the URDF: not the filter's capsules.
"""

from __future__ import annotations

import coal
from hypothesis import given, HealthCheck, Phase, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.bench.control import without_stop
from vla_ros.bench.episode import JERK
from vla_ros.bench.invariance import GAINS, Invariance
from vla_ros.bench.invariance import settings as range_of
from vla_ros.bench.tally import Tally
from vla_ros.obstacle import Obstacle
from vla_ros.safety import Level, World

SEED = int(np.random.SeedSequence().generate_state(1)[0])  # another one in every run
SHARE = 20_000  # ticks under one pair of period and gain

pytestmark = pytest.mark.timeout(400)  # many ticks; a busy machine needs its time

TOLERANCE = 1e-9
CHECK_EVERY = 6  # ticks between two looks of the oracle: 30 ms, 5 cm at full speed


class Rollout:
    """Drives a filter with one adversary and checks every command on the way."""

    def __init__(self, safety, robot, oracle, adversary, state_of, world=None, solid=None):
        self.safety, self.robot, self.oracle = safety, robot, oracle
        self.adversary, self.state_of = adversary, state_of
        self.world, self.solid = world or World(), solid
        self.q = np.append(robot.home, 0.04)
        self.v = np.zeros(robot.dof)
        self.now, self.ticks, self.closest = 0.0, 0, np.inf
        self.levels = set()
        safety.reset(self.q)

    def tick(self, dt):
        robot = self.robot
        self.now += dt
        state = self.state_of(self.q, self.now)
        result = self.safety.step(state, self.adversary, self.world, self.now, dt)
        assert 'internal' not in result.faults and 'solver' not in result.faults, result.message
        command = result.command
        assert np.isfinite(command.positions).all() and np.isfinite(command.velocities).all()
        assert not command.velocities[-1].any()
        q, v = command.positions[0], command.velocities[0, : robot.dof]
        accel, speed = robot.limits('acceleration'), robot.limits('velocity')
        assert (np.abs(v - self.v) <= accel * dt + TOLERANCE).all()
        assert (np.abs(v) <= speed + TOLERANCE).all()
        for point in (command.positions[0, : robot.dof], command.positions[-1, : robot.dof]):
            assert (point <= robot.limits('upper') + 2 * TOLERANCE).all()
            assert (point >= robot.limits('lower') - 2 * TOLERANCE).all()
        np.testing.assert_allclose(q[: robot.dof], self.q[: robot.dof] + dt * v, atol=1e-12)
        self.q, self.v = q.copy(), v.copy()
        self.levels.add(result.level)
        if self.ticks % CHECK_EVERY == 0:
            self.closest = min(self.closest, self.distance())
        self.ticks += 1
        return result

    def distance(self):
        nearest = self.oracle.distance(self.q[: self.robot.dof])
        if self.solid:
            nearest = min(nearest, self.oracle.to_solid(*self.solid))
        return nearest


wishes = st.one_of(
    st.tuples(st.just('speed'), st.integers(0, 2**32 - 1)),
    st.tuples(st.just('jump'), st.integers(0, 2**32 - 1)),
    st.tuples(st.just('huge'), st.sampled_from([1e3, -1e12, 1e300])),
    st.tuples(st.just('nan'), st.sampled_from([np.nan, np.inf])),
)


def wish(rollout, kind, value):
    """Make the adversary want something, from wherever the arm is."""
    plan, robot = rollout.adversary, rollout.robot
    n = robot.dof
    plan.position, plan.velocity = rollout.q.copy(), np.zeros(n + 1)
    if kind == 'speed':
        signs = np.random.default_rng(value).choice([-1.0, 1.0], n)
        plan.velocity[:n] = 1.5 * signs * robot.limits('velocity')
    elif kind == 'jump':
        rng = np.random.default_rng(value)
        plan.position[:n] = rng.uniform(robot.limits('lower'), robot.limits('upper'))
    else:
        plan.position[:n] = value


@given(
    wishes=st.lists(wishes, min_size=4, max_size=10),
    dt=st.sampled_from([0.0025, 0.005, 0.01]),
    jitter=st.floats(0.0, 0.4),
    seed=st.integers(0, 2**16),
)
@settings(
    max_examples=8,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a rollout is too long to shrink
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_plan_drives_the_arm_into_itself_the_floor_or_a_limit(
    shared_filter, robot, oracle, adversary, state_of, wishes, dt, jitter, seed
):
    rollout = Rollout(shared_filter, robot, oracle, adversary, state_of)
    rng = np.random.default_rng(seed)
    for kind, value in wishes:
        for _ in range(40):
            if kind != 'jump' or rollout.ticks % 40 == 0:  # speed: from where the arm is now
                wish(rollout, kind, value)
            rollout.tick(np.clip(dt * (1 + jitter * rng.uniform(-1, 1)), 0.0025, 0.01))
    assert rollout.closest > 0.0
    assert max(rollout.levels) <= Level.S2_VERIFIED_BRAKE


@pytest.mark.parametrize('index', range(len(GAINS)))
def test_no_attack_of_the_bench_gets_through(robot, config, index):
    """100,000 ticks in all; `vla bench safety --invariance --seed S` does a million."""
    tried = range_of(config)[index]
    tally = Tally()
    for episode in Invariance(robot, [tried], SEED).run(SHARE):
        tally.add(episode)
    found = [v for v in tally.violations if v.what != JERK]
    assert not found, f'seed {SEED}, {tried.mode}, {tried.period} s: {found}'
    assert tally.moved > 0.2 * tally.ticks and tally.looks > 0


@pytest.mark.parametrize(
    'seed, number',
    [  # jerk in S1: a velocity was blended on the plan's way, where that way broke a limit
        (2274231195, 219), (2274231195, 365), (2274231195, 422), (2274231195, 529),
        (2118439006, 302),  # acceleration: a plan was faster than its pieces said
    ],
)  # fmt: skip
def test_what_once_got_through_does_not_again(robot, config, seed, number):
    tally = Invariance(robot, range_of(config), seed).episode(number)
    assert tally.ticks > 100 and not tally.violations, tally.violations


def bang_bang(rollout, seed, ticks):
    """Full speed in random directions, each long enough to get somewhere."""
    rng = np.random.default_rng(seed)
    value = 0
    for k in range(ticks):
        if k % 60 == 0:
            value = int(rng.integers(2**32))
        wish(rollout, 'speed', value)
        rollout.tick(0.005)


@pytest.mark.parametrize('seed', [8])
def test_the_stop_check_is_what_keeps_the_arm_apart(
    robot, config, oracle, adversary, state_of, safety, seed
):
    """The same adversary harms a filter whose check says yes to all, and not the whole one."""

    mutant = without_stop(robot, config)
    careless = Rollout(mutant, robot, oracle, adversary, state_of)
    broken = False
    try:
        for again in range(3):
            bang_bang(careless, seed + 10 * again, 500)
            broken = broken or careless.closest <= 0.0 or Level.S3_HOLD in careless.levels
    except AssertionError:
        broken = True
    assert broken
    whole = Rollout(safety, robot, oracle, adversary, state_of)
    for again in range(3):
        bang_bang(whole, seed + 10 * again, 500)
    assert whole.closest > 0.0 and max(whole.levels) <= Level.S2_VERIFIED_BRAKE


@pytest.mark.parametrize('shape', ['box', 'sphere', 'cylinder'])
def test_a_still_obstacle_is_never_touched(safety, robot, oracle, adversary, state_of, shape):
    size = {'box': (0.1, 0.2, 0.3), 'sphere': (0.1,), 'cylinder': (0.3, 0.06)}[shape]
    turn = Rotation.from_euler('xyz', [0.3, 0.5, 0.7])
    centre = np.array([0.62, 0.15, 0.3])
    obstacle = Obstacle(
        'thing', shape, np.array(size), centre, turn.as_quat(), np.zeros(3), np.zeros(3)
    )
    made = {
        'box': lambda: coal.Box(*size),
        'sphere': lambda: coal.Sphere(*size),
        'cylinder': lambda: coal.Cylinder(size[1], size[0]),
    }[shape]()
    solid = (made, coal.Transform3s(turn.as_matrix(), centre))
    world = World(0.0, (obstacle,))
    rollout = Rollout(safety, robot, oracle, adversary, state_of, world, solid)
    named = set()
    rng = np.random.default_rng(1)
    for k in range(800):
        if k % 80 == 0:  # poses in front of and beyond the obstacle
            goal = np.array(robot.home) + rng.uniform(-1.2, 1.2, robot.dof)
            adversary.position = np.append(goal, 0.04)
        result = rollout.tick(0.005)
        named.update(result.active_constraints)
    assert rollout.closest > 0.0
    assert any('thing' in name for name in named)
    assert max(rollout.levels) <= Level.S2_VERIFIED_BRAKE


def test_the_arm_is_at_rest_before_a_moving_obstacle_arrives(
    safety, robot, adversary, state_of, oracle
):
    """Passive safety: while the arm moves, the ball that flies at it is clear of it."""
    adversary.position = np.append(np.array(robot.home) + 0.4, 0.04)
    rollout = Rollout(safety, robot, oracle, adversary, state_of)
    place, velocity = np.array([1.3, 0.0, 0.4]), np.array([-0.6, 0.0, 0.0])
    for k in range(400):
        now = rollout.now + 0.005
        centre = place + velocity * now
        ball = Obstacle(
            'ball', 'sphere', np.array([0.08]), centre, np.array([0, 0, 0, 1.0]), velocity,
            np.zeros(3), uncertainty=0.01,
        )  # fmt: skip
        rollout.world = World(now, (ball,))
        rollout.solid = (coal.Sphere(0.08), coal.Transform3s(np.eye(3), centre))
        if k % 50 == 0:
            adversary.position = np.append(
                np.array(robot.home) + (0.4 if k % 100 else -0.4) * np.ones(robot.dof), 0.04
            )
        rollout.tick(0.005)
        if np.abs(rollout.v).max() > 1e-6:
            assert rollout.distance() > 0.0
        elif rollout.distance() <= 0.0:
            break
    assert rollout.distance() <= 0.0  # it did arrive
