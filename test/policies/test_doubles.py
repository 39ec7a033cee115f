"""Policies without weights: where they lead a perfectly tracking arm, in any action space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from vla_ros import config, paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import ConfigError, PolicyError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.policies.noise import NoisePolicy
from vla_ros.policies.registry import create
from vla_ros.policies.replay import ReplayPolicy
from vla_ros.policies.scripted import ScriptedPolicy
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import JointState, Observation

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
TOOL = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)
HOME = np.append(ROBOT.home, ROBOT.gripper.open)
HOLD, NOISE, REPLAY, SCRIPTED = (
    config.load(paths.find('policies', name), PolicySpec)
    for name in ('hold', 'noise', 'replay', 'scripted')
)
GRIPPER = ActionSlice('gripper', 'range', closed=1.0, open=-1.0)
SPACES = {
    'joints': (ActionSlice('joint_position', 'rad'), GRIPPER),
    'steps': (ActionSlice('joint_delta', 'rad', 'previous', scale=0.2), GRIPPER),
    'speeds': (ActionSlice('joint_velocity', 'rad/s'), GRIPPER),
    'places': (ActionSlice('tool_position', 'm', 'observation'), GRIPPER),
    'poses': (ActionSlice('tool_pose', 'm', rotation='rotation_6d'), GRIPPER),
    'deltas': (
        ActionSlice('tool_delta', 'm_rad', 'previous', rotation='euler_XYZ', frame='tool'),
        GRIPPER,
    ),
}  # fmt: skip


def seen(stamp: float, position: np.ndarray) -> Observation:
    return Observation(stamp, {}, JointState(stamp, position, 0.0 * position), '')


def followed(policy, seconds: float, start=HOME, stamp=5.0):
    """Yield times, joints and chunks of an arm that is where it was told to be."""
    codec, spec, position = Codec(ROBOT, URDF, policy.spec), policy.spec, start
    policy.reset('', seed=4)
    for k in range(round(seconds / (spec.step * spec.replan_steps))):
        obs = seen(stamp + k * spec.step * spec.replan_steps, position)
        chunk = policy.infer(obs)
        path = codec.decode(chunk, obs.joints)
        for time, position in zip(path.times[: spec.replan_steps], path.positions):
            yield obs.stamp - stamp + time, position, chunk


@pytest.mark.parametrize('space', SPACES)
def test_hold_keeps_the_pose_in_every_action_space(space):
    """The arm was moved meanwhile: it goes back, and stays there."""
    policy = create(replace(HOLD, action=SPACES[space]), ROBOT)
    policy.reset('', seed=0)
    start = HOME.copy()
    start[7] -= 0.01
    policy.infer(seen(1.0, start))
    moved = start + np.append(0.05 * np.ones(7), -0.01)
    path = policy.codec.decode(policy.infer(seen(2.0, moved)), JointState(2.0, moved, moved * 0.0))
    for position in (path.positions[0], path.positions[-1]):
        np.testing.assert_allclose(TOOL.fk(position[:7])[1], TOOL.fk(HOME[:7])[1], atol=1e-4)
        assert position[7] == pytest.approx(start[7])


def test_the_script_is_walked_by_time_and_rests_at_its_waypoints():
    policy = create(SCRIPTED, ROBOT)
    r0, p0 = TOOL.fk(HOME[:7])
    times = np.array([0.0, 2.0, 4.0, 6.0])
    lifts, yaws = np.array([0.0, 0.05, 0.05, 0.0]), np.array([0.0, 0.0, 0.4, 0.0])
    slerp = Slerp(times, Rotation.from_euler('z', yaws[:, None]) * Rotation.from_matrix(r0))
    before = HOME
    for t, q, _ in followed(policy, 7.2):
        r, p = TOOL.fk(q[:7])
        k = min(int((t + 1e-9) / 2.0), 2)
        u = min(max((t - times[k]) / 2.0, 0.0), 1.0)
        way = times[k] + 2.0 * u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        np.testing.assert_allclose(p, p0 + [0, 0, np.interp(way, times, lifts)], atol=1e-4)
        assert (slerp(min(way, 6.0)).inv() * Rotation.from_matrix(r)).magnitude() < 1e-4
        shut = 4.0 - 1e-9 < t < 6.0 - 1e-9
        assert q[7] == pytest.approx(ROBOT.gripper.closed if shut else ROBOT.gripper.open)
        if k < 3 and abs(t - times[k]) < 0.11:  # nearly at rest: 0.05 m / 2 s would be 2.5 mm
            assert np.abs(q[:7] - before[:7]).max() < 2e-3
        before = q


@pytest.mark.parametrize('space', ['joints', 'steps', 'places', 'poses', 'deltas'])
def test_a_script_may_be_written_in_every_action_space_that_has_places(space):
    """Written as a policy would give it: two poses of the arm, one after the other."""
    spec = replace(HOLD, adapter='scripted', action=SPACES[space])
    codec = Codec(ROBOT, URDF, spec)
    goals = HOME + [[0.1] * 7 + [0.0], [-0.1, 0.1, 0.0, 0.1, 0.1, 0.1, -0.1, 0.0]]
    if space == 'places':
        goals[:, 2:7] = HOME[2:7]
    asked = codec.relative(np.array([codec.action(q) for q in goals]), seen(0.0, HOME).joints)
    options = {'waypoints': [{'time': 1.0 + k, 'action': list(a)} for k, a in enumerate(asked)]}
    policy = create(replace(spec, options=options), ROBOT)
    reached = {round(t, 6): q for t, q, _ in followed(policy, 2.5)}
    for time, goal in zip((1.0, 2.0), goals):
        place = TOOL.fk(reached[time][:7])[1]
        np.testing.assert_allclose(place, TOOL.fk(goal[:7])[1], atol=2e-4)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        ({}, ConfigError, 'options: missing waypoints'),
        ({'waypoints': []}, ConfigError, 'expected one or more'),
        ({'waypoints': [{'time': 0.0, 'action': [0.0] * 7}]}, ConfigError, 'above 0'),
        ({'waypoints': [{'time': 1.0, 'action': [0.0] * 6}]}, ConfigError, '6 numbers, '),
        ({'waypoint': []}, UnknownNameError, "Did you mean 'waypoints'"),
    ],
)
def test_a_script_that_cannot_be_walked_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        ScriptedPolicy(replace(SCRIPTED, options=options), ROBOT)


def test_a_script_has_no_speeds():
    with pytest.raises(ConfigError, match='joint_velocity is none'):
        ScriptedPolicy(replace(SCRIPTED, action=SPACES['speeds']), ROBOT)


@pytest.mark.parametrize('space', SPACES)
def test_noise_stays_within_its_bounds_and_uses_them(space):
    options = {'length': 0.02, 'angle': 0.05, 'opening': 0.25, 'pace': 0.5}
    policy = NoisePolicy(replace(NOISE, action=SPACES[space], options=options), ROBOT)
    start = HOME.copy()
    start[7] = 0.02
    positions = np.array([q for _, q, _ in followed(policy, 40.0, start)])
    away = positions - start
    poses = [TOOL.fk(q[:7]) for q in positions]
    if space in ('joints', 'steps', 'speeds'):
        used = np.abs(away[:, :7]).max(axis=0) / 0.05
    else:
        used = np.abs([p - TOOL.fk(start[:7])[1] for _, p in poses]).max(axis=0) / 0.02
    assert used.max() < 1.01 and used.min() > 0.8
    assert 0.009 < np.abs(away[:, 7]).max() < 0.01 + 1e-9  # a quarter of the gripper's 0.04 m
    if space in ('poses', 'deltas'):
        r0 = Rotation.from_matrix(TOOL.fk(start[:7])[0])
        ways = np.array([(Rotation.from_matrix(r) * r0.inv()).as_rotvec() for r, _ in poses])
        assert 0.04 < np.abs(ways).max() < 0.051


def test_noise_is_another_in_every_chunk_and_the_same_for_a_seed():
    policy = create(NOISE, ROBOT)
    runs = []
    for seed in (1, 1, 2):
        policy.reset('', seed=seed)
        runs.append([policy.infer(seen(1.0, HOME)).actions for _ in range(2)])
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.allclose(runs[0][0], runs[0][1])
    assert not np.allclose(runs[0], runs[2])
    still = create(replace(NOISE, options={'pace': 0.0}), ROBOT)
    still.reset('', seed=0)
    np.testing.assert_allclose(still.infer(seen(1.0, HOME)).actions[:, :6], 0.0, atol=1e-12)
    with pytest.raises(ConfigError, match='angle is -1.0, expected 0 or more'):
        create(replace(NOISE, options={'angle': -1.0}), ROBOT)


def recorded() -> tuple[np.ndarray, np.ndarray]:
    """Return stamps and chunks of the scripted policy, as the shipped recording has them."""
    chunks = [chunk for _, _, chunk in followed(create(SCRIPTED, ROBOT), 7.2)]
    chunks = chunks[:: SCRIPTED.replan_steps]
    return np.array([c.stamp for c in chunks]), np.array([c.actions for c in chunks])


def test_the_shipped_recording_is_the_scripted_policys():
    stamps, chunks = recorded()
    with np.load(paths.share() / REPLAY.options['file']) as data:
        np.testing.assert_allclose(data['stamps'], stamps)
        np.testing.assert_allclose(data['actions'], chunks, atol=1e-5)


def test_a_replay_leads_where_the_recorded_policy_led_and_then_holds():
    first = {round(t, 6): q for t, q, _ in followed(create(SCRIPTED, ROBOT), 7.2)}
    again = {round(t, 6): q for t, q, _ in followed(create(REPLAY, ROBOT), 9.2, stamp=99.0)}
    for t, q in first.items():
        np.testing.assert_allclose(again[t], q, atol=1e-4)
    np.testing.assert_allclose(again[9.2], again[7.2], atol=1e-3)


def test_a_replay_answers_with_the_chunk_of_its_time(tmp_path):
    chunks = np.arange(3.0)[:, None, None] + np.zeros((3, 20, 8))
    np.savez(tmp_path / 'three.npz', stamps=[10.0, 10.5, 12.0], actions=chunks)
    spec = replace(HOLD, options={'file': str(tmp_path / 'three.npz')})
    policy = ReplayPolicy(spec, ROBOT)
    policy.reset('', seed=0)
    for t, expected in ((0.0, 0.0), (0.49, 0.0), (0.5, 1.0), (1.9, 1.0), (2.0, 2.0)):
        assert (policy.infer(seen(1.7e9 + t, HOME)).actions == expected).all(), t
    after = policy.infer(seen(1.7e9 + 2.1, HOME)).actions
    np.testing.assert_allclose(after, np.tile([*HOME[:7], 1.0], (20, 1)))
    policy.reset('', seed=0)
    assert (policy.infer(seen(1.7e9 + 50.0, HOME)).actions == 0.0).all()


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        (None, 'cannot read the recording .*bad.npz'),
        (b'PK no archive', 'cannot read the recording .*bad.npz'),
        ({'stamps': [0.0]}, 'actions'),
        ({'stamps': [0.0], 'actions': np.zeros((1, 20, 7))}, r'expected .* \(N, 20, 8\)'),
        ({'stamps': [0.0], 'actions': np.zeros((1, 19, 8))}, r'expected .* \(N, 20, 8\)'),
        ({'stamps': 0.0, 'actions': np.zeros((1, 20, 8))}, r'expected \(N,\)'),
        ({'stamps': [], 'actions': np.zeros((0, 20, 8))}, r'expected \(N,\)'),
        ({'stamps': [1.0, 0.0], 'actions': np.zeros((2, 20, 8))}, 'must increase'),
        ({'stamps': [0.0], 'actions': np.full((1, 20, 8), np.nan)}, 'must be finite'),
        ({'stamps': np.array([None]), 'actions': np.zeros((1, 20, 8))}, 'cannot read'),  # a pickle
    ],
)
def test_a_recording_that_cannot_be_played_is_refused(tmp_path, arrays, message):
    path = tmp_path / 'bad.npz'
    if isinstance(arrays, bytes):
        path.write_bytes(arrays)
    elif arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(PolicyError, match=message):
        ReplayPolicy(replace(HOLD, options={'file': str(path)}), ROBOT)
