"""The ordered interventions: what each mode does about a body in the way, and what none does."""

from __future__ import annotations

from dataclasses import replace

from drive import Drive, DT
import numpy as np
import pytest

from vla_ros.actions import Plan
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.safety import Level, World
from vla_ros.safety.tick import go_around
from vla_ros.types import Trajectory


@pytest.fixture
def make(safety, robot, config):
    """Make a drive in a mode; the filter gets its own settings back."""
    yield lambda mode, **kwargs: Drive(safety, robot, replace(config, mode=mode), **kwargs)
    safety.retune(config)


@pytest.fixture(scope='module')
def post(robot):
    """A thin post that the tool runs into on its sweep."""
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    q = np.array(robot.home)
    q[0] += 1.0
    _, tool = kinematics.fk(q)
    return World(
        99.0,
        (
            Obstacle(
                name='post',
                shape='cylinder',
                size=np.array([0.5, 0.03]),
                position=np.array([tool[0], tool[1], 0.25]),
                orientation=np.array([0.0, 0.0, 0.0, 1.0]),
                linear_velocity=np.zeros(3),
                angular_velocity=np.zeros(3),
            ),
        ),
    )


@pytest.mark.parametrize('mode', ['path', 'cbf', 'path+cbf', 'stop'])
def test_nothing_in_the_way_is_nothing_done(make, mode):
    drive = make(mode)
    results = drive.run(4.0)
    assert max(drive.off_path) < 1e-6
    assert sum(r.rate == 1.0 for r in results) > 700
    assert max(r.level for r in results) <= Level.S1_FILTERED


@pytest.mark.parametrize('mode', ['path', 'cbf', 'path+cbf', 'stop'])
def test_every_mode_keeps_its_distance(make, post, mode):
    drive = make(mode, world=post)
    results = drive.run(4.0)
    assert min(r.min_barrier for r in results) > -2e-6
    assert any('post' in name for r in results for name in r.active_constraints) or mode == 'path'


def test_path_slows_down_and_never_leaves_the_way(make, post):
    drive = make('path', world=post)
    results = drive.run(4.0)
    held = [r for r in results if r.intervention == 'straight_brake']
    assert not held  # the way of every tick is the plan's, also while it brakes
    assert max(drive.off_path) < 1e-6
    assert results[-1].rate < 0.01 and results[-1].phi < 2.0
    rates = [r.rate for r in results if r.level is Level.S1_FILTERED]
    assert any(0.05 < rate < 0.5 for rate in rates)  # it came to rest little by little


def test_cbf_leaves_the_way(make, post):
    drive = make('cbf', world=post)
    drive.run(4.0)
    assert max(drive.off_path) > 1e-2 and 'cbf' in drive.interventions


def test_path_cbf_waits_before_it_goes_around(make, post, config):
    drive = make('path+cbf', world=post)
    results = drive.run(6.0)
    start = len(results) - len(drive.off_path)
    first = start + next(k for k, off in enumerate(drive.off_path) if off > 1e-4)
    slow = [k for k, r in enumerate(results) if r.rate < config.slow_rate and k > 100]
    assert first - slow[0] >= 0.9 * config.slow_patience / DT


@pytest.mark.parametrize('off', [0.0, 1e-3])  # [rad] of the reference from the plan
@pytest.mark.parametrize('phi', [-0.1, 0.5])  # [s] before and after the plan's first point
def test_path_cbf_stays_off_the_way_until_it_is_on_the_plan_again(make, robot, safety, off, phi):
    """In front of the body again it would wait for its whole patience once more."""
    make('path+cbf')
    plan, knobs, work = Plan(len(robot.joint_names)), safety.scene.knobs, safety.scene.work
    plan.reset(0.0)
    still = np.tile(np.append(robot.home, 0.04), (2, 1))
    assert plan.accept(Trajectory(0.001, np.array([0.0, 1.0]), still), 0.01).ok
    work.error[:] = 0.0
    work.error[3] = off
    waited = go_around(plan.pieces, phi, 1.0, 0.0, knobs.patience, False, DT, knobs, work)
    assert waited == (knobs.patience, True, False)  # held up for long: it leaves the way
    back = off == 0.0 and phi > 0.0
    free = go_around(plan.pieces, phi, 1.0, 1.0, 0.0, True, DT, knobs, work)
    assert free == (0.0, not back, back)


