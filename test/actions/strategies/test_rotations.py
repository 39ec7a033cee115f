"""Strategies on actions that turn: SciPy's Slerp and mean are the oracle."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.actions.executor import Executor
from vla_ros.actions.strategies import make_strategy, STRATEGIES
from vla_ros.actions.strategies.base import apart, follow, Laid
from vla_ros.actions.strategies.bid import BID
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, PolicySpec
from vla_ros.types import ActionChunk, JointState

ROBOT = load_robot(paths.find('robots', 'panda'))
GUIDED = frozenset({'guidance'})
HELD = np.array([False] * 7 + [True])
TURNS = (3,)
SEEDS = st.integers(0, 2**31)


def laid(seed: int, start: float = 0.1, count: int = 6) -> Laid:
    """Return poses that turn by up to 0.6 rad a step, in either quaternion, and a gripper."""
    rng = np.random.default_rng(seed)
    turn, actions = Rotation.random(random_state=seed), []
    for _ in range(count):
        turn = Rotation.from_rotvec(rng.uniform(-0.35, 0.35, 3)) * turn
        sign = rng.choice([-1.0, 1.0])
        actions.append([*rng.normal(size=3), *(sign * turn.as_quat()), rng.random()])
    return Laid(start + 0.1 * np.arange(count), np.array(actions), TURNS)


def turns(actions) -> Rotation:
    return Rotation.from_quat(actions[:, 3:7])


def same(found, expected: Rotation, tolerance: float = 1e-9) -> None:
    assert (turns(found).inv() * expected).magnitude().max() < tolerance
    np.testing.assert_allclose(np.linalg.norm(found[:, 3:7], axis=1), 1.0)


@given(SEEDS)
def test_between_the_steps_a_plan_turns_as_scipys_slerp(seed):
    plan = laid(seed)
    due = np.random.default_rng(seed).uniform(0.1, 0.6, 20)
    found = plan.at(due, HELD)
    same(found, Slerp(plan.due, turns(plan.actions))(due))
    straight = Laid(plan.due, plan.actions).at(due, HELD)  # the rest is as without a rotation
    np.testing.assert_array_equal(found[:, [0, 1, 2, 7]], straight[:, [0, 1, 2, 7]])
    outside = plan.at(np.array([0.0, 9.0]), HELD)
    same(outside, turns(plan.actions[[0, -1]]))


@given(SEEDS, st.floats(0.0, 1.0))
def test_a_mixture_is_on_the_shorter_way_between_plan_and_answer(seed, share):
    plan, new = laid(seed), laid(seed + 1, 0.3)
    sent = follow(new, plan, 0.35, HELD, share)
    for k in range(4):  # which the plan covers; its steps 0.3 .. 0.6 are 2 .. 5
        pair = Rotation.concatenate([turns(plan.actions)[k + 2], turns(new.actions)[k]])
        expected = Slerp([0.0, 1.0], pair)([share if k else 0.0])
        same(sent[k : k + 1], expected)
    same(sent[4:], turns(new.actions)[4:])


@given(SEEDS)
def test_an_ensemble_sends_scipys_mean_of_all_answers_for_a_step(seed):
    answers = [laid(seed + k, 0.1 + 0.1 * k) for k in range(3)]
    strategy = make_strategy('ensemble', {'decay': 0.2}, '')
    sent = strategy.blend(answers[2], answers[1], answers[:2], 0.0, HELD)
    weights = np.exp(-0.2 * np.arange(3))
    for k in range(4):  # all three cover them
        some = Rotation.concatenate([turns(answers[i].actions)[k + 2 - i] for i in range(3)])
        same(sent[k : k + 1], some.mean(weights), 1e-6)


@given(SEEDS)
def test_what_is_apart_is_an_angle_whichever_quaternion_is_written(seed):
    first, second = laid(seed).actions, laid(seed + 1).actions
    found = apart(first, second, TURNS)
    angle = (turns(second).inv() * turns(first)).magnitude()
    np.testing.assert_allclose(np.linalg.norm(found[:, 3:7], axis=1), angle, atol=1e-9)
    np.testing.assert_allclose(found[:, [0, 1, 2, 7]], (first - second)[:, [0, 1, 2, 7]])


def test_bidirectional_decoding_does_not_mind_the_sign_of_a_quaternion():
    plan = laid(3)
    flipped = plan.actions * ([1.0] * 3 + [-1.0] * 4 + [1.0])
    nearly = plan.actions + ([0.0] * 3 + [0.01] * 4 + [0.0])
    samples = [Laid(plan.due, nearly, TURNS), Laid(plan.due, flipped, TURNS)]
    assert BID(samples=2).choose(samples, plan, 1, 2, HELD, np.ones(8)) == 1


@pytest.mark.parametrize('name', STRATEGIES)
def test_every_strategy_sends_rotations(name):
    plan, new = laid(1), laid(2, 0.3)
    sent = make_strategy(name, None, '').blend(new, plan, [plan], 0.35, HELD)
    np.testing.assert_allclose(np.linalg.norm(sent[:, 3:7], axis=1), 1.0)
    same(sent[:1], turns(plan.actions[2:3]))  # the plan's up to phi
    same(sent[4:], turns(new.actions[4:]))  # what the plan does not cover


DELTAS = PolicySpec(
    name='turner', adapter='turner', images=(), state=(),
    action=(
        ActionSlice('tool_delta', 'm_rad', 'previous', rotation='euler_xyz', frame='base'),
        ActionSlice('gripper', 'open_fraction'),
    ),
    step=0.1, horizon=10, replan_steps=4, strategy='crossfade',
)  # fmt: skip


def test_two_chunks_that_write_a_rotation_in_both_ways_are_one_plan():
    """Mixed as numbers, q and -q would be no rotation at all."""
    pose = ActionSlice('tool_pose', 'm', rotation='quaternion_xyzw')
    spec = replace(DELTAS, action=(pose, DELTAS.action[1]), strategy='weighted')
    codec = Codec(ROBOT, ROBOT.urdf_path, spec)
    executor, home = Executor(codec, frozenset()), np.append(ROBOT.home, 0.04)
    joints = JointState(0.0, home, np.zeros(8))
    one = np.tile(codec.action(home), (10, 1))
    one[::2, 3:7] *= -1.0
    other = one * ([1.0] * 3 + [-1.0] * 4 + [1.0])
    executor.send([ActionChunk(0.0, one, 0.1)], joints, 0.0, 0.0)
    sent = executor.send([ActionChunk(0.43, other, 0.1)], joints, 0.43, 0.45)  # between steps
    np.testing.assert_allclose(sent.trajectory.positions, np.tile(home, (10, 1)), atol=1e-4)
    np.testing.assert_allclose(sent.mismatch, 0.0, atol=1e-9)
    guided = Executor(Codec(ROBOT, ROBOT.urdf_path, replace(spec, strategy='rtc')), GUIDED)
    guided.send([ActionChunk(0.0, one, 0.1)], joints, 0.0, 0.0)
    again = guided.prefix(0.43, 0.45)
    np.testing.assert_allclose(np.abs(again.actions), np.abs(one[: len(again.actions)]), atol=1e-9)


@pytest.mark.parametrize('name', ['latest', 'crossfade', 'ensemble', 'weighted', 'rtc'])
def test_a_turn_about_the_vertical_goes_on_without_a_jump_in_the_joints(name):
    """Past yaw = pi, where Euler angles jump and either quaternion may come up."""
    codec = Codec(ROBOT, ROBOT.urdf_path, replace(DELTAS, strategy=name))
    executor = Executor(codec, GUIDED)
    home = np.append(ROBOT.home, 0.04)
    home[6] -= 1.2  # there is room to turn by 2.4 rad
    actions = np.tile([0.0, 0.0, 0.0, 0.0, 0.0, -0.05, 1.0], (10, 1))
    sent, reference = [], home
    for begun in (0.0, 0.4, 0.8, 1.2):
        executor.executed(begun, reference)
        joints = JointState(begun, reference, np.zeros(8))
        trajectory = executor.send(
            [ActionChunk(begun, actions, 0.1)], joints, begun, begun
        ).trajectory
        sent.append(trajectory.positions[:4])
        reference = sent[-1][-1]
    wrist = np.diff(np.concatenate(sent)[:, 6])
    np.testing.assert_allclose(wrist, 0.05, atol=2e-3)
    prefix = executor.prefix(1.2, 1.2)
    assert (prefix is None) == (name != 'rtc')
    if prefix is None:
        return
    numbers = codec.relative(prefix.actions, JointState(1.2, sent[2][-1], np.zeros(8)))
    np.testing.assert_allclose(numbers, actions[: len(numbers)], atol=2e-3)
