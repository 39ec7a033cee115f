"""Counting lost pictures: what is on its way when the count begins or ends is not lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.nodes.tap import costs, LATE, lost, Seen
from vla_ros.types import Provenance

START = 1_790_000_000.0  # [s]


def report(at: float, captured, arrived) -> Seen:
    """Say what a policy says at a time that got each picture when it arrived."""
    seen = [stamp for stamp, came in zip(captured, arrived) if came <= at]
    return Seen(at, at - seen[-1] if seen else np.inf, len(seen))


@given(
    st.lists(st.floats(0.0, 0.15), min_size=90, max_size=90),
    st.floats(0.2, 1.0),
    st.floats(1.8, 2.8),
    st.sets(st.integers(0, 89), max_size=5),
)
def test_the_count_is_exact_however_late_pictures_come(delays, begin, end, gone):
    captured = START + np.arange(90) / 30
    came = np.maximum.accumulate(captured + np.array(delays))  # in order
    came[list(gone)] = np.inf
    kept = [(stamp, at) for stamp, at in zip(captured, came) if np.isfinite(at)]
    first, last = (report(START + at, *zip(*kept)) for at in (begin, end))
    expected = sum(first.newest + 1e-6 < captured[k] < last.newest for k in gone)
    assert lost(captured, first, last) == expected


def test_two_pictures_on_their_way_at_the_end_are_not_lost():
    """By the reports' own times one of them was: 32 published, 30 received, one to spare."""
    captured = START + np.arange(40) / 30
    came = captured + np.where(np.arange(40) < 36, 0.001, 0.08)
    first, last = (report(captured[k] + 0.005, captured, came) for k in (5, 37))
    by_time = np.sum((captured > first.stamp) & (captured <= last.stamp))
    assert by_time - (last.received - first.received) - 1 == 1
    assert lost(captured, first, last) == 0


def test_a_lost_picture_is_not_made_up_for_by_one_on_its_way_at_the_beginning():
    captured = START + np.arange(40) / 30
    came = captured + 0.01
    came[20] = np.inf
    kept = np.isfinite(came)
    first, last = (report(captured[k], captured[kept], came[kept]) for k in (5, 37))
    assert lost(captured, first, last) == 1


@pytest.mark.parametrize('before', [True, False])
def test_a_stream_that_dies_or_never_lived_is_lost(before):
    captured = START + np.arange(150) / 30
    came = np.where((np.arange(150) < 30) & before, captured + 0.001, np.inf)
    kept = np.isfinite(came)
    first, last = (report(START + at, captured[kept], came[kept]) for at in (0.5, 4.9))
    ended = 29 / 30 if before else 0.5 - LATE
    expected = np.sum((captured > START + ended + 1e-6) & (captured <= last.stamp - LATE))
    assert lost(captured, first, last) == expected > 80


@given(st.lists(st.floats(0.0, 0.2), min_size=7, max_size=7))
def test_what_a_chunk_costs_is_what_is_left_beside_drawing_waiting_and_inference(times):
    capture, transport, wait, preprocess, inference, decode, publish = times
    drawn = START + capture
    timings = {
        'transport': capture + transport, 'frame_wait': wait, 'preprocess': preprocess,
        'inference': inference, 'decode': decode,
    }  # fmt: skip
    chunk = Provenance('reach', 1, 0, {}, {}, 0, timings)
    published = drawn + sum(times[1:])
    cost = costs(START, drawn, published, chunk)
    expected = transport + preprocess + decode + publish
    assert cost['overhead'] == pytest.approx(expected, abs=1e-5)  # stamps are floats since 1970
    assert cost['transport'] == pytest.approx(transport, abs=1e-5)
    assert cost['frame_to_trajectory'] == pytest.approx(sum(times[1:]), abs=1e-5)
