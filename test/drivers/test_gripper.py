"""The gripper's way, its goals, and how they are judged."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.drivers.follower import TrajectoryFollower
from vla_ros.drivers.goal_judge import GripperJudge, judge, Tolerances
from vla_ros.drivers.gripper import AGAIN, EVERY, GripperGoals, GripperRamp, last_position
from vla_ros.robot import Gripper
from vla_ros.status import GoalCode
from vla_ros.types import JointCommand, Trajectory

HAND = Gripper('finger', 0.0, 0.04, velocity=0.1, effort=40.0)
PERIOD = 0.005


def command(target: float, stop: float) -> JointCommand:
    times = PERIOD + stop * np.array([0.0, 0.5, 1.0] if stop else [0.0])
    positions = np.tile([1.0, target], (len(times), 1))
    return JointCommand(3.0, times, positions, np.zeros_like(positions))


TARGETS = st.tuples(st.floats(0.0, 0.04), st.sampled_from([0.0, 1e-6, 0.02, 0.4]))


@settings(max_examples=30)
@given(st.lists(TARGETS, min_size=2))
def test_a_carried_gripper_is_never_faster_than_it_can_be_and_ends_at_rest(said):
    ramp, place = GripperRamp(HAND), said[0][0]
    for target, stop in said:
        sent = ramp.carry(command(target, stop))
        assert abs(sent.positions[0, -1] - place) <= HAND.velocity * PERIOD + 1e-12
        place = sent.positions[0, -1]
        assert (np.diff(sent.times) > 0.0).all()
        assert not sent.velocities[-1].any()
        np.testing.assert_array_equal(sent.positions[:, 0], 1.0)
        arm = TrajectoryFollower(np.array([1.0, place]))
        arm.accept(Trajectory(0.0, sent.times, sent.positions, sent.velocities), 0.0)
        path = np.array([arm.sample(t)[0][1] for t in np.linspace(PERIOD, sent.times[-1], 60)])
        dt = (sent.times[-1] - PERIOD) / 59
        assert np.abs(np.diff(path)).max() <= HAND.velocity * max(dt, 1e-9) * 1.01 + 1e-12


def test_it_arrives_after_the_time_of_its_stroke_and_stays():
    ramp = GripperRamp(HAND)
    ramp.carry(command(0.04, 0.0))
    places = [ramp.carry(command(0.0, 0.0)).positions[0, -1] for _ in range(120)]
    assert places[78] > 0.0 and places[80] == pytest.approx(0.0, abs=1e-12)
    assert len(ramp.carry(command(0.0, 0.0)).times) == 1


def test_a_goal_is_sent_once_and_not_too_often():
    goals = GripperGoals()
    assert goals.take(0.0) is None
    goals.want(0.01)
    assert goals.take(1.0) == 0.01
    assert goals.take(2.0) is None
    goals.want(0.02)
    assert goals.take(2.0) == 0.02
    goals.want(0.03)
    assert goals.take(2.0 + 0.5 * EVERY) is None
    assert goals.take(2.0 + EVERY) == 0.03
    goals.failed(3.0)
    assert goals.take(3.0 + 0.5 * AGAIN) is None
    assert goals.take(3.0 + AGAIN) == 0.03


@pytest.mark.parametrize('bad', [np.zeros((0, 1)), np.array([[np.nan]]), np.array([[np.inf]])])
def test_what_is_no_place_is_none(bad):
    assert last_position(bad) is None
    assert last_position(np.array([[0.0], [0.03]])) == 0.03


def test_a_gripper_that_holds_something_is_stalled():
    hand = GripperJudge()
    hand.begin(10.0)
    assert hand.judge(0.0, 0.03, -0.1, 10.2) == ''
    assert hand.judge(0.0, 0.015, 0.0, 10.9) == ''
    assert hand.judge(0.0, 0.015, 0.0, 10.2 + hand.patience + 0.01) == 'stalled'
    assert hand.judge(0.01, 0.015, 0.0, 10.3) == 'reached'


def test_a_goal_is_judged_by_its_tolerances():
    arm, wide = TrajectoryFollower(np.zeros(2)), Tolerances(path=0.1, goal=0.01, time=0.5)
    arm.accept(Trajectory(5.0, [1.0], [[1.0, 0.0]], np.zeros((1, 2))), 5.0)
    halfway = arm.sample(5.5)[0]
    assert judge(arm, wide, halfway + 0.09, 5.5) is None
    assert judge(arm, wide, halfway + 0.11, 5.5) is GoalCode.PATH_TOLERANCE_VIOLATED
    assert judge(arm, wide.asked(-1.0, 0.0, 0.0), halfway + 0.5, 5.5) is None
    end = np.array([1.0, 0.0])
    assert judge(arm, wide, end + 0.02, 6.4) is None
    assert judge(arm, wide, end + 0.02, 6.6) is GoalCode.GOAL_TOLERANCE_VIOLATED
    assert judge(arm, wide, end + 0.005, 6.1) is GoalCode.SUCCESSFUL
    assert judge(arm, wide.asked(0.0, 0.03, 0.0), end + 0.02, 6.1) is GoalCode.SUCCESSFUL
    assert judge(arm, wide, end[:1], 6.1) is GoalCode.SUCCESSFUL  # the gripper may be off
