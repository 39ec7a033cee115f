"""The collision model: what is held joins the arm, where it is, with levers that hold."""

from __future__ import annotations

import numpy as np
import pinocchio as pin
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.errors import UnknownNameError
from vla_ros.obstacle import Obstacle
from vla_ros.safety.chain import forward, Pose
from vla_ros.safety.enclose import enclose
from vla_ros.safety.model import build_model, with_held


def held(name='cube', shape='box', size=(0.04, 0.05, 0.3), link='panda_hand', **changes):
    turn = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_quat()
    return Obstacle(name, shape, size, [0.01, 0.02, 0.12], turn, attached_to=link, **changes)


@pytest.fixture(scope='module')
def model(robot):
    return build_model(robot, robot.urdf_path)


def pose_of(model, q):
    n = len(q)
    pose = Pose(
        np.zeros((n, 3, 3)), np.zeros((n, 3)), np.zeros((n, 3)),
        np.zeros((len(model.capsules), 2, 3)),
    )  # fmt: skip
    forward(model.arm, q, pose)
    return pose


@pytest.mark.parametrize('link', ['panda_hand', 'panda_link7', 'panda_hand_tcp'])
def test_held_capsules_stand_where_pinocchio_puts_their_link(robot, model, link):
    """The oracle has every joint of the URDF, the fingers too."""
    whole = pin.buildModelFromUrdf(str(robot.urdf_path))
    data = whole.createData()
    solid = held(link=link)
    loaded = with_held(model, [solid], supports=True)
    hull = enclose(solid)
    want = np.concatenate([hull.body, hull.outline])
    rng = np.random.default_rng(0)
    for _ in range(10):
        q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        pin.framesForwardKinematics(whole, data, np.append(q, [0.03, 0.03]))
        place = data.oMf[whole.getFrameId(link)]
        ends = pose_of(loaded, q).ends
        assert len(ends) == len(model.capsules) + len(want)
        for k, segment in enumerate(want):
            there = segment @ place.rotation.T + place.translation
            np.testing.assert_allclose(ends[len(model.capsules) + k], there, atol=1e-9)
        np.testing.assert_allclose(ends[: len(model.capsules)], pose_of(model, q).ends)


def test_levers_bound_the_distances_of_held_things_too(robot, model):
    loaded = with_held(model, [held(), held('pole', 'cylinder', (0.6, 0.01))])
    rng = np.random.default_rng(3)
    tightest = np.zeros_like(loaded.arm.lever)
    for _ in range(150):
        pose = pose_of(loaded, rng.uniform(-np.pi, np.pi, robot.dof))
        for c, last in enumerate(loaded.arm.capsule_joint):
            for j in range(last + 1):
                r = pose.ends[c] - pose.origin[j]
                off = np.linalg.norm(np.cross(pose.axis[j], r), axis=1).max()
                assert off <= loaded.arm.lever[c, j] + 1e-12
                tightest[c, j] = max(tightest[c, j], off)
    mine = slice(len(model.capsules), None)
    assert (loaded.arm.lever[mine, 0] > model.arm.lever[:, 0].max()).any()
    assert (tightest[mine] / loaded.arm.lever[mine]).mean() > 0.6


def test_what_is_held_is_checked_against_links_that_do_not_carry_it(robot, model):
    loaded = with_held(model, [held(), held('pole', 'cylinder', (0.6, 0.01))])
    count = len(model.arm.pairs)
    np.testing.assert_array_equal(loaded.arm.pairs[:count], model.arm.pairs)
    names = {loaded.capsules[k]: set() for _, k in loaded.arm.pairs[count:]}
    for i, k in loaded.arm.pairs[count:]:
        assert loaded.parts[k] == 'held'
        names[loaded.capsules[k]].add(loaded.capsules[i])
    last = robot.dof - 1
    others = {name for name, j in zip(model.capsules, model.arm.capsule_joint) if j < last}
    assert names == {'held:cube': others, 'held:pole': others}
    assert {'hand', 'fingers', 'fingertips', 'flange'}.isdisjoint(others)
    assert 'shoulder/held:cube' in loaded.names and 'held:pole/floor' in loaded.names


def test_corners_meet_the_floor_and_capsules_the_rest(model):
    for supports in (False, True):
        loaded = with_held(model, [held()], supports)
        mine = range(len(model.capsules), len(loaded.capsules))
        below = {loaded.parts[i] for i in loaded.arm.above_floor if i in mine}
        around = {loaded.parts[i] for i in loaded.arm.moving if i in mine}
        assert below == {'outline'}
        assert around == ({'held', 'outline'} if supports else {'held'})
    ball = with_held(model, [held('ball', 'sphere', (0.03,))], supports=True)
    assert ball.parts[len(model.parts) :] == ('held',)
    assert len(model.capsules) in ball.arm.above_floor


def test_the_compiled_core_need_not_be_compiled_again(model):
    """A type or a layout that differs would compile for seconds in the middle of a motion."""
    loaded = with_held(model, [held()], supports=True)
    for before, after in zip(model.arm, loaded.arm):
        if isinstance(before, np.ndarray):
            assert (before.dtype, before.ndim) == (after.dtype, after.ndim)
            assert after.flags.c_contiguous and after.flags.writeable
        else:
            assert type(before) is type(after)


def test_an_empty_hand_is_the_arm_itself(model):
    assert with_held(model, []) is model


def test_only_what_the_last_joint_carries_can_hold(model):
    with pytest.raises(UnknownNameError, match="Did you mean 'panda_hand'"):
        with_held(model, [held(link='panda_hnd')])
    for link in ('panda_link6', 'panda_leftfinger'):  # a finger moves in the hand
        assert link not in model.hand
        with pytest.raises(UnknownNameError):
            with_held(model, [held(link=link)])
