"""The pace of a loop: deadlines, misses, and what happens when a tick fails."""

from __future__ import annotations

import threading
import time

import pytest

from vla_ros.nodes.pace import Pace

LIMIT = 5.0  # bound of every wait [s]


class Recorder:
    """Counts ticks, and waits in some of them."""

    def __init__(self, waits: dict[int, float] | None = None, count: int = 10) -> None:
        self.waits, self.count = waits or {}, count
        self.gaps: list[float] = []
        self.threads: set[int] = set()
        self.errors: list[BaseException] = []
        self.done = threading.Event()

    def tick(self, dt: float) -> None:
        self.gaps.append(dt)
        self.threads.add(threading.get_ident())
        time.sleep(self.waits.get(len(self.gaps), 0.0))
        if len(self.gaps) >= self.count:
            self.done.set()

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self.done.set()


def run(recorder: Recorder, rate: float = 100.0, **kwargs) -> Pace:
    pace = Pace(rate, recorder.tick, failed=recorder.fail, name='test', **kwargs)
    pace.start()
    assert recorder.done.wait(LIMIT)
    pace.stop()
    return pace


def test_ticks_come_at_the_rate_in_one_thread_of_their_own():
    recorder = Recorder(count=40)
    began = time.monotonic()
    pace = run(recorder)
    assert time.monotonic() - began > 0.38
    assert len(recorder.threads) == 1
    assert threading.get_ident() not in recorder.threads
    # Deadlines are absolute: what one gap loses the next one gains.
    periods = len(recorder.gaps) - 1 + pace.missed
    assert sum(recorder.gaps[1:]) == pytest.approx(0.01 * periods, abs=0.011)


def test_a_late_tick_is_missed_and_never_caught_up_in_a_burst():
    recorder = Recorder(waits={5: 0.055}, count=12)
    pace = run(recorder)
    assert pace.missed >= 4
    assert pace.longest_gap >= 0.055
    assert recorder.gaps[5] >= 0.055
    # No more ticks than there were deadlines: what was missed is gone.
    periods = len(recorder.gaps) - 1 + pace.missed
    assert sum(recorder.gaps[1:]) > 0.01 * (periods - 1.1)


def test_begin_and_end_belong_to_the_thread():
    recorder, order = Recorder(count=2), []

    def note(word: str) -> None:
        order.append((word, threading.get_ident()))

    run(recorder, begin=lambda: note('begin'), end=lambda: note('end'))
    assert [word for word, _ in order] == ['begin', 'end']
    assert {thread for _, thread in order} == recorder.threads


def test_the_owner_learns_of_an_error():
    recorder = Recorder()
    pace = Pace(100.0, lambda dt: 1 / 0, failed=recorder.fail, name='test')
    pace.start()
    assert recorder.done.wait(LIMIT)
    assert isinstance(recorder.errors[0], ZeroDivisionError)


def test_stop_from_within_a_tick_does_not_wait_for_itself():
    recorder = Recorder()

    def tick(dt: float) -> None:
        pace.stop(timeout=2.0 * LIMIT)
        recorder.done.set()

    pace = Pace(100.0, tick, failed=recorder.fail, name='test')
    pace.start()
    assert recorder.done.wait(LIMIT)
    assert not recorder.errors
