"""Every kind of action against an oracle of its own: SciPy rotations, Pinocchio and MuJoCo."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import mujoco
import numpy as np
import pinocchio as pin
import pytest
from scipy.spatial.transform import Rotation

from vla_ros import paths
from vla_ros.actions.decode import Codec
from vla_ros.errors import PolicyError, ShapeError
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.rotation import ANGLES, WIDTHS
from vla_ros.spec import ActionSlice, PolicySpec, StateSlice
from vla_ros.types import ActionChunk, JointState

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
HOME = np.array(ROBOT.home)
OPEN, CLOSED = ROBOT.gripper.open, ROBOT.gripper.closed
STEP = 0.1  # [s]
GRIPPER = ActionSlice('gripper', 'open_fraction')
BRIDGE = ActionSlice(
    'tool_delta', 'm_rad', 'previous', rotation='euler_xyz', frame='base', scale=0.05,
    rotation_scale=0.5,
)  # fmt: skip
SEEDS = st.integers(0, 2**31)


def unit(rotation: str) -> str:
    return 'm_rad' if rotation in ANGLES else 'm'


def codec(*action, state=(), robot: RobotSpec = ROBOT) -> Codec:
    spec = PolicySpec(
        name='some', adapter='some', images=(), state=state, action=action, step=STEP,
        horizon=8, replan_steps=4,
    )  # fmt: skip
    return Codec(robot, URDF, spec)


def at(arm: np.ndarray, finger: float = OPEN, velocity: np.ndarray | float = 0.0) -> JointState:
    speed = np.zeros(len(arm) + 1)
    speed[:-1] = velocity
    return JointState(3.0, np.append(arm, finger), speed)


def chunk(actions) -> ActionChunk:
    return ActionChunk(3.0, actions, STEP)


def tool(arm: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """Return the tool's pose from the whole URDF."""
    q = pin.neutral(MODEL)
    for name, value in zip(ROBOT.arm_joints, arm):
        q[MODEL.joints[MODEL.getJointId(name)].idx_q] = value
    pin.framesForwardKinematics(MODEL, DATA, q)
    pose = DATA.oMf[MODEL.getFrameId(ROBOT.tool_frame)]
    return Rotation.from_matrix(pose.rotation), pose.translation.copy()


def world() -> mujoco.MjModel:
    """Return the URDF as MuJoCo reads it, every link kept."""
    spec = mujoco.MjSpec.from_file(str(URDF))
    spec.compiler.fusestatic = False
    spec.compiler.discardvisual = True
    return spec.compile()


