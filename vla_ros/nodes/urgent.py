"""Work of a thread that goes before everything of normal priority."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os

PRIORITY = 1  # of SCHED_FIFO: the lowest, below every control loop


def take_priority(priority: int) -> bool:
    """Run the calling thread by SCHED_FIFO from now on; return whether it has the right to.

    Args:
        priority: 1 to 99.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return False
    return True


@contextmanager
def urgently() -> Iterator[None]:
    """Run the calling thread by SCHED_FIFO meanwhile, where it has the right to.

    What is to be done before the network runs and after it must not queue behind the drawing of
    pictures: on two busy cores that takes several times as long as the work itself. For
    milliseconds only, since nothing of normal priority runs beside it on its core.
    """
    raised = take_priority(PRIORITY)
    try:
        yield
    finally:
        if raised:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
