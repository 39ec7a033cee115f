"""Observation assembly: which inputs are used, when they are refused, what is counted."""

from __future__ import annotations

import threading
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.interpolate import interp1d

from vla_ros.nodes.observation import Assembled, Assembler, interpolate, Missing
from vla_ros.types import Frame, JointState

PIXELS = np.zeros((4, 4, 3), np.uint8)


def read(message: float) -> Frame:
    """Stand in for the conversion of a picture: the message is its stamp."""
    return Frame(message, PIXELS)


def joints(stamp: float, value: float = 0.0) -> JointState:
    return JointState(stamp, np.full(3, value), np.full(3, -value))


def make(cameras=('scene', 'wrist'), max_age: float = 0.5) -> Assembler:
    return Assembler(cameras, read, max_age)


def fill(assembler: Assembler, scene: float, wrist: float, last: float) -> None:
    assembler.add_picture('scene', scene, scene)
    assembler.add_picture('wrist', wrist, wrist)
    for stamp in np.arange(last - 0.3, last + 1e-9, 0.01):
        assembler.add_joints(joints(float(stamp), float(stamp)))


def test_the_stamp_is_the_oldest_picture_and_the_joints_are_interpolated_to_it():
    assembler = make()
    fill(assembler, scene=10.03, wrist=10.014, last=10.05)
    result = assembler.assemble('reach', now=10.06, after=0.0)
    assert isinstance(result, Assembled)
    obs = result.observation
    assert obs.stamp == 10.014
    assert (obs.frames['scene'].stamp, obs.frames['wrist'].stamp) == (10.03, 10.014)
    assert obs.joints.stamp == 10.014
    np.testing.assert_allclose(obs.joints.position, 10.014, atol=1e-9)
    np.testing.assert_allclose(obs.joints.velocity, -10.014, atol=1e-9)
    assert obs.instruction == 'reach'
    assert result.ages['wrist'] == pytest.approx(0.046)
    assert result.stamps['joint_states'] == pytest.approx(10.05)


@given(st.lists(st.floats(0.0, 5.0), min_size=2, max_size=30, unique=True), st.floats(-1.0, 6.0))
def test_interpolation_agrees_with_scipy(stamps, at):
    stamps = sorted(stamps)
    if np.diff(stamps).min() < 1e-6:
        return
    values = np.sin(stamps)
    history = [joints(s, v) for s, v in zip(stamps, values)]
    got = interpolate(history, at)
    if at < stamps[0]:
        assert got is None
        return
    oracle = interp1d(stamps, values, bounds_error=False, fill_value=(0.0, values[-1]))
    np.testing.assert_allclose(got.position, oracle(at), atol=1e-9)


def test_without_a_camera_the_joints_give_the_stamp():
    assembler = make(cameras=())
    assembler.add_joints(joints(3.0))
    assert assembler.assemble('', 3.01, 0.0).observation.stamp == 3.0


def test_each_missing_or_stale_input_is_named():
    assembler = make()
    assert "camera 'scene'" in assembler.assemble('', 1.0, 0.0).reason
    assembler.add_picture('scene', 1.0, 1.0)
    assert "camera 'wrist'" in assembler.assemble('', 1.0, 0.0).reason
    assembler.add_picture('wrist', 1.0, 1.0)
    assert 'joint_states: nothing' in assembler.assemble('', 1.0, 0.0).reason
    assembler.add_joints(joints(1.0))
    assert isinstance(assembler.assemble('', 1.0, 0.0), Assembled)
    assembler.add_picture('scene', 2.0, 2.0)
    assembler.add_joints(joints(2.0))
    stale = assembler.assemble('', 2.0, 0.0)
    assert "camera 'wrist': the newest message is 1.00 s old" in stale.reason
    assert not stale.expected


def test_pictures_are_used_for_one_stamp_only():
    assembler = make()
    fill(assembler, 5.0, 5.01, 5.02)
    first = assembler.assemble('', 5.03, after=0.0)
    again = assembler.assemble('', 5.03, after=first.observation.stamp)
    assert isinstance(again, Missing)
    assert again.expected
    assembler.add_picture('scene', 5.033, 5.033)
    assert assembler.assemble('', 5.04, first.observation.stamp).observation.stamp == 5.01


def test_joints_that_do_not_reach_the_pictures_are_refused():
    assembler = make()
    fill(assembler, 6.3, 6.3, last=6.2)
    assert 'joint_states' in assembler.assemble('', 6.3, 0.0).reason
    early = make()
    fill(early, 5.0, 5.0, last=5.4)
    assert 'joint_states' in early.assemble('', 5.41, 0.0).reason


def test_joints_that_go_back_in_time_begin_a_new_history():
    assembler = make(cameras=())
    assembler.add_joints(joints(100.0, 7.0))
    assembler.add_joints(joints(1.0, 3.0))
    obs = assembler.assemble('', 1.0, 0.0).observation
    assert (obs.stamp, obs.joints.position[0]) == (1.0, 3.0)


def test_a_joint_state_that_cannot_be_used_is_the_reason_until_a_good_one_comes():
    assembler = make(cameras=())
    assembler.add_joints(joints(1.0))
    assembler.reject_joints('joint_states lacks finger')
    assert assembler.assemble('', 1.0, 0.0).reason == 'joint_states lacks finger'
    assembler.add_joints(joints(1.01))
    assert isinstance(assembler.assemble('', 1.02, 0.0), Assembled)
    assert assembler.sources(1.02)['joint_states'].received == 3


def test_received_and_superseded_pictures_are_counted():
    assembler = make(cameras=('scene',))
    assembler.add_joints(joints(0.0))
    for k in range(5):
        assembler.add_picture('scene', 0.01 * k, 0.01 * k)
    assembler.add_joints(joints(0.04))
    assembler.assemble('', 0.05, -1.0)
    assembler.add_picture('scene', 0.06, 0.06)
    status = assembler.sources(0.1)['scene']
    assert (status.received, status.superseded) == (6, 4)
    assert status.age == pytest.approx(0.04)


def test_assembly_beside_a_busy_writer_never_mixes_times():
    assembler = make(cameras=('scene',), max_age=10.0)
    stop = threading.Event()

    def write() -> None:
        k = 0
        while not stop.is_set():
            k += 1
            assembler.add_joints(joints(0.001 * k, 0.001 * k))
            assembler.add_picture('scene', 0.001 * k, 0.001 * k)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen, last = 0, 0.0
        deadline = monotonic() + 10.0
        while seen < 20 and monotonic() < deadline:
            got = assembler.assemble('', last, last)
            if isinstance(got, Assembled):
                obs = got.observation
                assert obs.stamp > last
                assert obs.frames['scene'].stamp == obs.stamp
                np.testing.assert_allclose(obs.joints.position, obs.stamp, atol=1e-9)
                seen, last = seen + 1, obs.stamp
        assert seen == 20
    finally:
        stop.set()
        thread.join(5.0)
