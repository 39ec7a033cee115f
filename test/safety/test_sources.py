"""Obstacles from files and from the topic: merging, frames, stamps, refusals."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pinocchio as pin
import pytest
from scipy.spatial.transform import Rotation

from vla_ros import paths
from vla_ros.errors import ConfigError, ShapeError, UnknownNameError
from vla_ros.obstacle import Obstacle
from vla_ros.safety import SafetyConfig
from vla_ros.safety.limits import limits_of
from vla_ros.safety.scene import Scene
from vla_ros.safety.sources import load_scene, SceneSpec, Worlds

SCENES = sorted((paths.share() / 'config' / 'scenes').glob('*.yaml'))
BASE = 'panda_link0'
NOW = 100.0


def ball(name='ball', place=(0.5, 0.0, 0.5), **changes):
    return Obstacle(name, 'sphere', [0.05], np.array(place), **changes)


@pytest.fixture
def make(robot, config):
    """Return worlds of a robot with obstacles of its own and a scene."""

    def build(own=(), scene=(), targets=()):
        return Worlds(
            replace(robot, obstacles=tuple(own)), SceneSpec(tuple(scene), tuple(targets)), config
        )

    return build


@pytest.fixture
def worlds(make):
    return make()


def names(worlds):
    return {o.name: float(o.position[0]) for o in worlds.world.obstacles}


def test_the_topic_replaces_the_scene_and_the_scene_the_robot(make):
    worlds = make(
        own=[ball('a', (1, 0, 0)), ball('b', (1, 0, 0))], scene=[ball('b', (2, 0, 0)), ball('c')]
    )
    assert names(worlds) == {'a': 1.0, 'b': 2.0, 'c': 0.5}
    assert worlds.put(NOW, BASE, [ball('c', (3, 0, 0)), ball('d', (3, 0, 0))], NOW) == ''
    assert names(worlds) == {'a': 1.0, 'b': 2.0, 'c': 3.0, 'd': 3.0}
    assert worlds.put(NOW + 1, BASE, [], NOW + 1) == ''  # one that is missing is gone
    assert names(worlds) == {'a': 1.0, 'b': 2.0, 'c': 0.5}
    assert worlds.world.stamp == NOW + 1


def test_targets_are_targets_wherever_they_come_from(make):
    worlds = make(scene=[ball('cube')], targets=['cube', 'cup'])
    worlds.put(NOW, BASE, [ball('cup'), ball('knife')], NOW)
    roles = {o.name: o.role for o in worlds.world.obstacles}
    assert roles == {'cube': 'target', 'cup': 'target', 'knife': 'obstacle'}


BAD = {
    'a name that stands twice': [ball(), ball()],
    'no rotation': [ball(orientation=np.zeros(4))],
    'not a number': [ball(place=(np.nan, 0, 0))],
    'an endless uncertainty': [ball(uncertainty=np.inf)],
    'no link of the robot': [ball(attached_to='panda_hnad')],
    'a link that holds nothing': [ball(attached_to='panda_link3')],
}


@pytest.mark.parametrize('what', BAD)
def test_a_bad_array_is_refused_as_a_whole_and_the_last_world_stays(worlds, what):
    worlds.put(NOW, BASE, [ball('good', linear_velocity=[0.1, 0, 0])], NOW)
    reason = worlds.put(NOW + 0.1, BASE, [ball('other'), *BAD[what]], NOW + 0.1)
    assert reason
    world = worlds.world
    assert world.refused == reason and [o.name for o in world.obstacles] == ['good']
    assert world.stamp == NOW  # it grows old
    assert world.fault(NOW + 0.1, 0.5) == 'obstacle_invalid'
    assert worlds.put(NOW + 0.2, BASE, [ball('other')], NOW + 0.2) == ''
    assert worlds.world.fault(NOW + 0.2, 0.5) == '' and names(worlds) == {'other': 0.5}


@pytest.fixture(scope='module')
def everything(robot, config, shared_filter):
    """Worlds with joint states of the last second, and a scene."""
    worlds = Worlds(robot, SceneSpec(), config)
    for k in range(20):
        worlds.put_joints(NOW + 0.05 * (k - 19), np.array(robot.home))
    return worlds, Scene(shared_filter.scene._empty, limits_of(robot), config)


junk = st.one_of(st.floats(), st.sampled_from([0.0, 1e-320, 1e308, -1e200, 1e9, np.nan, np.inf]))
numbers = st.one_of(st.floats(-1.0, 1.0), junk)
triples = st.tuples(numbers, numbers, numbers)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(['a', 'b', '']), st.sampled_from(['box', 'sphere', 'plane']), triples,
            st.one_of(st.just((0.0, 0.0, 0.0, 1.0)), st.tuples(numbers, *[numbers] * 3)), triples,
            numbers, st.sampled_from(['', '', 'panda_hand', 'panda_link1', 'no link']),
        ),
        max_size=3,
    ),
    numbers, st.sampled_from([BASE, 'panda_hand', 'panda_leftfinger', 'nowhere', '']),
)  # fmt: skip
@settings(max_examples=200)
def test_no_array_whatever_makes_a_distance_that_is_no_number(
    robot, everything, given_ones, stamp, frame
):
    """What is refused says why; what is taken has finite clearances and rows."""
    worlds, scene = everything
    arrived = []
    for name, shape, place, turn, velocity, number, link in given_ones:
        size = {'box': 3, 'sphere': 1, 'plane': 0}[shape] * [abs(number) or 0.1]
        try:
            arrived.append(
                Obstacle(name, shape, size, place, turn, velocity, uncertainty=number,
                         attached_to=link)
            )  # fmt: skip
        except ShapeError:  # a size that is no number
            return
    before = worlds.world
    reason = worlds.put(stamp, frame, arrived, NOW)
    if reason:
        assert worlds.world.obstacles is before.obstacles
    scene.set_world(worlds.world)
    rows = scene.rows(np.array(robot.home), NOW)
    assert worlds.world.problem == '' and np.isfinite(rows.clearance).all()
    assert np.isfinite(rows.matrix).all() and np.isfinite(rows.bound).all()


def test_a_message_that_is_none_is_refused_too(worlds):
    worlds.put(NOW, BASE, [ball()], NOW)
    worlds.put_refusal('no shape')
    before = worlds.world
    worlds.put_refusal('no shape')
    assert worlds.world is before  # nothing new for the control loop to take
    assert before.refused == 'no shape' and names(worlds) == {'ball': 0.5}


@pytest.mark.parametrize('stamp', [NOW, NOW - 0.001, NOW - 50.0])
def test_an_array_that_is_not_newer_is_passed_over_without_a_fault(worlds, stamp):
    worlds.put(NOW, BASE, [ball('new')], NOW)
    before = worlds.world
    assert 'not newer' in worlds.put(stamp, BASE, [ball('old')], NOW + 0.01)
    assert worlds.world is before and before.fault(NOW, 0.5) == ''


def test_what_moves_must_not_come_from_the_future(worlds):
    moving = ball(linear_velocity=[0.1, 0, 0])
    assert worlds.put(NOW + 0.04, BASE, [moving], NOW) == ''
    assert 'ahead of our clock' in worlds.put(NOW + 0.06, BASE, [moving], NOW)
    assert worlds.world.fault(NOW, 0.5) == 'obstacle_invalid'
    assert worlds.put(np.nan, BASE, [ball()], NOW)
    assert worlds.world.stamp == NOW + 0.04


def test_a_clock_that_went_back_does_not_lock_the_topic(worlds):
    worlds.put(NOW, BASE, [ball('before', linear_velocity=[0.1, 0, 0])], NOW)
    assert worlds.put(10.0, BASE, [ball('after', linear_velocity=[0.1, 0, 0])], 10.0) == ''
    assert names(worlds) == {'after': 0.5}


def test_stamp_zero_is_now_where_nothing_moves(worlds):
    """What `ros2 topic pub` sends, once and again."""
    assert worlds.put(0.0, BASE, [ball('one')], NOW) == ''
    assert worlds.put(0.0, BASE, [ball('two')], NOW + 1.0) == ''
    assert names(worlds) == {'two': 0.5} and worlds.world.stamp == NOW + 1.0
    assert 'not newer' in worlds.put(0.0, BASE, [ball(linear_velocity=[1, 0, 0])], NOW + 2.0)


def frame_pose(robot, q, frame):
    """Return where Pinocchio puts a frame, with every joint of the URDF."""
    model = pin.buildModelFromUrdf(str(robot.urdf_path))
    data = model.createData()
    pin.framesForwardKinematics(model, data, np.append(q, [0.0, 0.0]))
    place = data.oMf[model.getFrameId(frame)]
    return place.rotation.copy(), place.translation.copy()


@pytest.mark.parametrize(('stamp', 'at'), [(NOW, 0.0), (NOW + 0.03, 0.6), (NOW + 0.065, 1.3)])
def test_a_camera_on_the_hand_sees_where_the_arm_was_at_the_stamp(robot, worlds, stamp, at):
    """Between two joint states, and a little after the newest; twists are against the base."""
    q0 = np.array(robot.home)
    q1 = q0 + 0.05
    worlds.put_joints(NOW, np.append(q0, 0.04))
    worlds.put_joints(NOW + 0.05, np.append(q1, 0.04))
    seen = ball(
        place=(0.1, 0.2, 0.3), orientation=Rotation.from_rotvec([0.1, 0.2, 0.3]).as_quat(),
        linear_velocity=[0.1, -0.2, 0.3], angular_velocity=[1.0, 0.0, -1.0],
    )  # fmt: skip
    held = Obstacle('cube', 'box', [0.04] * 3, [0, 0, 0.1], attached_to='panda_hand')
    assert worlds.put(stamp, 'panda_hand', [seen, held], NOW + 0.1) == ''
    turn, place = frame_pose(robot, q0 + at * (q1 - q0), 'panda_hand')
    got = {o.name: o for o in worlds.world.obstacles}
    np.testing.assert_allclose(got['ball'].position, turn @ seen.position + place, atol=1e-9)
    np.testing.assert_allclose(got['ball'].linear_velocity, turn @ seen.linear_velocity)
    np.testing.assert_allclose(got['ball'].angular_velocity, turn @ seen.angular_velocity)
    want = Rotation.from_matrix(turn) * Rotation.from_quat(seen.orientation)
    error = want * Rotation.from_quat(got['ball'].orientation).inv()
    assert error.magnitude() < 1e-7
    np.testing.assert_array_equal(got['cube'].position, held.position)  # stays in its link
    assert worlds.world.stamp == stamp


def test_without_joint_states_at_the_stamp_a_moving_frame_is_refused(robot, worlds):
    seen = [ball()]
    assert 'no joint states' in worlds.put(NOW, 'panda_hand', seen, NOW)
    worlds.put_joints(NOW, np.array(robot.home))
    assert 'no joint states' in worlds.put(NOW, 'panda_hand', seen, NOW)  # one says no motion
    worlds.put_joints(NOW + 0.01, np.array(robot.home))
    for stamp in (NOW - 0.01, NOW + 0.05):
        assert 'no joint states' in worlds.put(stamp, 'panda_hand', seen, NOW + 0.05)
    worlds.put_joints(NOW + 1.0, np.array(robot.home))  # a gap that nobody looked into
    assert 'no joint states' in worlds.put(NOW + 0.5, 'panda_hand', seen, NOW + 1.0)
    assert worlds.world.fault(NOW + 1.0, 0.5) == 'obstacle_invalid'
    worlds.put_joints(NOW + 1.01, np.full(7, np.nan))
    worlds.put_joints(NOW + 1.01, np.array(robot.home))
    assert worlds.put(NOW + 1.005, 'panda_hand', seen, NOW + 1.05) == ''


def test_old_joint_states_are_forgotten_and_a_clock_may_go_back(robot, worlds):
    for k in range(300):
        worlds.put_joints(NOW + 0.01 * k, np.array(robot.home))
    assert 'no joint states' in worlds.put(NOW + 0.5, 'panda_hand', [ball()], NOW + 3.0)
    assert worlds.put(NOW + 1.5, 'panda_hand', [ball()], NOW + 3.0) == ''
    worlds.put_joints(1.0, np.array(robot.home))
    worlds.put_joints(1.01, np.array(robot.home))
    assert worlds.put(1.005, 'panda_hand', [ball()], 1.02) == ''


def test_a_fixed_frame_needs_no_joints_and_an_unknown_one_is_named(robot, worlds):
    assert worlds.put(NOW, BASE, [ball()], NOW) == '' and names(worlds) == {'ball': 0.5}
    assert "Did you mean 'panda_hand'" in worlds.put(NOW + 1, 'panda_hnad', [ball()], NOW + 1)
    reason = worlds.put(NOW + 2, 'panda_leftfinger', [ball()], NOW + 2)
    assert 'panda_finger_joint1' in reason  # its pose needs more than the arm's joints


@pytest.mark.parametrize('file', SCENES, ids=lambda f: f.stem)
def test_every_scene_loads_and_leaves_the_arm_room_at_home(
    robot, config: SafetyConfig, shared_filter, file
):
    world = Worlds(robot, load_scene(file), config).world
    assert world.problem == '' and not world.moves
    scene = Scene(shared_filter.scene.model, limits_of(robot), config)
    scene.set_world(world)
    rows = scene.rows(np.array(robot.home), 0.0)
    assert (rows.clearance > scene.margins).all()


@pytest.mark.parametrize(
    ('text', 'error', 'words'),
    [
        ('obstacle: []', UnknownNameError, "Did you mean 'obstacles'"),
        ('obstacles: [{name: a, shape: sphere, size: [0.1], positon: [0, 0, 0]}]',
         UnknownNameError, "Did you mean 'position'"),
        ('obstacles: [{name: a, shape: bal, size: [0.1], position: [0, 0, 0]}]', ConfigError,
         "unknown obstacle shape 'bal'"),
        ('obstacles: [{name: a, shape: sphere, size: [x], position: [0, 0, 0]}]', ConfigError,
         'expected float'),
        ('obstacles: [{name: a, shape: sphere, size: [0.1, 0.1], position: [0, 0, 0]}]',
         ConfigError, 'shape'),
        ('obstacles: [{name: a, shape: sphere, size: [0.1], position: [0, 0, 0], '
         'linear_velocity: [1, 0, 0]}]', ConfigError, "'a' moves"),
        ('obstacles: [&a {name: a, shape: sphere, size: [0.1], position: [0, 0, 0]}, *a]',
         ConfigError, 'stands twice'),
    ],
)  # fmt: skip
def test_a_scene_file_is_strict(tmp_path, text, error, words):
    path = tmp_path / 'scene.yaml'
    path.write_text(text)
    with pytest.raises(error, match=words):
        load_scene(path)


def test_a_file_may_put_something_in_the_hand_and_only_there(make):
    assert make(scene=[ball('tool', attached_to='panda_hand')]).world.held
    with pytest.raises(UnknownNameError, match='panda_hand'):
        make(scene=[ball('tool', attached_to='panda_link2')])


def test_robot_files_name_obstacles_of_their_own(robot):
    assert robot.obstacles == ()  # the table of this one is its floor
    with pytest.raises(ConfigError, match='stands twice'):
        replace(robot, obstacles=(ball(), ball()))
