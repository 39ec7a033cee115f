"""The codec against forward kinematics: what a policy says is where the tool goes, or nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pinocchio as pin
import pytest

from vla_ros import paths
from vla_ros.actions.decode import Codec, snapped
from vla_ros.errors import ConfigError, PolicyError
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, PolicySpec, StateSlice
from vla_ros.types import ActionChunk, JointState

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
HOME = np.array(ROBOT.home)
OPEN, CLOSED = ROBOT.gripper.open, ROBOT.gripper.closed
STEP = 0.1  # [s]
TOOL = ActionSlice('tool_position', 'm')
NEARBY = ActionSlice('tool_position', 'm', 'observation')
JOINTS = ActionSlice('joint_position', 'rad')
TURNS = ActionSlice('joint_position', 'rad', 'observation')
GRIPPER = ActionSlice('gripper', 'open_fraction')
STATE = tuple(
    StateSlice(kind, unit) for kind, unit in (('tool_position', 'm'), ('gripper', 'open_fraction'))
)

MODEL = pin.buildModelFromUrdf(str(URDF))  # the whole robot: an oracle of its own
DATA = MODEL.createData()


def tool(joints: np.ndarray) -> pin.SE3:
    """Return the tool's pose for arm joints and the gripper joint (n + 1,)."""
    q = pin.neutral(MODEL)
    for name, value in zip(ROBOT.joint_names, joints):
        q[MODEL.joints[MODEL.getJointId(name)].idx_q] = value
    pin.framesForwardKinematics(MODEL, DATA, q)
    return DATA.oMf[MODEL.getFrameId(ROBOT.tool_frame)]


def codec(*action: ActionSlice, state: tuple[StateSlice, ...] = STATE) -> Codec:
    spec = PolicySpec(
        name='some', adapter='some', images=(), state=state, action=action, step=STEP,
        horizon=8, replan_steps=4,
    )  # fmt: skip
    return Codec(ROBOT, URDF, spec)


def at(arm: np.ndarray, finger: float = OPEN) -> JointState:
    return JointState(3.0, np.append(arm, finger), np.zeros(ROBOT.dof + 1))


def chunk(actions) -> ActionChunk:
    return ActionChunk(3.0, actions, STEP)


ABSOLUTE = codec(TOOL, GRIPPER)
RELATIVE = codec(NEARBY, GRIPPER)
DIRECT = codec(JOINTS, GRIPPER)
ARM = st.tuples(*(
    st.floats(low, high) for low, high in zip(ROBOT.limits('lower'), ROBOT.limits('upper'))
)).map(np.array)  # fmt: skip
FINGER = st.floats(CLOSED, OPEN)
REACHABLE = st.tuples(st.floats(0.36, 0.64), st.floats(-0.24, 0.24), st.floats(0.02, 0.34))


@given(ARM, FINGER)
def test_the_state_is_forward_kinematics_and_the_opening(arm, finger):
    joints = at(arm, finger)
    opening = (finger - CLOSED) / (OPEN - CLOSED)
    expected = [*tool(joints.position).translation, opening]
    np.testing.assert_allclose(ABSOLUTE.state(joints), expected, atol=1e-12)


def test_the_state_follows_the_order_of_the_slices():
    slices = (StateSlice('gripper', 'open_fraction'), StateSlice('joint_position', 'rad'))
    mixed = codec(JOINTS, state=slices)
    np.testing.assert_allclose(mixed.state(at(HOME, 0.25 * OPEN)), [0.25, *HOME])


def test_a_policy_without_state_gets_an_empty_one():
    assert codec(JOINTS, state=()).state(at(HOME)).shape == (0,)


@given(ARM, FINGER, st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=50)
def test_absolute_joint_positions_pass_unchanged(arm, finger, length, seed):
    rng = np.random.default_rng(seed)
    path = arm + rng.normal(size=(length, ROBOT.dof))
    opening = rng.random(length)
    result = DIRECT.decode(chunk(np.column_stack([path, opening])), at(arm, finger))
    np.testing.assert_array_equal(result.positions[:, :-1], path)
    np.testing.assert_allclose(result.positions[:, -1], CLOSED + opening * (OPEN - CLOSED))
    assert result.stamp == 3.0
    np.testing.assert_allclose(result.times, STEP * (1.0 + np.arange(length)))


