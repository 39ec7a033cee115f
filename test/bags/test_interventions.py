"""Segments against a plain reading of the same statuses, tick by tick."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from made import cdr, header, make, START, TYPES, write
import numpy as np
import pytest
from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg

from vla_ros.bags.definitions import installed
from vla_ros.bags.interventions import cause, interventions, PAUSE, segments
from vla_ros.bags.reader import open_bag
from vla_ros.status import SafetyStatus

PERIOD = 0.05  # [s]
KIND = 'vla_ros_msgs/msg/SafetyStatus'


def status(stamp, level=0, reason='', source='policy', nominal=(0.0,), filtered=(0.0,)):
    return SafetyStatus(
        stamp, level, reason, '', False, intervention='path' if level else '', source=source,
        nominal_velocity=np.array(nominal), filtered_velocity=np.array(filtered),
    )  # fmt: skip


ticks = st.lists(
    st.tuples(
        st.sampled_from([(0, ''), (1, 'obstacle'), (1, 'joint_limit'), (2, 'obstacle')]),
        st.sampled_from(['policy', 'override', '']),
        st.floats(-2.0, 2.0),
    ),
    max_size=60,
)


@given(ticks)
def test_every_tick_belongs_to_the_segment_of_its_cause(rows):
    told = [
        status(k * PERIOD, level, reason, source, (speed,), (speed / 2,))
        for k, ((level, reason), source, speed) in enumerate(rows)
    ]
    found = segments(told)
    for one in told:
        inside = [s for s in found if s.start <= one.stamp <= s.end]
        inside = [s for s in inside if (s.source, s.reason) == cause(one)]
        assert len(inside) == (cause(one) is not None)
        for segment in inside:
            assert segment.level >= one.level
            assert segment.nominal_peak[0] >= abs(one.nominal_velocity[0])
            assert segment.executed_peak[0] >= abs(one.filtered_velocity[0])
    for segment, after in pairwise(found):
        assert segment.end <= after.start
        same = (segment.source, segment.reason) == (after.source, after.reason)
        assert not (same and segment.end == after.start), 'one intervention in two pieces'
    peaks = [s.nominal_peak[0] for s in found]
    assert all(any(p == abs(o.nominal_velocity[0]) for o in told) for p in peaks)


def test_a_human_and_the_filter_are_told_apart():
    told = [
        status(0.0),
        status(0.1, 1, 'obstacle'),
        status(0.2, 0, '', 'override'),
        status(0.3, 1, 'obstacle', 'override'),
        status(0.4),
    ]
    found = [(s.source, s.reason, s.start, s.end, s.level) for s in segments(told)]
    assert found == [
        ('filter', 'obstacle', 0.1, 0.2, 1),
        ('override', '', 0.2, 0.3, 0),
        ('override', 'obstacle', 0.3, 0.4, 1),
    ]


def test_silence_and_a_clock_that_goes_back_end_a_segment():
    told = [status(t, 1, 'x') for t in (0.0, 0.1, 0.1 + PAUSE + 0.01, 0.05)]
    assert [(s.start, s.end) for s in segments(told)] == [
        (0.0, 0.1), (0.1 + PAUSE + 0.01,) * 2, (0.05, 0.05)]  # fmt: skip


def test_no_velocity_is_no_peak():
    (segment,) = segments([status(0.0, 3, 'estop', nominal=(), filtered=())])
    assert segment.nominal_peak.shape == (0,)
    told = [status(0.0, 1, 'x', nominal=()), status(0.1, 1, 'x', nominal=(0.5, -2.0))]
    np.testing.assert_array_equal(segments(told)[0].nominal_peak, [0.5, 2.0])


@pytest.mark.parametrize('space', ['', '/left'])
def test_from_a_bag(tmp_path, space):
    types = get_types_from_msg(installed(KIND), KIND)
    TYPES.register({k: v for k, v in types.items() if k not in TYPES.fielddefs})
    rows = [(0, ''), (1, 'obstacle'), (1, 'obstacle'), (2, 'estop'), (0, '')]
    messages = [(f'{space}/joint_states', START, make(
        'sensor_msgs/msg/JointState', header=header(START), name=[], position=np.zeros(0),
        velocity=np.zeros(0), effort=np.zeros(0)))]  # fmt: skip
    plain = {'string': '', 'bool': False, 'float64': 0.0, 'uint64': 0}
    for k, (level, reason) in enumerate(rows):
        time = START + k * 50_000_000
        fields = {}
        for name, (node, what) in TYPES.fielddefs[KIND][1]:
            if 'string' in str(what) and node is not Nodetype.BASE:
                fields[name] = []
            elif node is not Nodetype.BASE:
                fields[name] = np.zeros(0)
            else:
                fields[name] = plain.get(what[0] if isinstance(what, tuple) else what, 0)
        fields |= {'header': header(time), 'level': level, 'reason': reason,
                   'nominal_velocity': np.array([0.5 * k, -1.0])}  # fmt: skip
        messages.append((f'{space}/vla/safety_status', time, make(KIND, **fields)))
    assert cdr(messages[-1][2])
    with open_bag(write(tmp_path / 'bag', messages)) as bag:
        found = interventions(bag)
    assert [(s.source, s.reason, s.level) for s in found] == [
        ('filter', 'obstacle', 1), ('filter', 'estop', 2)]  # fmt: skip
    np.testing.assert_allclose([s.end - s.start for s in found], [0.1, 0.05], atol=1e-6)
    np.testing.assert_array_equal(found[0].nominal_peak, [1.0, 1.0])


def test_a_bag_of_others_has_none(tmp_path):
    with open_bag(write(tmp_path / 'bag')) as bag:
        assert interventions(bag) == ()
