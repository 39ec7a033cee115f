"""Observation assembly: which inputs are used, when they are refused, what is counted."""

from __future__ import annotations

import threading
from time import monotonic

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.interpolate import interp1d

from vla_ros.errors import PictureError, ShapeError
from vla_ros.nodes.observation import Assembled, Assembler, interpolate, Missing, PICTURES
from vla_ros.types import Frame, JointState

PIXELS = np.zeros((4, 4, 3), np.uint8)


def read(message: float) -> Frame:
    """Stand in for the conversion of a picture: the message is its stamp."""
    return Frame(message, PIXELS)


def joints(stamp: float, value: float = 0.0) -> JointState:
    return JointState(stamp, np.full(3, value), np.full(3, -value))


def make(cameras=('scene', 'wrist'), max_age: float = 0.5, *alignment) -> Assembler:
    return Assembler(cameras, read, max_age, *alignment)


def see(assembler: Assembler, camera: str, stamp: float, late: float = 0.002) -> None:
    """Let a picture arrive some time after it was taken."""
    assembler.add_picture(camera, stamp, stamp, stamp + late)


def feel(assembler: Assembler, state: JointState) -> None:
    assembler.add_joints(state, state.stamp + 0.001)


def fill(assembler: Assembler, scene: float, wrist: float, last: float) -> None:
    see(assembler, 'scene', scene)
    see(assembler, 'wrist', wrist)
    for stamp in np.arange(last - 0.3, last + 1e-9, 0.01):
        feel(assembler, joints(float(stamp), float(stamp)))


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
    feel(assembler, joints(3.0))
    assert assembler.assemble('', 3.01, 0.0).observation.stamp == 3.0


def test_each_missing_or_stale_input_is_named():
    assembler = make()
    assert "camera 'scene'" in assembler.assemble('', 1.0, 0.0).reason
    see(assembler, 'scene', 1.0)
    assert "camera 'wrist'" in assembler.assemble('', 1.0, 0.0).reason
    see(assembler, 'wrist', 1.0)
    assert 'joint_states: nothing' in assembler.assemble('', 1.0, 0.0).reason
    feel(assembler, joints(1.0))
    assert isinstance(assembler.assemble('', 1.0, 0.0), Assembled)
    see(assembler, 'scene', 2.0)
    feel(assembler, joints(2.0))
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
    see(assembler, 'scene', 5.033)
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
    feel(assembler, joints(100.0, 7.0))
    feel(assembler, joints(1.0, 3.0))
    obs = assembler.assemble('', 1.0, 0.0).observation
    assert (obs.stamp, obs.joints.position[0]) == (1.0, 3.0)


def test_a_joint_state_that_cannot_be_used_is_the_reason_until_a_good_one_comes():
    assembler = make(cameras=())
    feel(assembler, joints(1.0))
    assembler.reject_joints('joint_states lacks finger')
    assert assembler.assemble('', 1.0, 0.0).reason == 'joint_states lacks finger'
    feel(assembler, joints(1.01))
    assert isinstance(assembler.assemble('', 1.02, 0.0), Assembled)
    assert assembler.sources(1.02)['joint_states'].received == 3


def test_received_and_superseded_pictures_are_counted():
    assembler = make(cameras=('scene',))
    feel(assembler, joints(0.0))
    for k in range(5):
        see(assembler, 'scene', 0.01 * k)
    feel(assembler, joints(0.04))
    assembler.assemble('', 0.05, -1.0)
    see(assembler, 'scene', 0.06)
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
            feel(assembler, joints(0.001 * k, 0.001 * k))
            see(assembler, 'scene', 0.001 * k)

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


def stream(assembler: Assembler, scene=(), wrist=(), joints_until: float = 0.0) -> None:
    """Let pictures arrive in the order of their stamps, then joint states every 10 ms."""
    for stamp, camera in sorted([(t, 'scene') for t in scene] + [(t, 'wrist') for t in wrist]):
        see(assembler, camera, stamp)
    for stamp in np.arange(joints_until - 1.0, joints_until + 1e-9, 0.01):
        feel(assembler, joints(float(stamp), float(stamp)))


