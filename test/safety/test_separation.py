"""Speed and separation: the formula, the fastest point, and what the arm then does."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pinocchio as pin
import pytest

from vla_ros.actions import Plan
from vla_ros.obstacle import Obstacle
from vla_ros.safety import Level, World
from vla_ros.safety.chain import forward
from vla_ros.safety.separation import allowed_share, fastest_point, protective_distance
from vla_ros.types import JointState, Trajectory

DT = 0.005
metres = st.floats(0.01, 3.0)


@given(
    fast=metres, stop=st.floats(0.01, 1.0), person=st.floats(0.0, 2.0),
    reaction=st.floats(0.0, 0.5), intrusion=st.floats(0.0, 0.5), apart=st.floats(0.0, 5.0),
)  # fmt: skip
@example(fast=1.0, stop=0.25, person=0.0, reaction=0.0, intrusion=0.0, apart=5e-324)
@example(fast=1.0, stop=0.25, person=0.0, reaction=5e-324, intrusion=0.0, apart=5e-324)
def test_the_allowed_share_is_where_the_protective_distance_is_the_distance(
    fast, stop, person, reaction, intrusion, apart
):
    share = allowed_share(fast, stop, person, reaction, intrusion, apart)
    needed = protective_distance(share * fast, share * stop, person, reaction, intrusion)
    at_rest = protective_distance(0.0, 0.0, person, reaction, intrusion)
    if share > 0.0:
        assert needed == pytest.approx(apart, abs=1e-9)
    else:
        assert at_rest >= apart - 1e-12


def test_the_figures_of_the_standard_s_formula():
    """v_h 1.6, v_r 1, T_r 0.1, T_s 0.3, C 0.35: 0.64 + 0.1 + 0.15 + 0.35 = 1.24 m, by hand."""
    assert protective_distance(1.0, 0.3, 1.6, 0.1, 0.35) == pytest.approx(1.24)


@given(seed=st.integers(0, 2**32 - 1))
def test_no_point_of_a_capsule_is_faster_than_the_fastest(shared_filter, robot, seed):
    """By pinocchio's finite differences of points that are drawn from every capsule."""
    rng = np.random.default_rng(seed)
    arm, pose = shared_filter.scene.arm, shared_filter.scene.pose
    q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
    v = rng.uniform(-1.0, 1.0, robot.dof) * robot.limits('velocity')
    forward(arm, q, pose)
    bound = fastest_point(arm, pose, v)
    model = pin.buildModelFromUrdf(str(robot.urdf_path))
    data, step, fastest = model.createData(), 1e-6, 0.0
    places = []
    for place in (q - step * v, q + step * v):
        full = pin.neutral(model)
        full[: robot.dof] = place
        pin.framesForwardKinematics(model, data, full)
        poses = [data.oMf[model.getFrameId(capsule.link)].copy() for capsule in robot.capsules]
        places.append(poses)
    for capsule, before, after in zip(robot.capsules, *places):
        for share in (0.0, 0.5, 1.0):
            out = rng.normal(size=3)
            point = np.array(capsule.a) + share * (np.array(capsule.b) - np.array(capsule.a))
            point = point + capsule.radius * out / np.linalg.norm(out)
            speed = np.linalg.norm(after.act(point) - before.act(point)) / (2.0 * step)
            fastest = max(fastest, float(speed))
    assert fastest <= bound + 1e-6
    assert fastest >= 0.5 * bound  # it is a bound that means something


def person(place, velocity=(0.0, 0.0, 0.0)) -> Obstacle:
    return Obstacle(
        'person', 'capsule', np.array([1.4, 0.2]), np.array(place), np.array([0.0, 0.0, 0.0, 1.0]),
        np.array(velocity), role='person',
    )  # fmt: skip


