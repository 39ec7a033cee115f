"""Messages to values and back: nothing is lost, nothing is guessed, keys survive."""

from __future__ import annotations

from array import array
from dataclasses import is_dataclass
import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message, serialize_message
from shape_msgs.msg import SolidPrimitive
from vla_ros_msgs import msg as interfaces

from vla_ros import paths
from vla_ros.errors import ShapeError, UnknownNameError
from vla_ros.obstacle import Obstacle
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.status import (
    ExecutionState,
    Hold,
    PolicyPhase,
    PolicyStatus,
    RunCode,
    SafetyStatus,
    SourceStatus,
    TaskStatus,
)
from vla_ros.types import (
    ChunkPrefix,
    Frame,
    Guidance,
    JointCommand,
    JointState,
    Provenance,
    Trajectory,
)

NAMES = ('a', 'b', 'c')
STAMP = 1_790_000_000.123_456_7  # [s] a date, where a float has 0.24 us of resolution


def wire(msg):
    """Return a message as another process would get it."""
    return deserialize_message(serialize_message(msg), type(msg))


def same(one, other):
    """Compare two dataclasses field by field, arrays by value."""
    assert type(one) is type(other)
    for name in one.__dataclass_fields__:
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right, err_msg=name)
        elif is_dataclass(left):
            same(left, right)
        else:
            assert left == right, name


@given(st.floats(0.0, 2.0**31 - 1.0))
def test_a_float_stamp_is_a_key(seconds):
    rounding = 5e-10 + np.spacing(seconds)  # to a nanosecond, and that to a float
    assert convert.time_from_msg(wire(convert.time_to_msg(seconds))) == pytest.approx(
        seconds, abs=rounding
    )
    if seconds > 2.0**24:  # a date: the float is coarser than a nanosecond
        assert convert.time_from_msg(convert.time_to_msg(seconds)) == seconds


@pytest.mark.parametrize('seconds', [0.0, 0.999_999_999_9, 1.0 - 2**-53, 12.000_000_001])
def test_nanoseconds_stay_below_a_second(seconds):
    msg = convert.time_to_msg(seconds)
    assert 0 <= msg.nanosec < 1_000_000_000
    assert convert.time_from_msg(msg) == pytest.approx(seconds, abs=1e-9)


