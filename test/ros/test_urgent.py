"""A piece of work that goes before others: the thread's scheduling, there and back."""

from __future__ import annotations

import os
import threading

import pytest

from vla_ros.ros.priority import LOWEST, urgently


def may() -> bool:
    found = []

    def ask():
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(LOWEST))
            found.append(True)
        except PermissionError:
            found.append(False)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    return found[0]


def test_the_thread_goes_first_meanwhile_and_no_longer():
    expected = os.SCHED_FIFO if may() else os.SCHED_OTHER
    others = threading.Event()
    other = threading.Thread(target=others.wait, args=(10.0,))
    other.start()
    try:
        with urgently():
            assert os.sched_getscheduler(0) == expected
            assert os.sched_getscheduler(other.native_id) == os.SCHED_OTHER
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
        with pytest.raises(KeyError), urgently():
            raise KeyError
        assert os.sched_getscheduler(0) == os.SCHED_OTHER
    finally:
        others.set()
        other.join()


def test_without_the_right_to_it_the_work_is_done_all_the_same(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, 'sched_setscheduler', refuse)
    with urgently():
        done = True
    assert done