def seen(arm: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """Return the tool's pose as MuJoCo computes it."""
    data = mujoco.MjData(WORLD)
    for name, value in zip(ROBOT.arm_joints, arm):
        data.qpos[WORLD.jnt_qposadr[WORLD.joint(name).id]] = value
    mujoco.mj_kinematics(WORLD, data)
    body = data.body(ROBOT.tool_frame)
    return Rotation.from_matrix(body.xmat.reshape(3, 3)), body.xpos.copy()


MODEL, WORLD = pin.buildModelFromUrdf(str(URDF)), world()
DATA = MODEL.createData()

POSES = [ActionSlice('tool_pose', unit(r), rotation=r) for r in WIDTHS]
DELTAS = [
    ActionSlice('tool_delta', unit(r), reference, rotation=r, frame=frame)
    for r in ('euler_xyz', 'euler_ZYX', 'axis_angle', 'quaternion_wxyz', 'rotation_6d')
    for reference in ('observation', 'previous')
    for frame in ('base', 'tool')
]
LINES = [
    ActionSlice('tool_position', 'm', 'previous', scale=0.5),
    ActionSlice('joint_position', 'rad', scale=np.pi),
    ActionSlice('joint_delta', 'rad', 'observation'),
    ActionSlice('joint_delta', 'rad', 'previous', scale=0.2),
    ActionSlice('joint_velocity', 'rad/s', scale=1.5),
]
GRIPPERS = [
    ActionSlice('gripper', 'range', reference, closed=closed, open=opened)
    for reference in ('absolute', 'observation', 'previous')
    for closed, opened in ((-1.0, 1.0), (1.0, -1.0), (0.0, 0.08), (1.0, 0.0))
]
KINDS = [*POSES, BRIDGE, *DELTAS, *LINES]


def label(part: ActionSlice) -> str:
    words = part.kind, part.rotation, part.relative_to, part.frame, part.closed
    return '-'.join(str(word) for word in words if word is not None)


@pytest.mark.parametrize('part', [*KINDS, *GRIPPERS], ids=label)
@given(seed=SEEDS)
@settings(max_examples=8)
def test_relative_undoes_absolute_and_absolute_undoes_relative(part, seed):
    rng = np.random.default_rng(seed)
    made = codec(part, GRIPPER)
    joints = at(HOME + 0.1 * rng.normal(size=7), rng.uniform(CLOSED, OPEN))
    asked = 0.3 * rng.normal(size=(6, len(made.action(joints.position))))
    for column in made.turns:
        asked[:, column : column + 4] = Rotation.random(6, random_state=seed).as_quat()
    numbers = made.relative(asked, joints)
    assert numbers.shape == (6, made.action_dim)
    again = made.absolute(chunk(numbers), joints)
    for column in made.turns:  # of q and -q either
        q = slice(column, column + 4)
        sign = np.sign((again[:, q] * asked[:, q]).sum(axis=1, keepdims=True))
        again[:, q] *= sign
    np.testing.assert_allclose(again, asked, atol=1e-6)
    np.testing.assert_allclose(made.relative(again, joints), numbers, atol=1e-6)


def test_a_state_is_in_the_unit_that_its_scale_says():
    degree = np.pi / 180.0
    joints = StateSlice('joint_position', 'rad', scale=degree)
    speeds = StateSlice('joint_velocity', 'rad/s', scale=degree)
    found = codec(GRIPPER, state=(joints, speeds)).state(at(HOME, velocity=HOME / 2.0))
    np.testing.assert_allclose(found, np.degrees([*HOME, *HOME / 2.0]))


@given(seed=SEEDS)
@settings(max_examples=30)
def test_a_state_is_what_the_pose_of_the_tool_is_called(seed):
    rng = np.random.default_rng(seed)
    arm, velocity = HOME + 0.3 * rng.normal(size=7), rng.normal(size=7)
    turn, place = tool(arm)
    for rotation, expected in (
        ('euler_xyz', turn.as_euler('xyz')),
        ('euler_ZYX', turn.as_euler('ZYX')),
        ('axis_angle', turn.as_rotvec()),
        ('matrix', turn.as_matrix().ravel()),
        ('rotation_6d', turn.as_matrix()[:, :2].T.ravel()),
        ('quaternion_wxyz', np.roll(turn.as_quat(), 1) * np.sign(turn.as_quat()[3])),
    ):
        state = (
            StateSlice('tool_pose', unit(rotation), rotation=rotation),
            StateSlice('joint_velocity', 'rad/s'),
            StateSlice('gripper', 'range', closed=1.0, open=-1.0),
            StateSlice('gripper', 'range', closed=0.0, open=OPEN),
            StateSlice('gripper', 'range', closed=0.0, open=-OPEN),
        )
        found = codec(GRIPPER, state=state).state(at(arm, 0.25 * OPEN, velocity))
        fingers = [0.5, 0.25 * OPEN, -0.25 * OPEN]
        np.testing.assert_allclose(found, [*place, *expected, *velocity, *fingers], atol=1e-6)


@pytest.mark.parametrize('frame', ['base', 'tool'])
@pytest.mark.parametrize('reference', ['observation', 'previous'])
def test_a_delta_in_the_base_frame_multiplies_from_the_left_in_the_tool_frame_from_the_right(
    frame, reference
):
    part = replace(BRIDGE, frame=frame, relative_to=reference)
    numbers = np.random.default_rng(5).uniform(-1.0, 1.0, (6, 6))
    found = codec(part).absolute(chunk(numbers), at(HOME + 0.1))
    r, p = (x.as_matrix() if isinstance(x, Rotation) else x for x in tool(HOME + 0.1))
    for row, pose in zip(numbers, found):
        d, turn = 0.05 * row[:3], Rotation.from_euler('xyz', 0.5 * row[3:]).as_matrix()
        after = (r @ turn, p + r @ d) if frame == 'tool' else (turn @ r, p + d)
        np.testing.assert_allclose(pose[:3], after[1], atol=1e-9)
        np.testing.assert_allclose(Rotation.from_quat(pose[3:]).as_matrix(), after[0], atol=1e-9)
        if reference == 'previous':
            r, p = after


def test_near_holds_for_states_and_for_what_a_policy_is_shown_of_its_plan():
    """At home the tool hangs down, and its roll is pi or -pi by rounding."""
    pose = ActionSlice('tool_pose', 'm_rad', rotation='euler_xyz', near=(-3.1, 0.0, 0.0))
    state = StateSlice('tool_pose', 'm_rad', rotation='euler_xyz', near=(3.1, 0.0, 0.0))
    made = codec(pose, state=(state,))
    for turn in (0.01, -0.01):
        joints = at(HOME + [0.0, 0.0, turn, 0.0, turn, turn, 0.0])
        assert made.state(joints)[3] == pytest.approx(np.pi, abs=0.1)
        shown = made.relative(made.action(joints.position)[None], joints)
        assert shown[0, 3] == pytest.approx(-np.pi, abs=0.1)


def test_joint_velocities_are_integrated_and_deltas_are_added_up():
    rng = np.random.default_rng(2)
    speed = rng.normal(size=(5, 7))
    found = codec(ActionSlice('joint_velocity', 'rad/s', scale=0.5)).decode(chunk(speed), at(HOME))
    model_q = HOME.copy()
    for row, q in zip(speed, found.positions[:, :-1]):  # Euler's rule, which is exact here
        model_q = model_q + STEP * 0.5 * row
        np.testing.assert_allclose(q, model_q, atol=1e-12)
    chained = codec(ActionSlice('joint_delta', 'rad', 'previous')).decode(chunk(speed), at(HOME))
    np.testing.assert_allclose(chained.positions[:, :-1], HOME + np.cumsum(speed, axis=0))
    once = codec(ActionSlice('joint_delta', 'rad', 'observation')).decode(chunk(speed), at(HOME))
    np.testing.assert_allclose(once.positions[:, :-1], HOME + speed)


@pytest.mark.parametrize(
    ('closed', 'opened', 'values', 'fingers'),
    [
        (-1.0, 1.0, [-1, 0, 1, 3], [0.0, 0.5, 1.0, 1.0]),
        (1.0, -1.0, [-1, 0, 1, 3], [1.0, 0.5, 0.0, 0.0]),
        (1.0, 0.0, [-1, 0, 0.25, 1], [1.0, 1.0, 0.75, 0.0]),
        (0.0, 0.08, [-1, 0, 0.02, 0.08], [0.0, 0.0, 0.25, 1.0]),
    ],
)
def test_a_gripper_is_mapped_by_its_declared_range_and_sense(closed, opened, values, fingers):
    part = ActionSlice('gripper', 'range', closed=closed, open=opened)
    joints = ActionSlice('joint_position', 'rad')
    actions = np.column_stack([np.tile(HOME, (4, 1)), values])
    found = codec(joints, part).decode(chunk(actions), at(HOME)).positions[:, -1]
    np.testing.assert_allclose(found, CLOSED + np.array(fingers) * (OPEN - CLOSED), atol=1e-12)
    shut = codec(joints, replace(part, binary=True)).decode(chunk(actions), at(HOME, CLOSED))
    expected, is_open = [], False
    for share in fingers:
        is_open = share > 0.4 if is_open else share >= 0.6
        expected.append(OPEN if is_open else CLOSED)
    np.testing.assert_allclose(shut.positions[:, -1], expected)


def joint_path(seed: int, start: np.ndarray, size: float, count: int = 8) -> np.ndarray:
    """Return a smooth path of joints (count, n) away from a start."""
    rng = np.random.default_rng(seed)
    share = np.linspace(0.0, 1.0, count + 1)[1:, None]
    bend = np.sin(np.pi * share) * rng.uniform(-size, size, len(start)) / 2.0
    return start + share * rng.uniform(-size, size, len(start)) + bend


@pytest.mark.parametrize('part', [*POSES[::6], BRIDGE, *DELTAS[::3]], ids=label)
@given(seed=SEEDS)
@settings(max_examples=3)
def test_poses_of_a_joint_path_lead_the_tool_along_it(part, seed):
    """Whatever the representation; seen by MuJoCo, which reads the URDF itself."""
    path = joint_path(seed, HOME, 0.25)
    made = codec(part, GRIPPER)
    asked = np.array([made.action(np.append(q, OPEN)) for q in path])
    found = made.decode(chunk(made.relative(asked, at(HOME))), at(HOME)).positions
    for want, got in zip(path, found[:, :-1]):
        (turn, place), (turned, placed) = seen(want), seen(got)
        assert np.linalg.norm(place - placed) < 2e-4
        assert (turn.inv() * turned).magnitude() < 2e-4
    assert (found[:, :-1] >= ROBOT.limits('lower')).all()
    assert (found[:, :-1] <= ROBOT.limits('upper')).all()


@pytest.mark.parametrize('part', [POSES[0], BRIDGE, DELTAS[3]], ids=label)
@given(seed=SEEDS)
@settings(max_examples=10)
def test_an_arm_without_redundancy_returns_to_the_joints_of_its_path(part, seed):
    """The Panda with its third joint locked at 0 has six."""
    joints = ROBOT.joints[:2] + ROBOT.joints[3:]
    home = np.delete(HOME, 2)
    six = ROBOT.with_arm(joints=joints, home=tuple(home))
    path = joint_path(seed, home, 0.25)
    made = codec(part, GRIPPER, robot=six)
    asked = np.array([made.action(np.append(q, OPEN)) for q in path])
    found = made.decode(chunk(made.relative(asked, at(home))), at(home)).positions
    np.testing.assert_allclose(found[:, :-1], path, atol=1e-4)


def test_redundancy_is_spent_on_staying_near_home():
    """The same tool path from an elbow that is turned aside: the elbow comes back."""
    made = codec(POSES[0])
    aside = HOME + [0.5, 0.0, -0.5, 0.0, 0.0, 0.0, 0.0]
    turn, place = tool(aside)
    circle = np.linspace(0.0, 2.0 * np.pi, 60)
    points = place + 0.03 * np.column_stack([np.cos(circle) - 1.0, np.sin(circle), 0.0 * circle])
    row = np.tile(turn.as_euler('xyx'), (60, 1))
    assert POSES[0].rotation == 'euler_xyx'
    found = made.decode(chunk(np.column_stack([points, row])), at(aside)).positions[:, :-1]
    assert np.linalg.norm(found[-1] - HOME) < 0.9 * np.linalg.norm(aside - HOME)
    assert np.linalg.norm(tool(found[-1])[1] - points[-1]) < 2e-4


def test_an_orientation_out_of_reach_is_refused_although_the_place_is_reached():
    """A hanging tool turns by the first, third, fifth and last joint, which hardly may."""
    joints = tuple(
        replace(j, lower=q - 0.02, upper=q + 0.02) if k % 2 == 0 else j
        for k, (j, q) in enumerate(zip(ROBOT.joints, HOME))
    )
    made = codec(BRIDGE, robot=ROBOT.with_arm(joints=joints))
    turns = np.zeros((10, 6))
    turns[:, 5] = 0.4  # 0.2 rad a step, in units of 0.5 rad
    with pytest.raises(PolicyError, match=r'leaves the reach of panda by 0\.0[01]\d m and'):
        made.decode(chunk(turns), at(HOME))


def test_numbers_that_are_no_rotation_are_refused():
    with pytest.raises(ShapeError, match='no rotation'):
        codec(replace(POSES[0], rotation='quaternion_xyzw', unit='m')).decode(
            chunk(np.zeros((2, 7))), at(HOME)
        )


def test_turns_scale_and_held_name_the_columns():
    made = codec(GRIPPER, BRIDGE)
    assert made.turns == (4,)
    assert made.held.tolist() == [True] + [False] * 7
    assert made.scale.tolist() == [1.0] + [0.1] * 3 + [0.3] * 4
    assert codec(ActionSlice('joint_velocity', 'rad/s'), GRIPPER).turns == ()
