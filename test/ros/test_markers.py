"""Marks as messages: RViz and Foxglove get what was drawn, and what is gone goes."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import deserialize_message, serialize_message
from visualization_msgs.msg import Marker, MarkerArray

from vla_ros.mark import Form, Mark
from vla_ros.ros import convert

STAMP = 1_790_000_000.25  # [s]
TWIST = np.array([0.0, 0.6, 0.0, 0.8])


def wire(msg: MarkerArray) -> MarkerArray:
    """Return a message as a viewer would get it."""
    return deserialize_message(serialize_message(msg), MarkerArray)


@pytest.mark.parametrize('form', Form)
def test_a_mark_survives_the_way_to_a_viewer(form):
    rng = np.random.default_rng(int(form))
    mark = Mark(
        'space', 7, form, (0.25, 0.5, 0.75, 0.125), rng.uniform(size=3), rng.normal(size=3),
        TWIST, rng.normal(size=(6, 3)), 'hand 3 mm',
    )  # fmt: skip
    (got,), gone = convert.marks_from_msg(wire(convert.marks_to_msg([mark], [], 1.0, 'f', 1.0)))
    assert not gone
    for name in ('space', 'number', 'form', 'colour', 'text'):
        assert getattr(got, name) == getattr(mark, name)
    for name in ('size', 'position', 'orientation', 'points'):
        np.testing.assert_array_equal(getattr(got, name), getattr(mark, name))


def test_forms_are_the_numbers_of_the_message():
    names = {
        'ARROW': 'ARROW', 'BOX': 'CUBE', 'CYLINDER': 'CYLINDER', 'LINES': 'LINE_LIST',
        'SPHERES': 'SPHERE_LIST', 'TEXT': 'TEXT_VIEW_FACING', 'TRIANGLES': 'TRIANGLE_LIST',
    }  # fmt: skip
    assert {form.name: int(form) for form in Form} == {
        ours: getattr(Marker, theirs) for ours, theirs in names.items()
    }


def test_gone_marks_are_deleted_by_their_key():
    mark = Mark('kept', 1, Form.BOX, (1.0, 1.0, 1.0, 1.0), np.ones(3))
    msg = wire(convert.marks_to_msg([mark], [('gone', 3), ('kept', 2)], STAMP, 'base', 0.5))
    marks, gone = convert.marks_from_msg(msg)
    assert [m.key for m in marks] == [('kept', 1)]
    assert gone == (('gone', 3), ('kept', 2))


def test_every_marker_has_frame_stamp_and_a_bounded_life():
    """A viewer forgets what a dead process drew."""
    mark = Mark('kept', 1, Form.BOX, (1.0, 1.0, 1.0, 1.0), np.ones(3))
    msg = wire(convert.marks_to_msg([mark], [('gone', 3)], STAMP, 'base', 0.5))
    for marker in msg.markers:
        assert marker.header.frame_id == 'base'
        assert convert.time_from_msg(marker.header.stamp) == STAMP
    assert convert.time_from_msg(msg.markers[-1].lifetime) == 0.5
