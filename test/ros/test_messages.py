"""Reading recorded messages: what rclpy sent, read from its bytes by `rosbags`, is the same."""

from __future__ import annotations

from dataclasses import is_dataclass
import math
import struct

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image
from vla_ros_msgs import msg as interfaces

from vla_ros import messages
from vla_ros.bags.definitions import installed, Types
from vla_ros.bags.storage import Channel
from vla_ros.errors import PictureError, ShapeError, UnknownNameError
from vla_ros.messages import depth_from_msg, frame_from_msg
from vla_ros.messages.obstacles import FORMS, ROLES
from vla_ros.obstacle import Obstacle
from vla_ros.ros import convert
from vla_ros.status import (
    ExecutionState,
    Hold,
    PolicyPhase,
    PolicyStatus,
    SafetyStatus,
    SourceStatus,
    TaskStatus,
)
from vla_ros.types import Frame, JointState, Provenance, Trajectory

STAMP = 1_790_000_000.123_456_7  # [s]
NAMES = ('a', 'b', 'c')


def recorded(msg):
    """Return a message as a bag gives it: from its bytes, by its definition, without rclpy."""
    kind = '/'.join((type(msg).__module__.split('.')[0], 'msg', type(msg).__name__))
    read = Types().reader(Channel('/t', kind, installed(kind), 'ros2msg'))
    return read(bytes(serialize_message(msg)))


def same(one, other):
    assert type(one) is type(other)
    for name in one.__dataclass_fields__ if is_dataclass(one) else one._fields:
        left, right = getattr(one, name), getattr(other, name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype
            np.testing.assert_array_equal(left, right, err_msg=name)
        elif is_dataclass(left):
            same(left, right)
        else:
            assert type(left) is type(right) and left == right, name


PICTURE = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
VALUES = [
    (
        convert.joint_state_to_msg(JointState(STAMP, np.arange(3.0), -np.arange(3.0)), NAMES),
        lambda m: messages.joint_state_from_msg(m, NAMES[::-1]),
    ),
    (
        convert.trajectory_to_msg(
            Trajectory(STAMP, np.array([0.1, 0.2]), np.arange(6.0).reshape(2, 3)), NAMES
        ),
        lambda m: messages.trajectory_from_msg(m, NAMES),
    ),
    (
        convert.hold_to_msg(STAMP, NAMES, Hold(False, np.arange(3.0))),
        lambda m: messages.hold_from_msg(m, NAMES),
    ),
    (convert.frame_to_msg(Frame(STAMP, PICTURE), 'eye'), frame_from_msg),
    (convert.frame_to_msg(Frame(STAMP, PICTURE), 'eye', 'compressed'), frame_from_msg),
    (
        convert.execution_state_to_msg(
            ExecutionState(STAMP, 1.5, 0.25, STAMP - 1, 0.75, NAMES, np.ones(3), np.zeros(3), 1)
        ),
        messages.execution_state_from_msg,
    ),
    (
        convert.safety_status_to_msg(
            SafetyStatus(
                STAMP, 1, 'obstacle', 'slow', False, active_constraints=('a', 'b'),
                nearest_pairs=('x/y',), nearest_distances=np.array([0.5]),
                nominal_velocity=np.arange(3.0),
            )
        ),
        messages.safety_status_from_msg,
    ),
    (
        convert.policy_status_to_msg(
            PolicyStatus(
                STAMP, PolicyPhase.RUNNING, 'fine', 'reach', 3, transport=(0.25, 0.5, 0.75),
                sources={'eye': SourceStatus(math.inf, 3, 2)},
            )
        ),
        messages.policy_status_from_msg,
    ),
    (
        convert.task_status_to_msg(
            TaskStatus(STAMP, 's', 't', 'reach', 7, 3, 9, True, False, 'cube', 'near', 0.1)
        ),
        messages.task_status_from_msg,
    ),
    (
        convert.provenance_to_msg(
            Provenance('reach', 2, 2**63 + 1, {'eye': STAMP}, {'eye': 0.02}, 3), STAMP, 0.1, 16
        ),
        messages.provenance_from_msg,
    ),
]  # fmt: skip


@pytest.mark.parametrize(('msg', 'read'), VALUES, ids=lambda v: type(v).__name__)
def test_a_recorded_message_gives_the_value_of_a_live_one(msg, read):
    same(read(recorded(msg)), read(msg))


@pytest.mark.parametrize('shape', FORMS)
def test_recorded_obstacles(shape):
    sizes = {'box': 3, 'sphere': 1, 'cylinder': 2, 'capsule': 2, 'plane': 0}
    solid = Obstacle('o', shape, np.full(sizes[shape], 0.1), np.arange(3.0), role='person')
    msg = convert.obstacles_to_msg([solid], STAMP, 'base')
    frame, (got,) = messages.obstacles_from_msg(recorded(msg))
    assert frame == 'base'
    same(got, messages.obstacles_from_msg(msg)[1][0])


def test_the_numbers_of_forms_and_roles_are_those_of_the_interface():
    form, primitive = interfaces.Obstacle, __import__('shape_msgs.msg').msg.SolidPrimitive
    assert FORMS == {
        'box': (form.FORM_PRIMITIVE, primitive.BOX),
        'sphere': (form.FORM_PRIMITIVE, primitive.SPHERE),
        'cylinder': (form.FORM_PRIMITIVE, primitive.CYLINDER),
        'capsule': (form.FORM_CAPSULE, primitive.CYLINDER),
        'plane': (form.FORM_PLANE, 0),
    }
    assert {name: getattr(form, f'ROLE_{name.upper()}') for name in ROLES} == ROLES


def raw(pixels, encoding, big=False, padding=0):
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    msg = Image(height=len(pixels), width=pixels.shape[1], encoding=encoding, is_bigendian=big)
    msg.step = rows.shape[1]
    msg.data = rows.tobytes()
    return msg


@pytest.mark.parametrize(
    ('encoding', 'order'),
    [('rgb8', 'rgb'), ('bgr8', 'bgr'), ('rgba8', 'rgba'), ('bgra8', 'bgra'), ('mono8', 'm')],
)
@pytest.mark.parametrize('padding', [0, 3])
def test_colours_of_every_order(encoding, order, padding):
    colours = dict(zip('rgba', np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)))
    colours['m'] = colours['r']
    msg = raw(np.stack([colours[c] for c in order], axis=-1), encoding, padding=padding)
    expected = np.stack([colours[c] for c in ('mmm' if order == 'm' else 'rgb')], axis=-1)
    for one in (msg, recorded(msg)):
        np.testing.assert_array_equal(frame_from_msg(one).image, expected)


