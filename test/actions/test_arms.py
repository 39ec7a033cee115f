"""Policies on several arms, and on arms without a gripper: every slice finds its joints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.action_space import ActionSlice, StateSlice
from vla_ros.actions.decode import Codec
from vla_ros.errors import PolicyError
from vla_ros.fit import check, notes
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec, width
from vla_ros.types import ActionChunk, JointState

PAIR = load_robot(paths.find('robots', 'dual_panda'))
PANDA = load_robot(paths.find('robots', 'panda'))
BARE = PANDA.with_arm(gripper=None, driver=replace(PANDA.driver, gripper_topic=''))
SPEC = config.load(paths.find('policies', 'pi0_aloha'), PolicySpec)
ALL = ActionSlice('joint_position', 'rad')


def delta(arm=None):
    return ActionSlice(
        'tool_delta', 'm_rad', 'previous', rotation='euler_xyz', frame='base', arm=arm
    )


def grip(arm=None, **more):
    return ActionSlice('gripper', 'open_fraction', arm=arm, **more)


def spec(*action, state=()):
    return replace(SPEC, images=(), action=action, state=state, horizon=8, replan_steps=4)


def seen(seed=0, robot=PAIR):
    """Return joints near home, grippers half open, all in motion."""
    rng = np.random.default_rng(seed)
    position = robot.ready + np.append(
        rng.uniform(-0.1, 0.1, robot.dof), [-0.01, -0.03][: len(robot.grippers)]
    )
    return JointState(1.0, position, rng.normal(size=len(position)))


def test_the_order_of_aloha_is_left_grip_right_grip():
    codec, joints = Codec(PAIR, PAIR.urdf_path, SPEC), seen()
    q, opening = joints.position, joints.position[14:] / 0.04
    wanted = [*q[:7], opening[0], *q[7:14], opening[1]]
    assert codec.action_dim == 16
    np.testing.assert_allclose(codec.state(joints), wanted, atol=1e-12)
    np.testing.assert_allclose(codec.action(q), wanted, atol=1e-12)
    assert np.flatnonzero(codec.held).tolist() == [7, 15]
    asked = np.arange(16.0)[None] / 100.0
    path = codec.decode(ActionChunk(1.0, asked, SPEC.step), joints).positions[0]
    np.testing.assert_allclose(path[:7], q[:7] + asked[0, :7])
    np.testing.assert_allclose(path[7:14], q[7:14] + asked[0, 8:15])
    np.testing.assert_allclose(path[14:], 0.04 * asked[0, [7, 15]])


@pytest.mark.parametrize('name', ['hold_pair', 'scripted_pair', 'pi0_aloha'])
def test_a_policy_of_a_pair_fits_the_pair_and_no_single_arm(name):
    policy = config.load(paths.find('policies', name), PolicySpec)
    assert check(PAIR, policy) == [] and notes(PAIR, policy) == []
    assert any("unknown arm 'left' in panda" in found for found in check(PANDA, policy))


@pytest.mark.parametrize('name', ['left', 'right'])
def test_one_arm_of_two_does_what_it_would_do_alone(name):
    """Tool deltas do not depend on where a level base stands: the joints are the same."""
    arm, joints = PAIR.arm(name), seen(3)
    columns = PAIR.every_column(arm)
    rng = np.random.default_rng(1)
    actions = np.column_stack([rng.uniform(-0.01, 0.01, (8, 6)), rng.uniform(0.0, 1.0, 8)])
    pair = Codec(PAIR, PAIR.urdf_path, spec(delta(name), grip(name)))
    alone = Codec(PANDA, PANDA.urdf_path, spec(delta(), grip()))
    mine = JointState(1.0, joints.position[columns], joints.velocity[columns])
    chunk = ActionChunk(1.0, actions, SPEC.step)
    path = pair.decode(chunk, joints).positions
    np.testing.assert_allclose(path[:, columns], alone.decode(chunk, mine).positions, atol=1e-6)
    others = [k for k in range(16) if k not in columns]
    assert (path[:, others] == joints.position[others]).all()  # what is not asked for stays


def test_absolute_and_relative_undo_each_other_for_every_arm():
    pose = ActionSlice('tool_pose', 'm', rotation='quaternion_xyzw', arm='right')
    codec = Codec(PAIR, PAIR.urdf_path, spec(delta('left'), pose, grip('right'), grip('left')))
    joints = seen(5)
    rng = np.random.default_rng(2)
    actions = np.tile(codec.relative(codec.action(joints.position)[None], joints), (8, 1))
    actions[:, :6] = rng.uniform(-0.02, 0.02, (8, 6))
    actions[:, 13:] = rng.uniform(0.0, 1.0, (8, 2))
    absolute = codec.absolute(ActionChunk(1.0, actions, SPEC.step), joints)
    np.testing.assert_allclose(codec.relative(absolute, joints), actions, atol=1e-9)
    path = codec.path(absolute, joints.position, 1.0).positions
    for row, wanted in zip(path, absolute):  # inverse, then forward kinematics of both tools
        for name, first in (('left', 0), ('right', 7)):
            reached = codec.hands[name].pose(row)
            np.testing.assert_allclose(reached[:3], wanted[first : first + 3], atol=2e-5)
            turned = abs(reached[3:] @ wanted[first + 3 : first + 7])
            assert turned == pytest.approx(1.0, abs=1e-9)


def test_joints_without_an_arm_are_those_of_all():
    codec = Codec(PAIR, PAIR.urdf_path, spec(ALL, state=(StateSlice('joint_velocity', 'rad/s'),)))
    joints = seen()
    np.testing.assert_array_equal(codec.state(joints), joints.velocity[:14])
    np.testing.assert_array_equal(codec.action(joints.position), joints.position[:14])
    assert width((ALL,), PAIR) == 14 and width((ALL, grip()), PANDA) == 8


@pytest.mark.parametrize(
    ('action', 'words'),
    [
        ((delta(), grip('left')), "'tool_delta' does not say which arm of dual_panda is meant"),
        ((ALL, grip()), "'gripper' does not say which arm"),
        ((ALL, grip('middle')), "unknown arm 'middle' in dual_panda"),
        ((ALL, replace(ALL, arm='left')), 'declares joint_position of arm left more than once'),
        ((ALL, delta('right')), 'must move the arm right by exactly one of'),
        ((grip('left'),), 'must move the arm left by exactly one of'),
    ],
)
def test_what_a_policy_of_a_pair_may_not_say(action, words):
    assert any(words in found for found in check(PAIR, spec(*action)))


def test_an_arm_that_no_slice_moves_is_told():
    policy = spec(replace(ALL, arm='left'), grip('left'))
    assert check(PAIR, policy) == []
    told = ' '.join(notes(PAIR, policy))
    assert 'does not move arm right' in told and 'no gripper slice of arm right' in told


def test_an_arm_without_a_gripper_takes_joints_and_refuses_a_gripper_slice():
    joints = seen(robot=BARE)
    state = (StateSlice('joint_position', 'rad'),)
    codec = Codec(BARE, BARE.urdf_path, spec(delta(), state=state))
    np.testing.assert_array_equal(codec.state(joints), joints.position)
    path = codec.decode(ActionChunk(1.0, np.full((8, 6), 1e-3), SPEC.step), joints).positions
    assert path.shape == (8, 7)
    assert check(BARE, spec(delta())) == [] and notes(BARE, spec(delta())) == []
    (found,) = check(BARE, spec(delta(), grip()))
    assert 'panda has no gripper there: leave the slice out' in found
    with pytest.raises(PolicyError, match='expected 7 finite ones'):
        codec.state(JointState(0.0, np.zeros(8), np.zeros(8)))
