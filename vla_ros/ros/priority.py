"""How much priority a process and its threads give up or take, where they have the right to."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path

TAKING = 1  # of SCHED_FIFO: the lowest, below every control loop
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


def hasten() -> None:
    """Let this thread and those of the transport go before all of normal priority, if they may.

    To take a message is short, but on a busy machine it waits behind inference and drawing for
    longer than it takes. Threads that are born of these have normal priority again.
    """
    _schedule(os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, TAKING)


def relax() -> None:
    """Undo `hasten`."""
    _schedule(os.SCHED_OTHER, 0)


def _schedule(policy: int, priority: int) -> None:
    for thread in (0, *_transport()):
        with suppress(PermissionError, ProcessLookupError):
            os.sched_setscheduler(thread, policy, os.sched_param(priority))


def _transport() -> list[int]:
    """Return the numbers of the transport's threads in this process."""
    found = []
    for task in Path('/proc/self/task').iterdir():
        with suppress(OSError):  # it may end meanwhile
            if (task / 'comm').read_text().startswith(_TRANSPORT):
                found.append(int(task.name))
    return found