METRES = np.array([[0.25, 1.5, np.nan], [3.0, np.nan, 0.001]], np.float32)


@pytest.mark.parametrize('big', [False, True])
def test_depth_in_millimetres_and_in_metres(big):
    order = '>' if big else '<'
    millimetres = np.nan_to_num(METRES * 1000).round().astype(f'{order}u2')
    metres = METRES.astype(f'{order}f4')
    for msg in (raw(millimetres, '16UC1', big, 2), raw(metres, '32FC1', big)):
        for one in (msg, recorded(msg)):
            np.testing.assert_allclose(depth_from_msg(one).distance, METRES, rtol=1e-6)
            with pytest.raises(UnknownNameError, match='image encoding'):
                frame_from_msg(one)


def test_compressed_depth():
    millimetres = np.nan_to_num(METRES * 1000).round().astype(np.uint16)
    png = cv2.imencode('.png', millimetres)[1].tobytes()
    for words, head in (
        ('16UC1; compressedDepth png', bytes(12)),
        ('16UC1; png compressed ', b''),
    ):
        msg = CompressedImage(format=words, data=head + png)
        for one in (msg, recorded(msg)):
            np.testing.assert_allclose(depth_from_msg(one).distance, METRES, rtol=1e-6)
    a, b = 5000.0, 10.0  # the plug-in stores a / distance + b
    with np.errstate(invalid='ignore'):
        inverse = np.nan_to_num(a / METRES + b).round().clip(0, 65535).astype(np.uint16)
    png = cv2.imencode('.png', inverse)[1].tobytes()
    msg = CompressedImage(
        format='32FC1; compressedDepth png', data=struct.pack('<iff', 0, a, b) + png
    )
    near = np.isfinite(METRES) & (METRES > 0.1)
    got = depth_from_msg(msg).distance
    np.testing.assert_allclose(got[near], METRES[near], rtol=1e-3)
    assert np.isnan(got[np.isnan(METRES)]).all()


def test_depth_that_cannot_be_read_says_why():
    with pytest.raises(PictureError, match='expected 16UC1'):
        depth_from_msg(CompressedImage(format='rgb8; jpeg compressed bgr8', data=b'\xff\xd8\xff'))
    with pytest.raises(UnknownNameError, match='depth encoding'):
        depth_from_msg(raw(PICTURE, 'rgb8'))
    msg = raw(METRES, '32FC1')
    msg.height = 3
    with pytest.raises(ShapeError, match='rows'):
        depth_from_msg(msg)


@pytest.mark.parametrize('order', ['<', '>'])
def test_the_stamp_is_read_from_the_bytes_alone(order):
    for msg in (convert.frame_to_msg(Frame(STAMP, PICTURE), 'eye'), VALUES[0][0]):
        data = serialize_message(msg)
        if order == '>':  # as a machine of the other byte order would send it
            sec, nanosec = struct.unpack_from('<iI', data, 4)
            data = b'\0\0' + data[2:4] + struct.pack('>iI', sec, nanosec) + data[12:]
        assert messages.stamp_from_bytes(data) == messages.stamp_from_msg(msg) == STAMP


def test_an_incomplete_joint_state_is_read_joint_by_joint():
    msg = convert.joint_state_to_msg(JointState(STAMP, np.arange(3.0), -np.arange(3.0)), NAMES)
    places, speeds = messages.named_joints_from_msg(msg)
    assert places == dict(zip(NAMES, (0.0, 1.0, 2.0)))
    assert speeds == dict(zip(NAMES, (0.0, -1.0, -2.0)))
    msg.position.pop()
    msg.velocity = []
    places, speeds = messages.named_joints_from_msg(msg)
    assert list(places) == list(NAMES) and math.isnan(places[NAMES[2]]) and speeds == {}