def test_relative_joint_positions_start_from_what_was_seen():
    turns = np.linspace(0.0, 0.2, 5)[:, None] * np.ones(ROBOT.dof)
    result = codec(TURNS).decode(chunk(turns), at(HOME + 0.1, 0.01))
    np.testing.assert_allclose(result.positions[:, :-1], HOME + 0.1 + turns)
    np.testing.assert_array_equal(result.positions[:, -1], np.full(5, 0.01))  # finger stays


def test_slices_are_taken_in_the_order_of_the_file():
    result = codec(GRIPPER, JOINTS).decode(chunk([[0.5, *HOME]]), at(HOME + 0.1, CLOSED))
    np.testing.assert_allclose(result.positions, [[*HOME, 0.5 * (OPEN + CLOSED)]])


@given(st.floats(-3.0, 3.0))
@settings(max_examples=30)
def test_the_gripper_never_leaves_its_range(opening):
    finger = DIRECT.decode(chunk([[*HOME, opening]]), at(HOME)).positions[0, -1]
    assert finger == pytest.approx(CLOSED + min(max(opening, 0.0), 1.0) * (OPEN - CLOSED))


def path_between(start, end, length=8) -> np.ndarray:
    """Return `length` points (length, 3) of a straight line, without its start."""
    share = np.linspace(0.0, 1.0, length + 1)[1:, None]
    return np.asarray(start) + share * (np.asarray(end) - start)


@given(REACHABLE, REACHABLE)
@settings(max_examples=40)
def test_tool_positions_are_reached_within_1_mm_upright_and_inside_the_limits(first, second):
    there = ABSOLUTE.decode(chunk([[*p, 1.0] for p in path_between(HOME_TOOL, first)]), at(HOME))
    start = there.positions[-1]
    points = path_between(first, second)
    actions = np.column_stack([points - tool(start).translation, np.zeros(len(points))])
    result = RELATIVE.decode(chunk(actions), at(start[:-1]))
    for point, joints in zip(points, result.positions):
        pose = tool(joints)
        assert np.linalg.norm(pose.translation - point) < 1e-3
        turn = pin.log3(pose.rotation @ tool(np.append(HOME, 0.0)).rotation.T)
        assert np.linalg.norm(turn) < 1e-2
    arm = result.positions[:, :-1]
    assert (arm >= ROBOT.limits('lower') - 1e-12).all()
    assert (arm <= ROBOT.limits('upper') + 1e-12).all()
    np.testing.assert_array_equal(result.positions[:, -1], np.full(len(points), CLOSED))


HOME_TOOL = tool(np.append(HOME, 0.0)).translation.copy()


@given(REACHABLE)
@settings(max_examples=20)
def test_absolute_and_relative_tool_paths_are_the_same_path(end):
    points, opening = path_between(HOME_TOOL, end), np.ones(8)
    absolute = ABSOLUTE.decode(chunk(np.column_stack([points, opening])), at(HOME))
    moved = np.column_stack([points - HOME_TOOL, opening])
    relative = RELATIVE.decode(chunk(moved), at(HOME))
    np.testing.assert_allclose(absolute.positions, relative.positions, atol=1e-6)


def test_a_straight_tool_path_has_no_jump_in_the_joints():
    points = path_between((0.42, -0.2, 0.1), (0.6, 0.2, 0.25), 40)
    to = ABSOLUTE.decode(chunk([[*points[0], 1.0]]), at(HOME)).positions[-1, :-1]
    result = ABSOLUTE.decode(chunk(np.column_stack([points, np.ones(40)])), at(to))
    steps = np.abs(np.diff(result.positions[:, :-1], axis=0))
    assert steps.max() < 0.08  # 11 mm of tool path


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('made', [ABSOLUTE, RELATIVE], ids=['absolute', 'relative'])
def test_actions_that_are_not_finite_are_refused(made, bad):
    for place in range(4):
        actions = np.zeros((3, 4))
        actions[1, place] = bad
        with pytest.raises(PolicyError, match='not finite'):
            made.decode(chunk(actions), at(HOME))


