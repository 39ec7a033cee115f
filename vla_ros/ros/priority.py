"""How much priority a process and its threads give up or take, where they have the right to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path

LOWEST = 1  # of SCHED_FIFO, below every control loop
_TRANSPORT = 'dds.'  # how Fast DDS names its threads


def set_niceness(nice: int) -> None:
    """Lower the priority of this process, or raise it where it has the right to.

    Where Linux groups processes by session, niceness counts within the session only; one that
    leads its own session, as the supervisor starts it, must change that group's as well.
    """
    with suppress(PermissionError):
        os.nice(nice)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path('/proc/self/autogroup').write_text(str(nice))


def may_raise() -> bool:
    """Say whether a process of this user may take more priority than others have."""
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, mine - 1)
    except PermissionError:
        return False
    os.setpriority(os.PRIO_PROCESS, 0, mine)
    return True


def take_priority(priority: int) -> bool:
    """Run the calling thread by SCHED_FIFO from now on; return whether it has the right to.

    Args:
        priority: 1 to 99.
    """
    return _schedule(0, os.SCHED_FIFO, priority)


@contextmanager
def urgently() -> Iterator[None]:
    """Run the calling thread by SCHED_FIFO meanwhile, where it has the right to.

    What is to be done before the network runs and after it must not queue behind the drawing of
    pictures: on two busy cores that takes several times as long as the work itself. For
    milliseconds only, since nothing of normal priority runs beside it on its core.
    """
    raised = take_priority(LOWEST)
    try:
        yield
    finally:
        if raised:
            _schedule(0, os.SCHED_OTHER, 0)


def hasten() -> None:
    """Let this thread and those of the transport go before all of normal priority, if they may.

    To take a message is short, but on a busy machine it waits behind inference and drawing for
    longer than it takes. Threads that are born of these have normal priority again.
    """
    for thread in _takers():
        _schedule(thread, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, LOWEST)


def relax() -> None:
    """Undo `hasten`."""
    for thread in _takers():
        _schedule(thread, os.SCHED_OTHER, 0)


def _schedule(thread: int, policy: int, priority: int) -> bool:
    """Return whether that was allowed, and the thread (0: this one) still there."""
    try:
        os.sched_setscheduler(thread, policy, os.sched_param(priority))
    except (PermissionError, ProcessLookupError):
        return False
    return True


def _takers() -> list[int]:
    """Return this thread, as 0, and the transport's threads in this process."""
    found = [0]
    for task in Path('/proc/self/task').iterdir():
        with suppress(OSError):  # it may end meanwhile
            if (task / 'comm').read_text().startswith(_TRANSPORT):
                found.append(int(task.name))
    return found