def test_joints_come_in_the_order_of_the_robot_file():
    state = JointState(STAMP, np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    msg = wire(convert.joint_state_to_msg(state, ('b', 'other', 'a')))
    got = convert.joint_state_from_msg(msg, ('a', 'b'))
    same(got, JointState(STAMP, np.array([3.0, 1.0]), np.array([6.0, 4.0])))


def test_wrong_joint_names_are_told():
    state = JointState(STAMP, np.zeros(2), np.zeros(2))
    with pytest.raises(ShapeError, match='lacks c; expected a, b, c, found a, b'):
        convert.joint_state_from_msg(convert.joint_state_to_msg(state, ('a', 'b')), NAMES)


@pytest.mark.parametrize('field', ['position', 'velocity'])
def test_a_joint_state_without_a_value_is_not_filled_up(field):
    msg = convert.joint_state_to_msg(JointState(STAMP, np.zeros(3), np.zeros(3)), NAMES)
    setattr(msg, field, array('d'))
    plural = {'position': 'positions', 'velocity': 'velocities'}[field]
    with pytest.raises(ShapeError, match=f'0 {plural}'):
        convert.joint_state_from_msg(msg, NAMES)


@pytest.mark.parametrize('with_velocities', [True, False])
@pytest.mark.parametrize('count', [0, 1, 16])
def test_trajectory(count, with_velocities):
    rng = np.random.default_rng(count)
    points = rng.normal(size=(2, count, 3))
    trajectory = Trajectory(
        STAMP, 0.05 * np.arange(1, count + 1), points[0], points[1] if with_velocities else None
    )
    got = convert.trajectory_from_msg(wire(convert.trajectory_to_msg(trajectory, NAMES)), NAMES)
    np.testing.assert_allclose(got.times, trajectory.times, atol=1e-9)
    np.testing.assert_array_equal(got.positions, trajectory.positions)
    if with_velocities and count:
        np.testing.assert_array_equal(got.velocities, trajectory.velocities)
    else:
        assert got.velocities is None
    assert got.stamp == STAMP


def test_trajectory_columns_follow_the_names_asked_for():
    trajectory = Trajectory(STAMP, [0.1], [[1.0, 2.0, 3.0]])
    msg = convert.trajectory_to_msg(trajectory, ('c', 'a', 'b'))
    np.testing.assert_array_equal(
        convert.trajectory_from_msg(msg, NAMES).positions, [[2.0, 3.0, 1.0]]
    )


def test_a_trajectory_keeps_what_is_not_finite_for_the_filter_to_judge():
    trajectory = Trajectory(STAMP, [0.1], [[math.nan, math.inf, 0.0]])
    got = convert.trajectory_from_msg(wire(convert.trajectory_to_msg(trajectory, NAMES)), NAMES)
    np.testing.assert_array_equal(got.positions, [[math.nan, math.inf, 0.0]])


@pytest.mark.parametrize('names', [('a', 'b'), ('a', 'b', 'x'), ('a', 'b', 'c', 'd')])
def test_a_trajectory_of_other_joints_is_refused(names):
    trajectory = Trajectory(STAMP, [0.1], np.zeros((1, len(names))))
    with pytest.raises(ShapeError, match='expected a, b, c'):
        convert.trajectory_from_msg(convert.trajectory_to_msg(trajectory, names), NAMES)


@pytest.mark.parametrize('field', ['positions', 'velocities'])
def test_a_point_of_another_size_is_refused(field):
    trajectory = Trajectory(STAMP, [0.1, 0.2], np.zeros((2, 3)), np.zeros((2, 3)))
    msg = convert.trajectory_to_msg(trajectory, NAMES)
    setattr(msg.points[1], field, array('d', [0.0]))
    with pytest.raises(ShapeError, match=field):
        convert.trajectory_from_msg(msg, NAMES)


def test_a_command_is_cut_into_what_each_controller_gets():
    """One message serves every command, whatever the number of its points."""
    rng = np.random.default_rng(1)
    writer = convert.CommandWriter(NAMES[:2], slice(0, 2))
    for count in (2, 1, 4, 3, 4):
        times = 0.005 * np.arange(1, count + 1)
        rows = rng.normal(size=(2, count, 3))
        command = JointCommand(STAMP + count, times, *rows)
        got = convert.trajectory_from_msg(wire(writer.write(command)), NAMES[:2])
        np.testing.assert_array_equal(got.positions, command.positions[:, :2])
        np.testing.assert_array_equal(got.velocities, command.velocities[:, :2])
        np.testing.assert_allclose(got.times, command.times, atol=1e-9)
        assert got.stamp == command.stamp


def test_positions_of_a_stream_and_what_is_held():
    place = np.array([0.1, -2.0])
    msg = wire(convert.positions_to_msg(place))
    np.testing.assert_array_equal(convert.positions_from_msg(msg), place)
    held = wire(convert.hold_to_msg(STAMP, NAMES[:2], Hold(False, place)))
    np.testing.assert_array_equal(convert.hold_from_msg(held, NAMES[:2]).place, place)
    np.testing.assert_array_equal(convert.hold_from_msg(held, NAMES[1::-1]).place, place[::-1])
    for hold in (Hold(streams=True), Hold(streams=False)):
        assert convert.hold_from_msg(wire(convert.hold_to_msg(STAMP, NAMES, hold)), NAMES) == hold
    with pytest.raises(ShapeError):
        convert.hold_from_msg(held, ('other', NAMES[0]))


def test_picture():
    image = np.random.default_rng(2).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    msg = wire(convert.frame_to_msg(Frame(STAMP, image), 'eye'))
    got = convert.frame_from_msg(msg)
    np.testing.assert_array_equal(got.image, image)
    assert (got.stamp, msg.header.frame_id, msg.step) == (STAMP, 'eye', 15)


def test_a_picture_that_is_not_contiguous_is_sent_right():
    image = np.random.default_rng(3).integers(0, 256, (4, 10, 3), dtype=np.uint8)[::-1, ::2]
    got = convert.frame_from_msg(convert.frame_to_msg(Frame(STAMP, image), ''))
    np.testing.assert_array_equal(got.image, image)


def test_blue_first_and_padded_rows_become_rgb():
    image = np.random.default_rng(4).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    msg = convert.frame_to_msg(Frame(STAMP, image), '')
    padded = np.zeros((2, 12), np.uint8)
    padded[:, :9] = image[:, :, ::-1].reshape(2, 9)
    msg.encoding, msg.step, msg.data = 'bgr8', 12, array('B', padded.tobytes())
    np.testing.assert_array_equal(convert.frame_from_msg(msg).image, image)


def test_a_picture_of_another_kind_or_size_is_refused():
    msg = convert.frame_to_msg(Frame(STAMP, np.zeros((2, 3, 3), np.uint8)), '')
    msg.encoding = 'rgb9'
    with pytest.raises(UnknownNameError, match="Did you mean 'rgb8'"):
        convert.frame_from_msg(msg)
    msg.encoding = 'rgb8'
    msg.height = 3
    with pytest.raises(ShapeError, match='18 bytes'):
        convert.frame_from_msg(msg)


def test_camera_info_projects_the_corner_of_the_view():
    camera = load_robot(paths.find('robots', 'panda')).cameras[0]
    msg = wire(convert.camera_info_to_msg(camera, STAMP))
    k = np.array(msg.k).reshape(3, 3)
    top = math.tan(0.5 * camera.fovy)  # a ray along the upper edge of the view, at depth 1
    u, v, _ = k @ np.array([0.0, -top, 1.0])
    assert v == pytest.approx(-0.5)
    assert u == pytest.approx(0.5 * (camera.width - 1))
    np.testing.assert_array_equal(np.array(msg.p).reshape(3, 4)[:, :3], k)


STATES = [
    (
        convert.execution_state_to_msg,
        convert.execution_state_from_msg,
        ExecutionState(STAMP, 12.5, 0.5, STAMP - 1.0, 11.75, NAMES, np.ones(3), np.ones(3) / 3, 2),
    ),
    (
        convert.execution_state_to_msg,
        convert.execution_state_from_msg,
        ExecutionState(STAMP, 0.0, 0.0, None, 0.0, (), np.zeros(0), np.zeros(0), 0),
    ),
    (
        convert.safety_status_to_msg,
        convert.safety_status_from_msg,
        SafetyStatus(
            STAMP, 3, 'estop', 'pressed', True, 'path+cbf', 'brake_straight', 'override', True,
            0.75, ('a/limit',), -0.25, 'hand/floor', ('hand/floor', 'hand/base'),
            np.array([-0.24, 0.5]), np.array([0.01, 0.005]), 0.5, np.arange(3.0),
            np.arange(3.0) / 7, 1e-4, 2**40, 3, 4, 5, 0.0125,
        ),
    ),
    (
        convert.policy_status_to_msg,
        convert.policy_status_from_msg,
        PolicyStatus(
            STAMP, PolicyPhase.RUNNING, 'fine', 'reach the cube', 3, 2.5, 'rtc', 6, 2,
            'stretched', (0.25, 0.75, 0.875), (0.5, 1.0, 2.0), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6),
            (0.7, 0.8, 0.9), (1.0, 1.5, 2.0), (0.01, 0.02, 0.03), 17,
            {'eye': SourceStatus(0.5, 100, 3), 'joint_states': SourceStatus(math.inf, 0, 0)},
        ),
    ),
    (
        convert.task_status_to_msg,
        convert.task_status_from_msg,
        TaskStatus(
            STAMP, 'tabletop', 'reach', 'reach it', 2**50, 3, 100, True, True, 'cube', 'done', 0.1
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(('to_msg', 'from_msg', 'value'), STATES, ids=lambda v: type(v).__name__)
def test_what_nodes_tell_each_other(to_msg, from_msg, value):
    same(from_msg(wire(to_msg(value))), value)


def test_provenance():
    value = Provenance(
        'reach', 2, 2**63 + 1, {'eye': STAMP}, {'eye': 0.02}, 3,
        {
            'transport': 0.75, 'frame_wait': 0.5, 'preprocess': 0.25, 'inference': 2.0,
            'decode': 0.125,
        },
        'tiny', 2**62, 7, np.arange(12.0).reshape(4, 3) / 7,
        ChunkPrefix(np.arange(8.0).reshape(2, 4), 2, 5, Guidance('exact', 'linear', 3.5)),
        (0.75, 1.0),
    )  # fmt: skip
    msg = wire(convert.provenance_to_msg(value, STAMP, 0.1, 16))
    same(convert.provenance_from_msg(msg), value)
    assert (convert.stamp_from_msg(msg), msg.step_s, msg.horizon) == (STAMP, 0.1, 16)


SIZES = {
    'box': (0.1, 0.2, 0.3), 'sphere': (0.1,), 'cylinder': (0.4, 0.1), 'capsule': (0.4, 0.1),
    'plane': (),
}  # fmt: skip


@pytest.mark.parametrize('shape', SIZES)
def test_obstacles(shape):
    value = Obstacle(
        'crate', shape, np.array(SIZES[shape]), np.arange(3.0), np.array([0.0, 0.6, 0.0, 0.8]),
        np.arange(3.0, 6.0), np.arange(6.0, 9.0), uncertainty=0.015, uncertainty_rate=0.1,
        acceleration=2.0, margin=0.03, attached_to='hand', role='support',
    )  # fmt: skip
    msg = wire(convert.obstacles_to_msg([value], STAMP, 'base'))
    frame, (got,) = convert.obstacles_from_msg(msg)
    assert frame == 'base'
    same(got, value)


def test_an_obstacle_without_a_word_on_it_is_nothing_special():
    got = convert.obstacles_from_msg(
        interfaces.ObstacleArray(
            obstacles=[interfaces.Obstacle(primitive=SolidPrimitive(type=2, dimensions=[0.1]))]
        )
    )[1][0]
    assert (got.shape, got.role, got.margin, got.attached_to) == ('sphere', 'obstacle', None, '')
    assert not got.moves


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda o: setattr(o.primitive, 'type', 4), 'box, capsule, cylinder, plane, sphere'),
        (lambda o: setattr(o, 'form', 9), 'form 9'),
        (lambda o: setattr(o, 'form', 1), 'form 1 of type 2'),  # no capsule is a sphere
        (lambda o: setattr(o, 'role', 7), 'number 7'),
    ],
)
def test_obstacles_of_another_shape_or_role_are_refused(change, words):
    value = Obstacle('o', 'sphere', [0.1], np.zeros(3))
    msg = convert.obstacles_to_msg([value], STAMP, 'base')
    change(msg.obstacles[0])
    with pytest.raises(UnknownNameError, match=words):
        convert.obstacles_from_msg(msg)