def used(result: Assembled | Missing) -> tuple[float, float]:
    assert isinstance(result, Assembled), result
    frames = result.observation.frames
    assert result.observation.stamp == min(frame.stamp for frame in frames.values())
    assert result.observation.joints.stamp == result.observation.stamp
    np.testing.assert_allclose(
        result.observation.joints.position, result.observation.stamp, atol=1e-9
    )
    assert {n: result.stamps[n] for n in frames} == {n: f.stamp for n, f in frames.items()}
    return frames['scene'].stamp, frames['wrist'].stamp


FAST = tuple(8.0 + 0.02 * k for k in range(11))  # 50 Hz up to 8.20 s
SLOW = (8.0, 8.1)  # 10 Hz; the picture of 8.2 s is still on its way


@pytest.mark.parametrize(
    ('alignment', 'expected'), [('hold', (8.2, 8.1)), ('nearest', (8.1, 8.1))]
)
def test_which_pictures_of_a_fast_and_a_slow_camera_go_together(alignment, expected):
    assembler = make(('scene', 'wrist'), 0.5, alignment, 0.05)
    stream(assembler, FAST, SLOW, joints_until=8.21)
    assert used(assembler.assemble('', 8.21, 0.0)) == pytest.approx(expected)


def test_nearest_goes_on_with_the_slow_camera_and_never_back():
    assembler = make(('scene', 'wrist'), 0.5, 'nearest', 0.05)
    stream(assembler, FAST, SLOW, joints_until=8.21)
    first = assembler.assemble('', 8.21, 0.0).observation.stamp
    see(assembler, 'scene', 8.22)
    again = assembler.assemble('', 8.221, first)
    assert isinstance(again, Missing) and again.expected
    see(assembler, 'wrist', 8.2)
    feel(assembler, joints(8.23, 8.23))
    assert used(assembler.assemble('', 8.23, first)) == pytest.approx((8.2, 8.2))


def test_nearest_may_be_before_or_after_and_sets_the_stamp_where_it_is_before():
    for scene, chosen in (((8.06, 8.13), 8.13), ((8.08, 8.16), 8.08)):
        assembler = make(('scene', 'wrist'), 0.5, 'nearest', 0.05)
        stream(assembler, scene, (8.11,), joints_until=8.21)
        assert used(assembler.assemble('', 8.21, 0.0)) == (chosen, 8.11)


def test_the_history_of_nearest_is_bounded_and_what_was_never_used_is_counted():
    assembler = make(('scene', 'wrist'), 5.0, 'nearest', 0.05)
    stream(assembler, [9.0 + 0.01 * k for k in range(100)], (9.0,), joints_until=9.99)
    assert len(assembler._recent['scene'].pictures) == PICTURES
    scene, _ = used(assembler.assemble('', 9.99, 0.0))
    assert scene == pytest.approx(9.99 - 0.01 * (PICTURES - 1))
    assert assembler.sources(9.99)['scene'].superseded == 100 - PICTURES


def test_drop_refuses_pictures_that_lie_apart_and_waits_for_the_next():
    assembler = make(('scene', 'wrist'), 0.5, 'drop', 0.01)
    stream(assembler, (8.0, 8.033), (8.005,), joints_until=8.05)
    refused = assembler.assemble('', 8.05, 0.0)
    assert isinstance(refused, Missing) and refused.expected
    for part in ("'wrist' and 'scene'", '0.028 s apart', 'at most 0.010 s'):
        assert part in refused.reason
    see(assembler, 'wrist', 8.038)
    assert used(assembler.assemble('', 8.05, 0.0)) == (8.033, 8.038)


def test_drop_tells_of_pictures_that_stay_apart():
    assembler = make(('scene', 'wrist'), 0.5, 'drop', 0.01)
    for k in range(60):
        now = 8.0 + 0.02 * k
        stream(assembler, (now,), (now - 0.015,), joints_until=now)
        refused = assembler.assemble('', now, 0.0)
        assert isinstance(refused, Missing)
        assert refused.expected == (0.02 * k <= 0.5 + 1e-9), now


