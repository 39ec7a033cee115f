"""The picture against pinocchio, plain geometry and what an operator must not be told wrongly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pinocchio as pin
import pytest

from vla_ros.mark import Form, Mark
from vla_ros.obstacle import Obstacle
from vla_ros.robot import RobotSpec
from vla_ros.safety import Level, SafetyConfig, World
from vla_ros.safety.picture import AHEAD, LEVELS, NEAREST, Picture, SPACES, UNKNOWN, WIDE
from vla_ros.status import ExecutionState, SafetyStatus
from vla_ros.types import JointState

NOW = 1000.0  # [s]
BALL = Obstacle('ball', 'sphere', [0.05], [0.45, 0.0, 0.12])


@pytest.fixture(scope='module')
def picture(robot: RobotSpec, config: SafetyConfig) -> Picture:
    return Picture(robot, config)


def joints(robot: RobotSpec, q=None, stamp: float = NOW) -> JointState:
    position = np.append(robot.home if q is None else q, robot.gripper.open)
    return JointState(stamp, position, np.zeros(len(position)))


def report(level: int = 0, **changed) -> SafetyStatus:
    return replace(SafetyStatus(NOW, level, '', 'fine', False), **changed)


def in_space(marks: list[Mark], space: str) -> list[Mark]:
    return [mark for mark in marks if mark.space == space]


def random_pose(robot: RobotSpec, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(robot.limits('lower'), robot.limits('upper'))


def links(robot: RobotSpec, q: np.ndarray) -> dict[str, pin.SE3]:
    """Return the pose of every link by pinocchio, fingers at zero."""
    model = pin.buildModelFromUrdf(str(robot.urdf_path))
    full = pin.neutral(model)
    full[: len(q)] = q
    data = model.createData()
    pin.framesForwardKinematics(model, data, full)
    return {frame.name: data.oMf[i] for i, frame in enumerate(model.frames)}


@pytest.mark.parametrize('seed', range(5))
def test_capsules_are_where_pinocchio_has_the_links(robot, picture, seed):
    q = random_pose(robot, seed)
    marks = in_space(picture.draw(NOW, joints(robot, q), World(), report(), None), 'arm')
    balls = {m.number: m for m in marks if m.form is Form.SPHERES}
    placed = links(robot, q)
    for i, capsule in enumerate(robot.capsules):
        pose, ball = placed[capsule.link], balls[2 * i + 1]
        ends = [pose.act(np.array(end)) for end in (capsule.a, capsule.b)]
        np.testing.assert_allclose(
            ball.points[[0, -1]], ends[:: len(ball.points) - 1 or 1], atol=1e-9
        )
        assert ball.size[0] == pytest.approx(2.0 * capsule.radius)
    assert len(balls) == len(robot.capsules)


@pytest.mark.parametrize('level', Level)
def test_the_arm_has_the_colour_of_the_level_and_the_words_name_it(robot, picture, level):
    marks = picture.draw(NOW, joints(robot), World(), report(level, reason='why'), None)
    assert {m.colour[:3] for m in in_space(marks, 'arm')} == {LEVELS[level]}
    (words,) = in_space(marks, 'status')
    assert f'S{int(level)} ' in words.text and 'why' in words.text


def test_levels_differ_in_colour():
    assert len({*LEVELS.values(), UNKNOWN}) == len(Level) + 1


@pytest.mark.parametrize(
    'status, said',
    [(None, 'no safety filter yet'), (report(stamp=NOW - 1.2), 'safety filter silent for 1.2 s')],
)
def test_a_silent_filter_is_grey_and_its_last_words_are_not_repeated(robot, picture, status, said):
    if status is not None:
        moving = np.full(robot.dof + 1, 0.5)
        status = replace(status, level=1, message='slow', filtered_velocity=moving)
        status = replace(status, nominal_velocity=moving, intervention='path')
    marks = picture.draw(NOW, joints(robot), World(), status, None)
    assert {m.colour[:3] for m in in_space(marks, 'arm')} == {UNKNOWN}
    assert not in_space(marks, 'motion') and not in_space(marks, 'intervention')
    (words,) = in_space(marks, 'status')
    assert said in words.text and 'slow' not in words.text


def test_old_joints_are_grey_without_distances(robot, picture):
    marks = picture.draw(NOW, joints(robot, stamp=NOW - 2.0), World(), report(), None)
    assert {m.colour[:3] for m in in_space(marks, 'arm')} == {UNKNOWN}
    assert not in_space(marks, 'distances')
    assert 'joint states silent for 2.0 s' in in_space(marks, 'status')[0].text


@pytest.mark.parametrize('value', [None, np.nan, np.inf])
def test_an_arm_of_unknown_joints_is_not_drawn(robot, picture, value):
    state = None
    if value is not None:
        q = np.array(robot.home)
        q[2] = value
        state = joints(robot, q)
    marks = picture.draw(NOW, state, World(NOW, (BALL,)), report(), None)
    assert {m.space for m in marks} == {'floor', 'obstacles', 'inflation', 'status'}
    said = 'no joint states yet' if value is None else 'joint states are not finite'
    assert said in in_space(marks, 'status')[0].text


def test_capsules_of_a_binding_constraint_stand_out(robot, picture):
    status = report(1, active_constraints=('hand/ball', 'panda_joint4/limit'))
    marks = in_space(picture.draw(NOW, joints(robot), World(NOW, (BALL,)), status, None), 'arm')
    names = [capsule.name for capsule in robot.capsules]
    solid = {names[m.number // 2] for m in marks if m.colour[3] > 0.5}
    assert solid == {'hand'}


def test_distances_join_the_surfaces_of_the_nearest_pairs(robot, picture):
    """Against a ball, by hand: the line runs along the common normal and is as long as it says."""
    marks = in_space(
        picture.draw(NOW, joints(robot), World(NOW, (BALL,)), report(), None), 'distances'
    )
    lines = [m for m in marks if m.form is Form.LINES]
    words = [m for m in marks if m.form is Form.TEXT]
    assert len(lines) == len(words) == NEAREST
    i = next(i for i, m in enumerate(words) if m.text.startswith('fingertips/ball'))
    here, there = lines[i].points
    capsule = next(c for c in robot.capsules if c.name == 'fingertips')
    pose = links(robot, np.array(robot.home))[capsule.link]
    a, b = pose.act(np.array(capsule.a)), pose.act(np.array(capsule.b))
    share = np.clip((BALL.position - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    axis = a + share * (b - a)
    apart = float(np.linalg.norm(BALL.position - axis))
    toward = (BALL.position - axis) / apart
    np.testing.assert_allclose(here, axis + capsule.radius * toward, atol=1e-6)
    np.testing.assert_allclose(there, BALL.position - BALL.size[0] * toward, atol=1e-6)
    gap = 1e3 * (apart - capsule.radius - BALL.size[0])
    assert words[i].text == f'fingertips/ball {gap:.0f} mm'


def test_a_pair_inside_its_margin_is_red(robot, picture):
    tool = links(robot, np.array(robot.home))[robot.tool_frame].translation
    near = replace(BALL, position=tool - [0.0, 0.0, 0.07])
    marks = in_space(
        picture.draw(NOW, joints(robot), World(NOW, (near,)), report(), None), 'distances'
    )
    red = {m.text for m in marks if m.form is Form.TEXT and m.colour[:3] == LEVELS[Level.S3_HOLD]}
    assert {text.split()[0] for text in red} == {'fingertips/ball'}


def test_obstacles_are_drawn_where_they_are_by_now_with_all_that_is_unknown(
    robot, picture, config
):
    age = 0.2
    moving = replace(
        BALL, linear_velocity=[0.1, 0.0, -0.2], uncertainty=0.01, uncertainty_rate=0.05,
        acceleration=0.5,
    )  # fmt: skip
    marks = picture.draw(NOW, joints(robot), World(NOW - age, (moving,)), report(), None)
    (solid,), (shell,) = in_space(marks, 'obstacles'), in_space(marks, 'inflation')
    place = moving.position + age * moving.linear_velocity
    np.testing.assert_allclose(solid.points[0], place)
    np.testing.assert_allclose(shell.points[0], place)
    unknown = 0.01 + 0.05 * age + 0.5 * 0.5 * age**2
    radius = 0.05 + unknown + config.margin_obstacle
    np.testing.assert_allclose(solid.size, 0.1)
    np.testing.assert_allclose(shell.size, 2.0 * radius)
    assert shell.colour[3] < solid.colour[3]


def test_an_obstacle_keeps_its_number_when_another_goes(robot, picture):
    second = replace(BALL, name='second', position=[0.6, 0.3, 0.2])
    both = in_space(
        picture.draw(NOW, joints(robot), World(NOW, (BALL, second)), report(), None), 'obstacles'
    )
    (alone,) = in_space(
        picture.draw(NOW, joints(robot), World(NOW, (second,)), report(), None), 'obstacles'
    )
    assert alone.key == both[1].key != both[0].key


def test_what_is_held_moves_with_the_arm(robot, picture):
    held = Obstacle('tool', 'capsule', [0.1, 0.02], [0.0, 0.0, 0.2], attached_to='panda_hand')
    marks = picture.draw(NOW, joints(robot), World(NOW, (held,)), report(), None)
    assert not in_space(marks, 'obstacles')
    points = np.concatenate([m.points for m in in_space(marks, 'arm')])
    pose = links(robot, np.array(robot.home))['panda_hand']
    for end in ([0.0, 0.0, 0.15], [0.0, 0.0, 0.25]):
        away = np.linalg.norm(points - pose.act(np.array(end)), axis=1)
        assert away.min() < 1e-6


def test_arrows_show_where_the_tool_goes(robot, picture):
    q = random_pose(robot, 11)
    wanted = np.random.default_rng(12).normal(size=robot.dof)
    status = report(
        1, nominal_velocity=np.append(wanted, 0.0), filtered_velocity=np.append(wanted / 4, 0.0)
    )
    marks = in_space(picture.draw(NOW, joints(robot, q), World(), status, None), 'motion')
    step = 1e-6
    there, here = (links(robot, q + s * wanted)[robot.tool_frame] for s in (step, -step))
    velocity = (there.translation - here.translation) / (2.0 * step)
    for mark, share in zip(marks, (1.0, 0.25)):
        start, end = mark.points
        np.testing.assert_allclose(start, links(robot, q)[robot.tool_frame].translation, atol=1e-9)
        np.testing.assert_allclose(end - start, share * AHEAD * velocity, atol=1e-6)
    assert marks[0].colour[:3] != marks[1].colour[:3] == LEVELS[Level.S1_FILTERED]


def test_an_arm_at_rest_has_no_arrows(robot, picture):
    still = np.zeros(robot.dof + 1)
    status = report(nominal_velocity=still, filtered_velocity=still)
    assert not in_space(picture.draw(NOW, joints(robot), World(), status, None), 'motion')


def test_an_intervention_is_named_at_the_tool_and_what_binds_above(robot, picture):
    still = np.zeros(robot.dof + 1)
    status = report(
        1, intervention='cbf', active_constraints=('hand/ball',), nominal_velocity=still,
        filtered_velocity=still,
    )  # fmt: skip
    marks = picture.draw(NOW, joints(robot), World(NOW, (BALL,)), status, None)
    (words,) = in_space(marks, 'intervention')
    assert words.text == 'cbf'
    tool = links(robot, np.array(robot.home))[robot.tool_frame].translation
    assert np.linalg.norm(words.position - tool) < 0.1
    assert 'hand/ball' in in_space(marks, 'status')[0].text
    quiet = replace(status, intervention='')
    marks = picture.draw(NOW, joints(robot), World(NOW, (BALL,)), quiet, None)
    assert not in_space(marks, 'intervention')


def test_every_mark_has_a_key_of_its_own_in_a_known_space(robot, picture):
    scene = (
        BALL, Obstacle('crate', 'box', [0.1, 0.2, 0.3], [0.6, 0.3, 0.15]),
        Obstacle('wall', 'plane', [], [-0.6, 0.0, 0.0], [0.0, 0.7071068, 0.0, 0.7071068]),
        Obstacle('can', 'cylinder', [0.1, 0.03], [0.5, -0.3, 0.05], role='target'),
        Obstacle('pen', 'capsule', [0.1, 0.01], [0.0, 0.0, 0.15], attached_to='panda_hand'),
    )  # fmt: skip
    fast = np.full(robot.dof + 1, 0.5)
    status = report(1, nominal_velocity=fast, filtered_velocity=fast, intervention='path')
    marks = picture.draw(NOW, joints(robot), World(NOW, scene), status, None)
    keys = [mark.key for mark in marks]
    assert len(keys) == len(set(keys))
    assert {space for space, _ in keys} == set(SPACES)


def test_words_tell_refused_obstacles_rate_and_dry_run(robot, picture):
    world = World(NOW, (), refused='one has no name.')
    zero = np.zeros(0)
    execution = ExecutionState(NOW, 1.0, 0.25, None, 0.0, (), zero, zero, 0)
    status = report(dry_run=True, mode='path+cbf', min_barrier=0.012, min_barrier_pair='a/b')
    (words,) = in_space(picture.draw(NOW, joints(robot), world, status, execution), 'status')
    for part in ('one has no name', '0.25', 'dry run', 'path+cbf', '12 mm', 'a/b'):
        assert part in words.text


def test_long_words_are_broken(robot, picture):
    names = tuple(f'panda_joint{i}/limit' for i in range(1, 8))
    status = report(1, active_constraints=names)
    (words,) = in_space(picture.draw(NOW, joints(robot), World(), status, None), 'status')
    assert all(name in words.text for name in names)
    assert max(len(line) for line in words.text.split('\n')) <= WIDE