def test_a_negative_size_or_too_few_sizes_are_refused():
    msg = convert.obstacles_to_msg([Obstacle('o', 'box', [1, 1, 1], np.zeros(3))], STAMP, 'base')
    for wrong in ([0.1, -0.1, 0.1], [0.1, 0.1], [0.1, 0.1, float('nan')]):
        msg.obstacles[0].primitive.dimensions = wrong
        with pytest.raises(ShapeError, match="obstacle 'o': size"):
            convert.obstacles_from_msg(msg)


def test_diagnostics_carry_level_and_figures():
    msg = wire(convert.diagnostics_to_msg(STAMP, 'arm', 1, 'slow', {'rate': 199.5}.items()))
    (status,) = msg.status
    assert (status.level, status.name, status.message) == (b'\x01', 'arm', 'slow')
    assert [(v.key, v.value) for v in status.values] == [('rate', '199.5')]


def test_figures_of_a_status_are_numbers_in_the_unit_of_their_key():
    status = SafetyStatus(
        STAMP, 1, 'slowed', 'slow', False, intervention='path', min_barrier=0.012,
        nearest_pairs=('hand/box', 'elbow/box'), nearest_distances=np.array([0.027, 0.3]),
        nominal_velocity=np.array([0.1, -0.5]), filtered_velocity=np.array([0.1, -0.2]),
        cycle_time=8e-5,
    )  # fmt: skip
    msg = wire(convert.diagnostics_to_msg(STAMP, 'filter', 0, 'fine', status.figures().items()))
    told = {v.key: v.value for v in msg.status[0].values}
    assert float(told['min_barrier_m']) == 0.012
    assert float(told['fastest_nominal_joint_rad_per_s']) == 0.5
    assert float(told['fastest_filtered_joint_rad_per_s']) == 0.2
    assert float(told['cycle_time_s']) == 8e-5
    assert told['nearest_pairs'] == 'hand/box, elbow/box'
    assert told['nearest_distances_m'] == '0.0270, 0.3000'
    assert told['intervention'] == 'path'
    bare = {'level', 'speed_scale', 'ticks', 'missed_ticks', 'filtered_ticks', 'braked_ticks'}
    for key, value in status.figures().items():
        if isinstance(value, (int, float)) and not isinstance(value, bool) and key not in bare:
            assert key.endswith(('_m', '_s', '_m_per_s', '_rad_per_s')), key


PAIRS = [
    (convert.run_goal, convert.run_goal_from_msg, ('go', 2.5)),
    (convert.run_result, convert.run_result_from_msg, (RunCode.TIME_LIMIT, 'late', 3.5, 4)),
    (convert.run_feedback, convert.run_feedback_from_msg, (1.5, 2, 3, 0.25)),
    (convert.start_request, convert.start_from_msg, ('go', 2.5)),
    (convert.start_answer, convert.start_answer_from_msg, (True, 'runs', 7)),
    (convert.world_request, convert.world_from_msg, ('tabletop', 'push', 2**63)),
    (convert.world_answer, convert.world_answer_from_msg, (False, 'no', '')),
    (convert.trigger_answer, convert.trigger_from_msg, (True, 'done')),
    (convert.text_to_msg, convert.text_from_msg, 'reach'),
    (convert.flag_to_msg, convert.flag_from_msg, True),
]


@pytest.mark.parametrize(
    ('to_msg', 'from_msg', 'value'), PAIRS, ids=lambda v: getattr(v, '__name__', '')
)
def test_requests_and_answers(to_msg, from_msg, value):
    parts = value if isinstance(value, tuple) else (value,)
    assert from_msg(wire(to_msg(*parts))) == value