@pytest.mark.parametrize('width', [0, 3, 5])
def test_actions_of_another_width_are_refused(width):
    with pytest.raises(PolicyError, match=f'{width} dimensions, expected 4'):
        ABSOLUTE.decode(chunk(np.zeros((2, width))), at(HOME))


@pytest.mark.parametrize('point', [(1.2, 0.0, 0.3), (0.5, 0.0, 1.4), (-0.9, -0.9, -0.9)])
def test_a_path_out_of_reach_is_refused(point):
    with pytest.raises(PolicyError, match='leaves the reach of panda by'):
        ABSOLUTE.decode(chunk([[*HOME_TOOL, 1.0], [*point, 1.0]]), at(HOME))
    with pytest.raises(PolicyError, match='leaves the reach'):
        RELATIVE.decode(chunk([[*(np.array(point) - HOME_TOOL), 1.0]]), at(HOME))


@pytest.mark.parametrize('made', [ABSOLUTE, RELATIVE, DIRECT, codec(TURNS, GRIPPER)])
@pytest.mark.parametrize(
    'position', [np.zeros(7), np.zeros(9), np.full(8, np.nan), [*HOME, np.inf]]
)
def test_a_joint_state_that_cannot_be_an_anchor_is_refused(made, position):
    joints = JointState(3.0, position, np.zeros(len(position)))
    with pytest.raises(PolicyError, match='joint state'):
        made.decode(chunk(np.zeros((2, made.action_dim))), joints)
    with pytest.raises(PolicyError, match='joint state'):
        made.state(joints)


def test_the_tool_turns_back_upright_from_a_tilted_start():
    tilted = HOME + [0.0, 0.0, 0.0, 0.0, 0.15, 0.2, 0.0]
    here = tool(np.append(tilted, 0.0)).translation.copy()
    result = ABSOLUTE.decode(chunk([[*here, 1.0]] * 3), at(tilted))
    pose = tool(result.positions[-1])
    assert np.linalg.norm(pose.translation - here) < 1e-3
    upright = tool(np.append(HOME, 0.0)).rotation
    assert np.linalg.norm(pin.log3(pose.rotation @ upright.T)) < 1e-2


def test_another_orientation_at_the_edge_of_reach_is_not_passed_as_reached():
    """A point that only a tilted hand reaches is out of reach for an upright one."""
    for x in np.arange(0.60, 0.86, 0.01):
        try:
            result = ABSOLUTE.decode(chunk([[x, 0.0, 0.3, 1.0]] * 2), at(HOME))
        except PolicyError:
            assert x > 0.64
            continue
        pose = tool(result.positions[-1])
        turn = pin.log3(pose.rotation @ tool(np.append(HOME, 0.0)).rotation.T)
        assert np.linalg.norm(turn) < 0.1, x


def test_the_codec_of_another_limit_box_stays_inside_it():
    joints = tuple(replace(j, lower=q - 0.25, upper=q + 0.25) for j, q in zip(ROBOT.joints, HOME))
    spec = replace(ABSOLUTE.policy, horizon=8)
    narrow = Codec(ROBOT.with_arm(joints=joints), URDF, spec)
    end = HOME_TOOL + [0.03, 0.03, -0.03]
    points = path_between(HOME_TOOL, end)
    result = narrow.decode(chunk(np.column_stack([points, np.ones(8)])), at(HOME))
    assert np.abs(result.positions[:, :-1] - HOME).max() <= 0.25 + 1e-12
    assert np.linalg.norm(tool(result.positions[-1]).translation - end) < 1e-3


MIXED = (codec(NEARBY, GRIPPER), codec(GRIPPER, TURNS), ABSOLUTE, DIRECT, codec(TURNS))


