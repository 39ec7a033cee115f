"""What one tick answers: minimality, the ladder, every fault, the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import brentq

from vla_ros.actions import Plan
from vla_ros.errors import ShapeError, UnknownNameError
from vla_ros.obstacle import Obstacle
from vla_ros.safety import filter as filter_module
from vla_ros.safety import Level, SafetyFilter, World
from vla_ros.types import JointState, Trajectory

DT = 0.005


class Bench:
    """A filter, a real plan and a perfect arm, ticked by hand."""

    def __init__(self, safety, robot):
        self.safety, self.robot = safety, robot
        self.plan = Plan(len(robot.joint_names))
        self.now, self.world = 100.0, World()
        self.q = np.append(robot.home, 0.04)
        safety.reset(self.q)
        self.plan.reset(self.now - DT)
        self.result = None

    def goal(self, offset, seconds=0.5, grip=0.0):
        """Send a chunk that moves all joints by `offset` [rad] in 10 points."""
        n = self.robot.dof
        times = np.linspace(seconds / 10, seconds, 10)
        share = 0.5 - 0.5 * np.cos(np.pi * times / seconds)
        points = np.tile(self.q, (10, 1))
        points[:, :n] += np.outer(share, np.broadcast_to(offset, n))
        points[:, n] = grip
        answer = self.plan.accept(Trajectory(self.now, times, points), self.now)
        assert answer.ok, answer

    def tick(self, state='good', dt=DT, world=None):
        self.now += dt
        if isinstance(state, str):
            state = JointState(self.now, self.q, np.zeros_like(self.q))
        self.result = self.safety.step(state, self.plan, world or self.world, self.now, dt)
        if self.result.command is not None:
            self.q = self.result.command.positions[0].copy()
        return self.result

    def run(self, ticks, **kwargs):
        return [self.tick(**kwargs) for _ in range(ticks)]

    @property
    def speed(self):
        return float(np.abs(self.result.command.velocities[0]).max())

    def settle(self, seconds=1.0, **kwargs):
        """Tick until the arm rests; return how long that took [s]."""
        for k in range(int(seconds / DT)):
            self.tick(**kwargs)
            if self.speed == 0.0:
                return (k + 1) * DT
        raise AssertionError(f'still moving at {self.speed} rad/s: {self.result.reason}')


@pytest.fixture
def bench(safety, robot):
    return Bench(safety, robot)


def test_a_safe_plan_passes_unchanged(bench, safety, robot):
    """Inside every limit the reference is the plan, to 1e-9, and the level is S0."""
    n = robot.dof
    wave = 0.12 * np.array([1.0, -0.6, 0.8, 0.5, 1.0, -1.0, 1.0])

    def pose(t):
        return np.append(np.array(robot.home) + wave * np.sin(2.0 * t), 0.01)

    def velocity(t):
        return np.append(2.0 * wave * np.cos(2.0 * t), 0.0)

    times = np.linspace(0.0, 4.0, 401)
    worst, nominal = 0.0, 0
    for k in range(500):
        if k % 100 == 0:  # the same curve again, as a policy that replans would send it
            due = bench.plan.clock.phi + times
            curve = np.array([pose(t) for t in due]), np.array([velocity(t) for t in due])
            assert bench.plan.accept(Trajectory(bench.now, times, *curve), bench.now).ok
        result = bench.tick()
        if result.rate == 1.0 and k % 100 > 20 and k > 200:
            want = bench.plan.sample(result.phi + DT).position[:n]
            worst = max(worst, float(np.abs(bench.q[:n] - want).max()))
            assert result.level is Level.S0_NOMINAL and result.reason == ''
            np.testing.assert_allclose(
                result.filtered_velocity, result.nominal_velocity, atol=1e-9
            )
            nominal += 1
    assert nominal > 200 and worst < 1e-9
    assert safety._gripper == pytest.approx(0.01)


def test_each_command_carries_a_stop_within_the_limits(bench, robot):
    bench.goal(0.4)
    for result in bench.run(60):
        command = result.command
        assert (np.diff(command.times) > 0.0).all() and command.times[0] == pytest.approx(DT)
        assert not command.velocities[-1].any()
        n = robot.dof
        for k in range(len(command.times) - 1):  # each piece is one of constant deceleration
            gap = command.times[k + 1] - command.times[k]
            mean = (command.velocities[k] + command.velocities[k + 1]) / 2
            step = command.positions[k + 1] - command.positions[k]
            np.testing.assert_allclose(step, mean * gap, atol=1e-12)
            slow = (command.velocities[k + 1] - command.velocities[k])[:n] / gap
            assert (np.abs(slow) <= robot.limits('acceleration') + 1e-6).all()
    assert len(bench.result.command.times) > 2


def test_jerk_is_limited_while_nothing_is_near(bench, robot):
    bench.goal(0.4, seconds=1.0)
    n = robot.dof
    v, change = np.zeros(n), np.zeros(n)
    for result in bench.run(400):
        now = result.command.velocities[0, :n]
        assert (np.abs(now - v - change) <= robot.limits('jerk') * DT**2 + 1e-9).all()
        v, change = now, now - v


def test_the_end_of_the_plan_is_reached_at_rest(bench, robot):
    bench.goal(0.3, grip=0.02)
    target = bench.plan.sample(np.inf).position
    bench.run(190)
    np.testing.assert_allclose(bench.q, target, atol=1e-4)
    assert bench.result.reason == 'plan_end' and bench.result.level is Level.S2_VERIFIED_BRAKE
    assert not bench.result.latched and bench.speed < 1e-3


def test_a_chunk_replaced_in_mid_motion_is_joined_with_bounded_acceleration(bench, robot):
    bench.goal(0.4)
    bench.run(40)
    bench.goal(-0.15, seconds=0.6)
    target = bench.plan.sample(np.inf).position
    v = bench.result.command.velocities[0, : robot.dof]
    for result in bench.run(198):
        now = result.command.velocities[0, : robot.dof]
        assert (np.abs(now - v) <= robot.limits('acceleration') * DT + 1e-9).all()
        v = now
    np.testing.assert_allclose(bench.q, target, atol=1e-3)


def test_a_jump_is_approached_without_overshoot(bench, robot):
    n = robot.dof
    far = bench.q.copy()
    far[:n] += 0.5
    far[5] = bench.q[5]
    assert bench.plan.accept(Trajectory(bench.now, [0.0], far[None]), bench.now).ok
    worst = 0.0
    for _ in range(400):
        bench.tick()
        worst = max(worst, float((bench.q[:n] - far[:n]).max()))
    assert worst < 2e-3
    np.testing.assert_allclose(bench.q[:n], far[:n], atol=1e-3)


def test_pushed_at_the_floor_the_arm_slides_above_it(bench, robot, oracle):
    n = robot.dof
    down = bench.q.copy()
    down[1] += 0.9
    assert bench.plan.accept(Trajectory(bench.now, [0.0], down[None]), bench.now).ok
    results = bench.run(180)
    assert any('floor' in name for r in results for name in r.active_constraints)
    assert results[-1].level <= Level.S2_VERIFIED_BRAKE
    assert 'floor' in results[-1].min_barrier_pair and results[-1].min_barrier > -1e-6
    assert oracle.distance(bench.q[:n]) > 0.0


# --- faults -----------------------------------------------------------------------------------


def good(bench):
    return JointState(bench.now + DT, bench.q, np.zeros_like(bench.q))


STATES = {
    'no_joint_state': lambda b: None,
    'joint_state_stale': lambda b: replace(good(b), stamp=b.now - 0.5),
    'joint_state_shape': lambda b: JointState(b.now, np.zeros(3), np.zeros(3)),
    'joint_state_nonfinite': lambda b: replace(good(b), position=np.full(8, np.nan)),
}


@pytest.mark.parametrize('fault', STATES)
def test_a_bad_joint_state_brakes_and_only_the_table_decides_what_follows(bench, fault):
    bench.goal(0.5)
    bench.run(50)
    assert bench.speed > 0.2
    entry = bench.safety.config.faults[fault]
    for _ in range(100):
        bench.tick(state=STATES[fault](bench))
    assert bench.result.reason == fault and bench.result.level == entry.level
    assert bench.speed == 0.0 and bench.result.latched == entry.latched
    bench.tick()
    assert (fault in bench.result.faults) == entry.latched
    if entry.latched:
        assert bench.safety.clear()
        bench.tick()
        assert fault not in bench.result.faults


def test_velocity_that_is_not_finite_latches(bench):
    bench.tick(state=JointState(bench.now, bench.q, np.full(8, np.inf)))
    assert bench.result.reason == 'joint_state_nonfinite' and bench.result.latched


def test_without_a_plan_the_arm_stays_at_rest(bench):
    start = bench.q.copy()
    for result in bench.run(50):
        assert result.reason == 'no_plan' and result.level is Level.S2_VERIFIED_BRAKE
        assert result.command is not None and not result.latched
    np.testing.assert_array_equal(bench.q, start)


def test_a_silent_policy_leaves_the_arm_at_rest_within_the_time_in_the_config(bench, config):
    bench.goal(1.2, seconds=4.0)
    bench.run(int(config.plan_timeout / DT))
    assert bench.speed > 0.2 and bench.result.level <= Level.S1_FILTERED
    took = bench.settle()
    assert took < 1.0 and bench.result.reason == 'plan_silent'
    bench.goal(-0.2)
    bench.run(20)
    assert bench.result.level <= Level.S1_FILTERED and bench.speed > 0.0


def test_a_policy_that_turns_to_nan_stops_the_arm_with_that_reason(bench, config):
    bench.goal(1.2, seconds=4.0)
    bench.run(40)
    for _ in range(int(config.plan_timeout / DT) + 200):
        bad = Trajectory(bench.now, [0.1], np.full((1, 8), np.nan))
        assert not bench.plan.accept(bad, bench.now).ok
        bench.tick()
    assert bench.speed == 0.0 and bench.result.reason == 'plan_refused'


def test_a_plan_for_an_old_observation_is_stale(bench, config):
    n = int(config.plan_age_limit / DT)
    bench.run(n + 20)
    times = np.array([0.1, 8.0])
    old = bench.now - config.plan_age_limit - 0.05
    points = np.tile(bench.q, (2, 1))
    assert bench.plan.accept(Trajectory(old, times, points), bench.now).ok
    bench.tick()
    assert bench.result.reason == 'plan_stale' and bench.speed == 0.0


def test_an_empty_chunk_stops_at_once(bench):
    bench.goal(0.5)
    bench.run(50)
    empty = Trajectory(bench.now, np.zeros(0), np.zeros((0, 8)))
    assert bench.plan.accept(empty, bench.now).ok
    assert bench.settle() < 0.4 and bench.result.reason == 'no_plan'


def test_estop_latches_until_it_is_cleared_at_rest(bench):
    bench.goal(0.5)
    bench.run(50)
    bench.safety.trip('estop', 'button on the cell door')
    bench.tick()
    assert bench.result.level is Level.S3_HOLD and bench.result.reason == 'estop'
    assert 'cell door' in bench.result.message and bench.result.latched
    assert not bench.safety.clear()  # it still moves
    assert bench.settle() < 0.4
    bench.goal(0.2)
    bench.run(20)
    assert bench.speed == 0.0
    assert bench.safety.clear()
    bench.plan.reset(bench.now)
    bench.tick()
    bench.goal(0.2)
    bench.run(20)
    assert bench.speed > 0.0


def test_tracking_loss_latches_and_clearing_restarts_where_the_arm_is(bench, robot):
    bench.goal(0.3)
    bench.run(30)
    elsewhere = bench.q.copy()
    elsewhere[1] += 0.1
    bench.tick(state=JointState(bench.now, elsewhere, np.zeros(8)))
    assert bench.result.reason == 'tracking_lost'
    for _ in range(100):
        bench.tick(state=JointState(bench.now, elsewhere, np.zeros(8)))
    assert bench.speed == 0.0 and bench.safety.clear()
    bench.plan.reset(bench.now)
    bench.tick(state=JointState(bench.now, elsewhere, np.zeros(8)))
    np.testing.assert_allclose(bench.q[:7], elsewhere[:7], atol=1e-9)


def test_an_arm_that_lags_along_its_path_is_not_lost(bench):
    bench.goal(0.8, seconds=1.4)
    past = [bench.q.copy()]
    waited = 0
    for _ in range(180):
        lagging = past[max(0, len(past) - 20)]  # 100 ms behind
        bench.tick(state=JointState(bench.now, lagging, np.zeros(8)))
        past.append(bench.q.copy())
        waited += bench.result.reason == 'arm_stays'  # until it is seen to move at all
        assert bench.result.level <= Level.S1_FILTERED or bench.result.reason == 'arm_stays'
    assert waited < 25
    assert np.abs(past[-1] - past[-20]).max() > 0.05


def test_the_reference_waits_for_an_arm_that_has_not_moved_yet(bench):
    start = bench.q.copy()
    for _ in range(4):  # new plans keep coming, as from a policy
        bench.goal(0.8, seconds=1.0)
        for _ in range(200):
            bench.tick(state=JointState(bench.now, start, np.zeros(8)))
    assert bench.result.reason == 'arm_stays' and not bench.result.latched
    assert bench.speed == 0.0
    assert np.abs(bench.q - start).max() < 0.03  # what a controller leaps that comes now
    bench.goal(0.8, seconds=1.0)
    bench.run(100)
    assert bench.result.level <= Level.S1_FILTERED and bench.speed > 0.1


def test_an_arm_that_was_seen_to_follow_is_not_asked_again_where_it_began(bench):
    past = [bench.q.copy()]
    for offset in (0.1, -0.1, 0.1, -0.1):  # to and fro through the start, 25 ms behind
        bench.goal(offset, seconds=0.5)
        for _ in range(120):
            lagging = past[max(0, len(past) - 5)]
            bench.tick(state=JointState(bench.now, lagging, np.zeros(8)))
            past.append(bench.q.copy())
            assert bench.result.reason != 'arm_stays'


@pytest.mark.parametrize('now', [3600.0, -3600.0, 0.2, -0.2, np.nan])
def test_a_clock_that_jumps_latches(bench, now):
    bench.goal(0.5)
    bench.run(50)
    state = JointState(bench.now, bench.q, np.zeros(8))
    result = bench.safety.step(state, bench.plan, World(), bench.now + now, DT)
    assert result.reason == 'clock_step' and result.latched
    assert np.isfinite(result.command.stamp)


def test_a_paused_clock_repeats_the_command_without_a_fault(bench):
    bench.goal(0.5)
    bench.run(50)
    state = JointState(bench.now, bench.q, np.zeros(8))
    ahead = [bench.safety.step(state, bench.plan, World(), bench.now, DT) for _ in range(100)]
    held = ahead[-1].command
    assert np.abs(held.positions[0] - bench.q).max() < 2 * DT  # one period ahead at most
    assert all(r.command is held for r in ahead[2:])
    assert ahead[-1].reason == 'clock_paused' and not ahead[-1].latched
    assert ahead[4].level <= Level.S1_FILTERED  # a short wait is none
    bench.q = held.positions[0].copy()
    bench.tick()
    bench.tick()
    assert bench.result.level <= Level.S1_FILTERED


@pytest.mark.parametrize('pattern', [(0.0, 2.0), (1.0,), (0.5,), (0.0, 0.0, 0.0, 0.0, 5.0)])
def test_the_arm_is_not_faster_than_a_coarse_or_slow_ros_clock(bench, pattern):
    """Ticks come every period; the ROS clock moves by `pattern` periods between them."""
    bench.goal(0.5, seconds=1.0)
    began, start = bench.now, bench.q.copy()
    phis = []
    for k in range(120):
        bench.now += DT * pattern[k % len(pattern)]
        state = JointState(bench.now, bench.q, np.zeros(8))
        result = bench.safety.step(state, bench.plan, World(), bench.now, DT)
        bench.q = result.command.positions[0].copy()
        assert result.level <= Level.S1_FILTERED and not result.latched
        phis.append(result.phi)
    assert phis[-1] <= bench.now - began + DT
    assert np.abs(bench.q - start)[:7].max() > 0.005


@pytest.mark.parametrize('dt', [0.0, -1.0, np.nan, 1e9])
def test_junk_dt_counts_as_a_bound(bench, robot, dt):
    bench.goal(0.5)
    bench.run(50)
    v = bench.result.command.velocities[0, :7]
    state = JointState(bench.now, bench.q, np.zeros(8))
    result = bench.safety.step(state, bench.plan, World(), bench.now + DT, dt)
    change = np.abs(result.command.velocities[0, :7] - v)
    assert (change <= robot.limits('acceleration') * 2 * DT + 1e-9).all()
    assert result.command.times[0] <= 2 * DT + 1e-12


@pytest.mark.parametrize('fault', ['obstacle_invalid', 'estop'])
def test_a_mild_brake_keeps_the_jerk_limits_and_a_grave_one_is_quicker(bench, robot, fault):
    """Level 2 brakes gently where that is clear too; from level 3 on by the full acceleration."""
    bench.goal(0.5, seconds=0.8)
    results = bench.run(70)
    moving = results[-1].filtered_velocity
    bad = Obstacle('ghost', 'sphere', np.array([0.1]), np.array([np.nan, 0, 0]))
    took, after = 0.0, {}
    if fault == 'estop':
        bench.safety.trip('estop')
    else:
        after['world'] = World(bench.now, (bad,))
    while bench.speed > 0.0:
        results.append(bench.tick(**after))
        took += DT
        assert took < 1.0 and bench.result.reason == fault
    speeds = np.array([r.filtered_velocity for r in results])
    pace = np.diff(speeds, axis=0) / DT
    jerk = np.abs(np.diff(pace, axis=0)) / DT
    limit, accel = robot.limits('jerk'), robot.limits('acceleration')
    full = (np.abs(moving) / accel).max()  # [s] of the brake by the acceleration limits
    assert np.abs(moving).max() > 0.5 and (np.abs(pace) <= accel + 1e-6).all()
    if fault == 'estop':
        assert full <= took <= full + 2 * DT and (jerk > 2.0 * limit).any()
    else:
        assert (jerk[60:] <= limit * (1.0 + 1e-3)).all()
        assert full < took < full + 2.5 * (accel / limit).max()


def test_an_obstacle_that_is_not_finite_is_a_fault_and_so_is_its_return(bench):
    bad = Obstacle(
        'ghost', 'sphere', np.array([0.1]), np.array([np.nan, 0, 0]), np.array([0, 0, 0, 1.0]),
        np.zeros(3), np.zeros(3),
    )  # fmt: skip
    bench.goal(0.5)
    bench.run(30)
    bench.run(120, world=World(bench.now, (bad,)))
    assert bench.result.reason == 'obstacle_invalid' and bench.speed == 0.0
    assert not bench.result.latched


@pytest.mark.parametrize('depth', [-0.01, 0.01])  # [m] beyond the surface of the arm
@pytest.mark.parametrize('role', ['obstacle', 'target', 'person'])
def test_an_obstacle_that_appears_at_the_arm_keeps_it_at_rest(bench, robot, depth, role):
    """No motion brings any part nearer; what it touches by the model needs a reset."""
    scene = bench.safety.scene

    def at(reach):
        return Obstacle(
            'ball', 'sphere', np.array([0.1]), np.array([0.6 + reach, 0, 0.6]), role=role
        )

    def gap(reach):  # [m] from the surface of the nearest capsule
        scene.set_world(World(0.0, (at(reach),)))
        return scene.rows(bench.q[:7], 0.0).clearance[scene.fixed :].min()

    thing = at(brentq(lambda reach: gap(reach) + depth, -0.05, 0.5))
    start = bench.q.copy()
    bench.goal(np.array([0, 0.4, 0, 0, 0, 0, 0.0]))
    bench.run(100, world=World(bench.now, (thing,)))
    result = bench.result
    if depth > 0.0:
        assert np.abs(bench.q - start)[:7].max() < 1e-3
        collides = role != 'target'
        assert (result.reason == 'in_collision') == result.latched == collides
        assert 'ball' in result.message if collides else result.reason == 'stop_not_verified'
        bench.safety.clear()
        bench.goal(np.array([0, -0.4, 0, 0, 0, 0, 0.0]))
        bench.run(5, world=World(bench.now, (thing,)))
        assert bench.result.latched == collides, 'its cause is still there'
    else:  # it may lead itself away
        assert not result.latched and result.min_barrier > -0.006


def test_a_reset_in_collision_latches(safety, robot):
    folded = np.append(robot.home, 0.04)
    folded[1], folded[3] = 1.6, -2.9
    bench = Bench(safety, robot)
    safety.reset(folded)
    bench.q = folded
    bench.tick()
    assert bench.result.reason == 'in_collision' and bench.result.latched
    assert bench.result.min_barrier < 0.0


def test_a_solver_that_fails_stops_the_arm(bench, config, monkeypatch):
    """It is asked where a row can bind within the box: on the way into the floor."""
    asked = []
    monkeypatch.setattr(bench.safety.solver, 'solve', lambda *_: asked.append(bench.now))
    bench.safety.retune(replace(config, mode='cbf'))
    bench.goal(np.array([0, 0.9, 0, 0, 0, 0, 0.0]), seconds=1.0)
    bench.run(50)
    assert not asked and bench.speed > 0.1
    bench.settle(2.0)
    bench.safety.retune(config)
    assert bench.result.reason == 'solver' and bench.result.latched
    assert len(asked) == 1 and bench.now - asked[0] < 0.4


def test_an_error_inside_stops_the_arm(bench, monkeypatch):
    bench.goal(0.5)
    bench.run(50)

    def broken(*_):
        raise ZeroDivisionError('of all things')

    monkeypatch.setattr(filter_module, 'begin_in', broken)
    assert bench.settle() < 0.4
    assert bench.result.reason == 'internal' and 'of all things' in bench.result.message


def test_before_a_reset_nothing_is_commanded(robot, config, monkeypatch):
    fresh = SafetyFilter(robot, config)
    result = fresh.step(None, Plan(8), World(), 1.0, DT)
    assert result.command is None and result.reason == 'no_joint_state'
    assert not fresh.clear()
    for bad in (np.zeros(3), np.full(8, np.nan)):
        with pytest.raises(ShapeError):
            fresh.reset(bad)
    with pytest.raises(UnknownNameError, match='estop'):
        fresh.trip('e-stop')


def test_same_inputs_give_the_same_bits(safety, robot):
    answers = []
    for _ in range(2):
        bench = Bench(safety, robot)
        bench.goal(0.9, seconds=0.4)
        answers.append(np.array([r.command.positions[0] for r in bench.run(100)]))
    np.testing.assert_array_equal(answers[0], answers[1])