def test_stop_does_nothing_until_the_stop_itself(make, post):
    drive = make('stop', world=post)
    results = drive.run(2.0)
    moving = [r for r in results if r.level <= Level.S1_FILTERED and r.phi > 0.4]
    assert all(r.rate > 0.9 for r in moving[5:40])
    assert any(r.reason == 'stop_not_verified' for r in results)


def test_off_says_so_and_keeps_the_joint_limits_only(make, post, robot):
    drive = make('off', world=post)
    results = drive.run(4.0)
    assert min(r.min_barrier for r in results) < -0.02  # right through it
    assert results[-1].phi > 3.5
    assert all(r.reason == 'off' and 'OFF' in r.message for r in results if r.level < 2)
    speed = [np.abs(r.command.velocities[0, :-1]) / robot.limits('velocity') for r in results]
    assert np.max(speed) <= 1.0 + 1e-9


def test_an_unknown_mode_names_the_closest(config):
    with pytest.raises(UnknownNameError, match='path'):
        replace(config, mode='paht')


def test_the_plan_clock_waits_and_goes_on_from_the_newest_chunk(make, post, robot):
    """Held for 2 s while chunks keep coming; released, the reference goes on without a jump."""
    drive = make('path')
    drive.run(0.8)
    body = replace(
        post.obstacles[0], position=np.array([0.45, 0.0, 0.3]), size=np.array([0.6, 0.05]),
        role='target',
    )  # fmt: skip
    near = World(drive.now, (body,))
    drive.run(2.0, world=near)  # a thing to grasp that appears in the arm itself: nothing may move
    held = drive.results[-1]
    assert held.rate == 0.0 and not held.command.velocities[0].any()
    before = drive.q.copy()
    drive.run(1.2)
    assert drive.results[-1].rate > 0.5
    steps = np.array([r.command.velocities[0, :-1] for r in drive.results[-240:]])
    assert (np.abs(np.diff(steps, axis=0)) <= robot.limits('acceleration') * DT + 1e-9).all()
    assert np.abs(drive.results[-240].command.positions[0] - before).max() < 1e-3


def test_retuning_in_flight_takes_effect_and_never_makes_the_present_illegal(make, config, safety):
    drive = make('path+cbf')
    drive.run(0.6)
    near = safety.scene.nearest(1)[0]
    assert near.distance < 0.1
    wide = replace(config, margin_self=0.1, margin_floor=0.1, margin_finger_floor=0.1)
    with pytest.raises(ConfigError, match='nearer than the new margin'):
        safety.retune(wide)
    with pytest.raises(ConfigError, match='tool_speed'):
        safety.retune(replace(config, tool_speed=0.02))
    with pytest.raises(ConfigError, match='period'):
        safety.retune(replace(config, period=0.004))
    assert safety.config.tool_speed == config.tool_speed
    safety.retune(replace(config, tool_speed=0.45))
    assert safety.config.tool_speed == 0.45


def test_the_tool_is_never_faster_than_its_limit(make, safety, robot, config):
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    drive = make('path+cbf')
    safety.retune(replace(config, tool_speed=0.12))
    before = kinematics.fk(drive.q[:-1])[1]
    fastest = 0.0
    for _ in drive.run(2.0):
        pass
    for result in drive.results:
        after = kinematics.fk(result.command.positions[0, :-1])[1]
        fastest = max(fastest, float(np.linalg.norm(after - before)) / DT)
        before = after
    assert 0.08 < fastest <= 0.12 * 1.01
    assert max(drive.off_path) < 1e-6  # it is the clock that slows down


def test_speed_scale_bounds_the_clock(make, safety):
    drive = make('path+cbf')
    safety.speed_scale = 0.3
    results = drive.run(1.5)
    safety.speed_scale = 1.0
    assert max(r.rate for r in results) == pytest.approx(0.3)
    assert results[-1].level is Level.S0_NOMINAL
