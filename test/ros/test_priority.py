"""Who may take priority: the policy gives some up only where the control loop can take none."""

from __future__ import annotations

import os
from pathlib import Path
import resource
import threading

import pytest

pytest.importorskip('rclpy')

from vla_ros.ros.priority import hasten, may_raise, relax

NOBODY = 65534


def test_asking_changes_nothing():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    may_raise()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become somebody else')
def test_a_user_without_the_right_may_not():
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
            os.setuid(NOBODY)
            answer = int(may_raise())
        finally:
            os._exit(answer)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_messages_go_first_and_what_they_start_does_not():
    """In a process of its own: a test's thread that stayed there would starve the others."""
    child = os.fork()
    if child == 0:
        answer = 3
        try:
            answer = int(_first_and_back())
        finally:
            os._exit(answer)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def _first_and_back() -> int:
    """Return 0 if all is as it should be, else which step was not."""
    go, seen = threading.Event(), []
    transport = threading.Thread(target=go.wait, args=(5.0,), daemon=True)
    transport.start()
    Path(f'/proc/self/task/{transport.native_id}/comm').write_text('dds.shm.1')
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        first = os.SCHED_FIFO
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except PermissionError:
        first = os.SCHED_OTHER
    hasten()
    mine = [os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK
            for thread in (0, transport.native_id)]  # fmt: skip
    born = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
    born.start()
    born.join()
    relax()
    after = [os.sched_getscheduler(thread) for thread in (0, transport.native_id)]
    go.set()
    if mine != [first, first]:
        return 1
    return 0 if seen == [os.SCHED_OTHER] and after == [os.SCHED_OTHER] * 2 else 2
