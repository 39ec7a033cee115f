"""The same pick through the double of every controller, and what the controllers got meanwhile."""

from __future__ import annotations

from dataclasses import replace

from chain import DrivenFilter
import numpy as np
import pytest

from vla_ros import paths
from vla_ros.drivers.goals import DELAY
from vla_ros.evaluation.rollout import Rollout
from vla_ros.evaluation.scripted import ScriptedPolicy
from vla_ros.evaluation.suite import load_suite
from vla_ros.robot import Driver, load_robot, RobotSpec
from vla_ros.safety.config import load_safety
from vla_ros.safety.filter import SafetyFilter
from vla_ros.status import GoalCode

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

NAMES = [
    'panda', 'panda_action', 'panda_streaming', 'panda_velocity', 'panda_isaac', 'panda_servo',
]  # fmt: skip
PANDA = load_robot(paths.find('robots', 'panda'))
CARRIED = Driver('joint_trajectory_controller', 'arm_and_hand/joint_trajectory', gripper='arm')
ROBOTS = {name: load_robot(paths.find('robots', name)) for name in NAMES}
ROBOTS['panda with one controller for arm and gripper'] = replace(PANDA, driver=CARRIED)
EPISODE = next(e for e in load_suite('tabletop').episodes(8, 0) if e.task == 'pick')
SPEED, ACCEL = PANDA.limits('velocity'), PANDA.limits('acceleration')
SLACK = 1e-6


@pytest.fixture(scope='module')
def guard() -> SafetyFilter:
    return SafetyFilter(PANDA, load_safety(paths.find('safety', 'default')))


def test_there_is_a_robot_file_for_every_kind():
    from vla_ros.robot import GRIPPERS, KINDS

    assert {robot.driver.kind for robot in ROBOTS.values()} == KINDS.keys()
    assert {robot.driver.gripper for robot in ROBOTS.values()} == GRIPPERS.keys()


@pytest.mark.parametrize('robot', ROBOTS.values(), ids=ROBOTS.keys())
def test_the_pick_succeeds_and_every_command_is_inside_the_limits(
    robot: RobotSpec, guard: SafetyFilter
):
    driven = DrivenFilter(guard, robot)
    rollout = Rollout(robot, ScriptedPolicy(), driven)
    try:
        outcome = rollout.run(EPISODE)
    finally:
        rollout.close()
    assert outcome.success and not outcome.collision, outcome
    late = (
        robot.driver.kind == 'follow_joint_trajectory'
    )  # so the filter waits for its first steps
    assert driven.reasons <= ({'no_plan', 'arm_stays'} if late else {'no_plan'})
    chain, period = driven.chain, driven.config.period
    reached, wanted = np.array(driven.reached), np.array(driven.references)
    lag = round(DELAY / period) if late else 0
    behind = reached[lag:] - wanted[: len(wanted) - lag]
    closed = robot.driver.arm.velocity
    # The loop of a velocity controller leads by what the simulated arm lags.
    assert np.abs(behind).max() < (0.01 if closed else SLACK), 'the spline is the reference'
    assert np.abs(np.diff(reached, axis=0)).max() <= (SPEED * period).max() + SLACK
    for trajectory in chain.goals:
        assert (np.diff(trajectory.times) > 0.0).all()
        assert not trajectory.velocities[-1].any()
        assert (np.abs(trajectory.velocities[:, :7]) <= SPEED + SLACK).all()
    assert chain.codes <= {None, GoalCode.SUCCESSFUL}
    if chain.sent:
        values = np.array([v[:7] for _, v in chain.sent])
        speeds = values if closed else np.diff(values, axis=0) / period
        assert (np.abs(speeds) <= SPEED + SLACK).all()
    if robot.driver.carries:
        grips = np.array([t.positions[0, 7] for t in chain.goals] or [v[7] for _, v in chain.sent])
        assert np.ptp(grips) > 0.01, 'the gripper moved'
        assert np.abs(np.diff(grips)).max() <= robot.gripper.velocity * period + SLACK