@pytest.mark.parametrize('made', MIXED)
@given(ARM, FINGER, st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_relative_undoes_absolute(made, arm, finger, length, seed):
    joints = at(arm, finger)
    actions = np.random.default_rng(seed).normal(size=(length, made.action_dim))
    there = made.absolute(chunk(actions), joints)
    np.testing.assert_allclose(made.relative(there, joints), actions, atol=1e-12)
    back = made.relative(actions, joints)
    np.testing.assert_allclose(made.absolute(chunk(back), joints), actions, atol=1e-12)


def test_only_relative_slices_are_anchored():
    joints = at(HOME + 0.1, 0.25 * OPEN)
    tool_here = tool(joints.position).translation
    zero = np.zeros((2, 4))
    np.testing.assert_allclose(RELATIVE.absolute(chunk(zero), joints), [[*tool_here, 0.0]] * 2)
    np.testing.assert_allclose(RELATIVE.relative(zero, joints), [[*-tool_here, 0.0]] * 2)
    np.testing.assert_array_equal(ABSOLUTE.absolute(chunk(zero), joints), zero)
    turns = codec(GRIPPER, TURNS)
    found = turns.absolute(chunk(np.zeros((1, 8))), joints)
    np.testing.assert_allclose(found, [[0.0, *(HOME + 0.1)]])


def test_an_absolute_chunk_means_what_its_relative_form_means():
    moved = chunk(np.column_stack([np.linspace(0.0, 0.05, 5)] * 3 + [np.linspace(0, 1, 5)]))
    joints = at(HOME)
    same = chunk(RELATIVE.absolute(moved, joints))
    np.testing.assert_allclose(
        ABSOLUTE.decode(same, joints).positions, RELATIVE.decode(moved, joints).positions
    )


def test_a_prefix_that_is_not_finite_or_too_wide_is_refused():
    with pytest.raises(PolicyError, match='the prefix has actions that are not finite'):
        RELATIVE.relative(np.full((2, 4), np.nan), at(HOME))
    with pytest.raises(PolicyError, match='5 dimensions, expected 4'):
        RELATIVE.relative(np.zeros((2, 5)), at(HOME))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30), st.booleans())
def test_a_binary_gripper_changes_only_where_it_is_asked_clearly(opening, is_open):
    found = snapped(np.array(opening), is_open)
    before = np.concatenate([[float(is_open)], found[:-1]])
    for value, old, new in zip(opening, before, found):
        assert new in (0.0, 1.0)
        if 0.4 < value < 0.6:
            assert new == old
        else:
            assert new == (value >= 0.6)


def test_noise_about_the_middle_does_not_chatter():
    noise = 0.5 + 0.09 * np.array([1, -1, 1, -1, 1])
    assert snapped(noise, True).tolist() == [1.0] * 5
    assert snapped(noise, False).tolist() == [0.0] * 5


def test_a_binary_gripper_keeps_the_finger_where_it_is_until_it_is_told():
    shut = codec(JOINTS, replace(GRIPPER, binary=True))
    opening = np.array([0.5, 0.55, 0.7, 0.45, 0.1])
    actions = np.column_stack([np.tile(HOME, (5, 1)), opening])
    for finger, first in ((OPEN, OPEN), (CLOSED, CLOSED)):
        found = shut.decode(chunk(actions), at(HOME, finger)).positions[:, -1]
        np.testing.assert_allclose(found, [first, first, OPEN, OPEN, CLOSED])
    with pytest.raises(ConfigError, match='only a gripper'):
        replace(JOINTS, binary=True)


def test_a_velocity_that_is_not_finite_is_no_state():
    policy = PolicySpec(
        'p', 'a', (), (StateSlice('joint_velocity', 'rad/s'),), (JOINTS,), STEP, 4, 2
    )
    codec, position = Codec(ROBOT, URDF, policy), np.append(HOME, OPEN)
    velocity = np.arange(len(position), dtype=float)
    state = codec.state(JointState(0.0, position, velocity))
    np.testing.assert_array_equal(state, velocity[:-1])
    velocity[3] = np.nan
    with pytest.raises(PolicyError, match='velocities .* expected finite ones'):
        codec.state(JointState(0.0, position, velocity))