class Walkabout:
    """The base joint swings while a person walks; the arm is where it was commanded."""

    def __init__(self, safety, robot, config):
        safety.retune(config)
        self.safety, self.robot, self.config = safety, robot, config
        self.q, self.now = np.append(robot.home, 0.04), 100.0
        self.q[0] -= 0.6
        safety.reset(self.q)
        self.plan = Plan(len(robot.joint_names))
        self.plan.reset(self.now - DT)
        self.results, self.apart, self.speeds, self.stops = [], [], [0.0], []

    def swing(self, phi):
        q = np.append(self.robot.home, 0.04)
        q[0] -= 0.6 * math.cos(2.0 * phi)
        return q

    def run(self, seconds, place, velocity=(0.0, 0.0, 0.0)):
        accel = self.robot.limits('acceleration')
        for k in range(round(seconds / DT)):
            if k % 40 == 0:
                times = np.arange(1, 61) * 0.02
                points = np.array([self.swing(self.plan.clock.phi + t) for t in times])
                assert self.plan.accept(Trajectory(self.now, times, points), self.now).ok
            self.now += DT
            centre = np.array(place) + k * DT * np.array(velocity)
            world = World(self.now, (person(centre, velocity),))
            state = JointState(self.now, self.q, np.zeros_like(self.q))
            result = self.safety.step(state, self.plan, world, self.now, DT)
            scene = self.safety.scene
            self.apart.append(float(scene.work.h[scene.fixed :].min()))
            v = result.command.velocities[0, :-1]
            self.speeds.append(fastest_point(scene.arm, scene.work.pose, v))
            self.stops.append(float((np.abs(v) / accel).max()))
            self.q = result.command.positions[0].copy()
            self.results.append(result)
        return self.results

    def check(self):
        """See that no velocity needs more than there is, unless it is slower than before."""
        config, slow = self.config, 0
        for apart, fast, before, stop in zip(
            self.apart, self.speeds[1:], self.speeds[:-1], self.stops
        ):
            needed = protective_distance(
                fast, stop, config.person_speed, config.reaction_time + DT, config.intrusion
            )
            assert needed <= apart + 1e-6 or fast <= before * (1.0 + 1e-6)
            slow += needed > apart
        return slow


@pytest.fixture
def walk(safety, robot, config):
    yield lambda mode='path+cbf': Walkabout(safety, robot, replace(config, mode=mode))
    safety.retune(config)


def test_a_person_far_away_changes_nothing(walk):
    ways = []
    for x in (1e3, 4.0):
        drive = walk()
        ways.append([r.command.positions[0] for r in drive.run(2.0, (x, 0.0, 0.9))])
    np.testing.assert_array_equal(*ways)
    assert drive.check() == 0 and max(drive.speeds) > 0.5


@pytest.mark.parametrize('mode', ['path', 'cbf', 'path+cbf', 'stop'])
def test_the_arm_is_slower_the_nearer_a_person_stands(walk, mode):
    fastest = []
    for x in (4.0, 1.3, 1.2, 1.1):
        drive = walk(mode)
        drive.run(2.0, (x, 0.0, 0.9))
        drive.check()
        fastest.append(max(drive.speeds))
    assert fastest[0] > 1.3 * fastest[1] > 1.3 * fastest[2] and fastest[2] > fastest[3] > 0.0


@pytest.mark.parametrize('mode', ['path', 'path+cbf'])
def test_a_person_who_comes_stops_the_arm_and_leaving_lets_it_go_on(walk, mode):
    drive = walk(mode)
    drive.run(0.5, (3.0, 0.0, 0.9))
    drive.run(2.5, (3.0, 0.0, 0.9), (-0.8, 0.0, 0.0))
    drive.check()
    halted = drive.run(0.5, (1.0, 0.0, 0.9))[-1]
    assert not halted.command.velocities[0].any() and not halted.latched
    assert min(drive.apart) > drive.config.margin_obstacle
    drive.run(1.0, (1.0, 0.0, 0.9), (1.0, 0.0, 0.0))
    resumed = drive.run(1.0, (3.0, 0.0, 0.9))
    assert resumed[-1].level is Level.S0_NOMINAL and resumed[-1].rate == 1.0


def test_a_person_must_be_seen_again_and_again(safety, robot, config):
    world = World(100.0, (person((4.0, 0.0, 0.9)),))
    assert world.fault(100.4, config.obstacle_timeout) == ''
    assert world.fault(100.6, config.obstacle_timeout) == 'obstacle_stale'
