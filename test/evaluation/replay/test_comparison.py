"""Figures of predicted chunks against plain numpy, and the signs of damage on made motion."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.evaluation.replay.comparison import errors, gripper_accuracy, tool_errors
from vla_ros.evaluation.replay.open_loop import Prediction
from vla_ros.evaluation.replay.pairs import pairs
from vla_ros.evaluation.replay.suspicion import joint_order, scales, tool_order
from vla_ros.evaluation.replay.track import Motion, Track
from vla_ros.kinematics import Kinematics
from vla_ros.robot import load_robot
from vla_ros.types import JointState, Observation, Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
NAMES = ROBOT.joint_names
STEPS = 0.1 * np.arange(1, 9)  # [s]
STAMPS = np.arange(0.0, 5.9, 0.3)  # [s]


def way(times):
    """Joints that each move in a way of their own (..., 8)."""
    t = np.asarray(times)[..., None]
    k = np.arange(1, 9)
    home = np.array([*ROBOT.home, 0.02])
    return home + 0.2 / k * np.sin(0.7 * np.sqrt(k) * t + k) * (k < 8)


@pytest.fixture
def track():
    stamps = np.arange(0.0, 6.0, 0.005)
    motion = Motion(stamps, way(stamps), np.gradient(way(stamps), stamps, axis=0), stamps)
    return Track('made', ROBOT, 0.0, 6.0, motion, lambda m: m, lambda cameras: iter(()))


def predict(change=lambda positions, seen: positions, stamps=STAMPS):
    found = []
    for stamp in stamps:
        seen = JointState(float(stamp), way(stamp), np.zeros(8))
        positions = change(way(stamp + STEPS), way(stamp))
        obs = Observation(float(stamp), {}, seen, 'go')
        found.append(Prediction(obs, Trajectory(float(stamp), STEPS, positions), None))
    return found


def test_errors_are_those_of_numpy_and_end_with_the_recording(track):
    rng = np.random.default_rng(0)
    noise = []

    def change(positions, seen):
        noise.append(0.01 * rng.normal(size=positions.shape))
        return positions + noise[-1]

    found = errors(pairs(track, predict(change)), NAMES)
    inside = (STAMPS[:, None] + STEPS) <= track.joints.stamps[-1]
    kept = np.array(noise)[inside]
    assert found['points'] == inside.sum() < inside.size
    # Linear interpolation between 5 ms states: off by at most h^2 |a| / 8.
    assert found['action_mae'] == pytest.approx(np.abs(kept[:, :-1]).mean(), abs=1e-5)
    still = way(STAMPS[:, None] + STEPS)[inside] - np.repeat(way(STAMPS)[:, None], 8, 1)[inside]
    assert found['against_still'] == pytest.approx(
        np.abs(kept[:, :-1]).mean() / np.abs(still[:, :-1]).mean(), rel=1e-3
    )
    assert found['action_mse'] == pytest.approx((kept[:, :-1] ** 2).mean(), rel=1e-3)
    for j, name in enumerate(NAMES):
        assert found['per_joint'][name]['mae'] == pytest.approx(
            np.abs(kept[:, j]).mean(), abs=1e-5
        )
    for k, step in enumerate(found['per_step']):
        some = np.array(noise)[inside[:, k], k, :-1]
        assert step['mse'] == pytest.approx((some**2).mean(), rel=1e-3)


def test_a_perfect_prediction_has_no_error_and_no_sign_of_damage(track):
    both = pairs(track, predict())
    kinematics = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
    tool = tool_errors(both, kinematics)
    assert errors(both, NAMES)['action_mae'] < 1e-5
    assert tool['tool_mm'] < 0.01 and tool['tool_deg'] < 0.01
    assert tool['tool_order'] == pytest.approx(1.0)
    assert joint_order(both, NAMES)['joint_order'] == pytest.approx(1.0)
    assert scales(both, NAMES)['joint_scale'] == pytest.approx(1.0, abs=1e-3)


def test_a_tool_that_is_off_by_a_joint_turn_is_off_by_its_lever(track):
    """Joint 1 turns about the base's z: a turn by a moves the tool by 2 r sin(a / 2)."""

    def change(positions, seen):
        return positions + 0.1 * (np.arange(8) == 0)

    kinematics = Kinematics(ROBOT.urdf_path, ROBOT.arm_joints, ROBOT.tool_frame)
    both = pairs(track, predict(change))
    known = ~np.isnan(both.error).any(axis=-1)
    radii = [np.hypot(*kinematics.fk(q[:-1])[1][:2]) for q in both.executed[known]]
    found = tool_errors(both, kinematics)
    assert found['tool_mm'] == pytest.approx(2e3 * np.mean(radii) * np.sin(0.05), rel=1e-3)
    assert found['tool_deg'] == pytest.approx(np.degrees(0.1), rel=1e-3)


@pytest.mark.parametrize('factor', [0.25, 3.0, 180.0 / np.pi])
def test_scales_are_the_factor_of_the_motion_or_of_the_positions(track, factor):
    moved = scales(pairs(track, predict(lambda p, seen: seen + factor * (p - seen))), NAMES)
    assert moved['joint_scale'] == pytest.approx(factor, rel=1e-3)
    assert set(moved['joint_scales']) == set(NAMES[:-1])
    whole = scales(pairs(track, predict(lambda p, seen: factor * p)), NAMES)
    assert whole['position_scale'] == pytest.approx(factor, rel=1e-3)


@pytest.mark.parametrize('i, j', [(0, 1), (2, 4), (3, 5)])
@pytest.mark.parametrize('relative', [False, True])
def test_exchanged_joints_are_named(track, i, j, relative):
    order = np.arange(8)
    order[[i, j]] = j, i

    def change(positions, seen):
        return seen + (positions - seen)[:, order] if relative else positions[:, order]

    found = joint_order(pairs(track, predict(change)), NAMES)
    assert found['joint_order'] > 1.5
    assert found['joint_swaps'] == {NAMES[i]: NAMES[j], NAMES[j]: NAMES[i]}


@pytest.mark.parametrize('matrix', [
    [[0, 1, 0], [1, 0, 0], [0, 0, 1]], [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
])  # fmt: skip
def test_exchanged_and_mirrored_axes_fit_worse(matrix):
    done = np.random.default_rng(1).normal(size=(200, 3))
    assert tool_order(done @ np.array(matrix), done) > 100.0
    assert tool_order(done, done) == 1.0


def test_gripper_counts_what_it_was_told(track):
    """It was told to close at 3 s while a thing kept it half open all the time."""
    told = Track(**{**vars(track), 'grips': (((0.0, 0.04), (3.0, 0.0)),)})

    def opens(positions, seen):
        return np.concatenate([positions[:, :-1], np.full((len(positions), 1), 0.04)], axis=1)

    predictions = predict(opens)
    both = pairs(told, predictions)
    times = np.array([p.trajectory.stamp + STEPS for p in predictions])
    inside = times <= track.joints.stamps[-1]
    share = (times[inside] < 3.0).mean()
    assert gripper_accuracy(told, both, predictions) == pytest.approx(share)