def test_pictures_that_are_apart_again_later_are_not_told_at_once():
    assembler = make(('scene', 'wrist'), 0.5, 'drop', 0.01)
    for scene, wrist in ((8.0, 8.03), (8.03, 8.03), (9.03, 9.0)):
        now = max(scene, wrist)
        stream(assembler, (scene,), (wrist,), joints_until=now)
        result = assembler.assemble('', now, 0.0)
        assert isinstance(result, Assembled) == (scene == wrist)
        assert isinstance(result, Assembled) or result.expected


@pytest.mark.parametrize(('gap', 'fits'), [(0.0, True), (0.01, True), (0.0101, False)])
def test_the_tolerance_of_drop_is_the_largest_gap(gap, fits):
    assembler = make(('scene', 'wrist'), 0.5, 'drop', 0.01)
    stream(assembler, (8.0,), (8.0 + gap,), joints_until=8.02)
    assert isinstance(assembler.assemble('', 8.02, 0.0), Assembled) == fits


def test_the_arrival_is_that_of_the_picture_that_sets_the_stamp():
    assembler = make()
    stream(assembler, joints_until=8.05)
    see(assembler, 'scene', 8.04, late=0.009)
    see(assembler, 'wrist', 8.03, late=0.004)
    assert assembler.assemble('', 8.05, 0.0).arrived == pytest.approx(8.034)
    see(assembler, 'wrist', 8.04, late=0.002)  # both set it: the last to come counts
    assert assembler.assemble('', 8.05, 8.03).arrived == pytest.approx(8.049)
    blind = make(cameras=())
    feel(blind, joints(8.0))
    assert blind.assemble('', 8.05, 0.0).arrived == pytest.approx(8.001)


def test_a_picture_that_cannot_be_read_is_named_and_not_tried_again():
    def picky(message: float) -> Frame:
        if message == 8.03:
            raise ShapeError('it has 7 bytes')
        return read(message)

    assembler = Assembler(('scene', 'wrist'), picky, 0.5)
    stream(assembler, (8.03,), (8.03,), joints_until=8.04)
    with pytest.raises(PictureError, match="camera 'scene'.*it has 7 bytes"):
        assembler.assemble('', 8.04, 0.0)
    waiting = assembler.assemble('', 8.04, 0.0)
    assert isinstance(waiting, Missing) and waiting.expected
    assert "camera 'scene'" in waiting.reason
    stream(assembler, (8.06,), (8.06,), joints_until=8.07)
    assert used(assembler.assemble('', 8.07, 0.0)) == (8.06, 8.06)


def test_nearest_goes_on_without_a_picture_that_cannot_be_read():
    def picky(message: float) -> Frame:
        if message == 8.10:
            raise ShapeError('it has 7 bytes')
        return read(message)

    assembler = Assembler(('scene', 'wrist'), picky, 0.5, 'nearest')
    stream(assembler, (8.06, 8.08, 8.10, 8.13), (8.10000001,), joints_until=8.14)
    with pytest.raises(PictureError):
        assembler.assemble('', 8.14, 0.0)
    assert used(assembler.assemble('', 8.14, 0.0)) == (8.13, 8.10000001)


def test_a_clock_behind_the_stamps_gives_no_negative_age():
    assembler = make(cameras=('scene',))
    feel(assembler, joints(8.0))
    see(assembler, 'scene', 8.0)
    result = assembler.assemble('', 7.99, 0.0)
    assert set(result.ages.values()) == {0.0}
    assert {source.age for source in assembler.sources(7.99).values()} == {0.0}


def test_a_source_far_ahead_of_the_clock_is_named():
    assembler = make(cameras=('scene',))
    feel(assembler, joints(8.0))
    see(assembler, 'scene', 9.0)
    refused = assembler.assemble('', 8.0, 0.0)
    assert "camera 'scene': the newest message is 1.00 s ahead" in refused.reason
    assert not refused.expected


def test_pictures_that_go_back_in_time_begin_a_new_history():
    assembler = make(('scene',), 0.5, 'nearest')
    for stamp in (100.0, 100.03, 1.0):
        see(assembler, 'scene', stamp)
    feel(assembler, joints(1.0))
    assert assembler.assemble('', 1.0, 0.0).observation.stamp == 1.0
    assert assembler.sources(1.0)['scene'].superseded == 2
