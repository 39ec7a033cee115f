"""Policy and override take turns on one plan clock, and begin where the arm is."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.actions.arbiter import Arbiter
from vla_ros.actions.timeline import Verdict
from vla_ros.types import Trajectory

JOINTS = ('lift', 'turn', 'grip')
HERE = np.zeros(3)
DT = 0.01


def line(stamp: float, seconds: float = 1.0, by: float = 0.2, begin: float = 0.0) -> Trajectory:
    times = np.linspace(0.1, seconds, 10)
    positions = np.zeros((10, 3))
    positions[:, 0] = begin + by * times / seconds
    return Trajectory(stamp, times, positions)


def empty(stamp: float) -> Trajectory:
    return Trajectory(stamp, np.zeros(0), np.zeros((0, 3)))


class Walk:
    """Advances the plan clock as the filter does."""

    def __init__(self) -> None:
        self.arbiter = Arbiter(JOINTS, tolerance=0.5)
        self.now = 100.0
        self.arbiter.reset(self.now)

    def run(self, seconds: float, rate: float = 1.0, at_rest: bool = False) -> None:
        for _ in range(round(seconds / DT)):
            self.now += DT
            self.arbiter.update(self.now, at_rest)
            self.arbiter.plan.advance(self.now, rate, DT)

    def here(self) -> np.ndarray:
        plan = self.arbiter.plan
        return plan.sample(plan.clock.phi).position

    def follow(self, trajectory: Trajectory) -> Verdict:
        return self.arbiter.follow(trajectory, self.now, HERE).verdict

    def override(self, trajectory: Trajectory) -> Verdict:
        return self.arbiter.override(trajectory, self.now, HERE).verdict


@pytest.fixture
def walk() -> Walk:
    made = Walk()
    made.run(0.1)
    return made


def test_nobody_then_the_policy_then_the_override(walk):
    assert walk.arbiter.source == ''
    assert walk.follow(line(walk.now)) is Verdict.ACCEPTED
    assert walk.arbiter.source == 'policy'
    assert walk.override(line(walk.now, by=-0.2)) is Verdict.ACCEPTED
    assert walk.arbiter.source == 'override'
    walk.run(1.5)
    assert walk.here()[0] == pytest.approx(-0.2)


def test_the_policy_is_refused_until_the_override_has_ended_at_rest(walk):
    assert walk.override(line(walk.now)) is Verdict.ACCEPTED
    walk.run(0.5)
    assert walk.follow(line(walk.now)) is Verdict.OVERRIDDEN
    walk.run(0.7)  # its end is past, the arm still moves
    assert walk.follow(line(walk.now)) is Verdict.OVERRIDDEN
    before = walk.now
    walk.run(0.02, at_rest=True)
    assert walk.arbiter.source == ''
    assert walk.follow(line(before)) is Verdict.BEFORE_RESET
    assert walk.follow(line(walk.now)) is Verdict.ACCEPTED


def test_an_override_that_is_held_does_not_end(walk):
    walk.override(line(walk.now, seconds=0.5))
    walk.run(5.0, rate=0.0, at_rest=True)
    assert walk.arbiter.source == 'override'
    walk.run(0.6, at_rest=True)
    assert walk.arbiter.source == ''


def test_an_empty_override_ends_both_plans(walk):
    walk.follow(line(walk.now))
    old = walk.now
    walk.override(line(walk.now))
    walk.run(0.2)
    assert walk.override(empty(walk.now)) is Verdict.STOP
    assert walk.arbiter.plan.stamp is None
    assert walk.follow(line(old + 0.1)) is Verdict.BEFORE_RESET
    walk.run(0.1)
    assert walk.follow(line(walk.now)) is Verdict.ACCEPTED


def test_an_override_without_a_stamp_begins_now(walk):
    assert walk.override(line(0.0)) is Verdict.ACCEPTED
    assert walk.arbiter.plan.stamp == walk.now
    assert walk.override(empty(0.0)) in (Verdict.STOP, Verdict.DUPLICATE)
    walk.run(DT)
    assert walk.override(empty(0.0)) is Verdict.STOP


def test_an_override_needs_no_newer_one(walk):
    walk.override(line(walk.now))
    assert walk.arbiter.plan.lasting
    walk.arbiter.reset(walk.now)
    assert not walk.arbiter.plan.lasting


@pytest.mark.parametrize('turn', [Walk.follow, Walk.override])
def test_the_first_of_a_turn_must_begin_near_and_the_next_one_may(walk, turn):
    assert turn(walk, line(walk.now, begin=0.6)) is Verdict.START_POSE
    assert walk.arbiter.source == ''
    assert walk.arbiter.plan.stamp is None
    walk.run(DT)
    assert turn(walk, line(walk.now, begin=0.4)) is Verdict.ACCEPTED
    walk.run(DT)
    assert turn(walk, line(walk.now, begin=0.9)) is Verdict.ACCEPTED


def test_the_refused_start_is_the_fault_until_a_near_one_comes(walk):
    walk.follow(line(walk.now, begin=-0.6))
    refusal = walk.arbiter.plan.refusal
    assert refusal.fault == 'start_pose'
    assert 'lift begins 0.580 rad' in refusal.reason
    walk.run(DT)
    walk.follow(line(walk.now))
    assert walk.arbiter.plan.refusal is None


def test_a_far_override_leaves_the_policy_its_turn(walk):
    walk.follow(line(walk.now))
    assert walk.override(line(walk.now, begin=0.8)) is Verdict.START_POSE
    assert walk.arbiter.source == 'policy'


def test_a_late_chunk_is_judged_where_it_is_entered(walk):
    """Its first points lie far away but are past; the point that is due now is near."""
    stamp = walk.now
    walk.run(0.9)
    positions = np.zeros((20, 3))
    positions[:, 0] = np.linspace(-2.0, 0.1, 20)
    chunk = Trajectory(stamp, np.linspace(0.05, 1.0, 20), positions)
    assert walk.follow(chunk) is Verdict.ACCEPTED


def test_the_gripper_may_begin_anywhere(walk):
    chunk = line(walk.now)
    positions = chunk.positions.copy()
    positions[:, 2] = 9.0
    assert walk.follow(Trajectory(chunk.stamp, chunk.times, positions)) is Verdict.ACCEPTED


def test_the_plan_clock_runs_on_through_every_turn(walk):
    phi = walk.arbiter.plan.clock.phi
    walk.follow(line(walk.now))
    walk.run(0.1)
    walk.override(line(walk.now, seconds=0.3))
    walk.run(0.5, at_rest=True)
    assert walk.arbiter.source == ''
    assert walk.arbiter.plan.clock.phi == pytest.approx(phi + 0.6)
