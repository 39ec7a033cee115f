"""A thread that ticks at absolute deadlines, and counts the ones it misses."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time

from vla_ros.ros.priority import take_priority


class Pace:
    """Calls `tick(dt)` in a thread of its own at a fixed rate.

    A tick that begins later than one period after its deadline is missed; deadlines that have
    passed are skipped, never caught up in a burst.
    """

    def __init__(
        self,
        rate: float,
        tick: Callable[[float], None],
        *,
        begin: Callable[[], None] = lambda: None,
        end: Callable[[], None] = lambda: None,
        failed: Callable[[BaseException], None],
        name: str,
        priority: int = 0,
    ) -> None:
        """Prepare the thread.

        Args:
            rate: Ticks a second [Hz].
            tick: Gets the time since the last tick began [s], monotonic.
            begin: Called once in the thread, before the first tick.
            end: Called once in the thread, after the last tick.
            failed: Called in the thread with what one of these raised; the thread ends.
            name: Of the thread.
            priority: The thread asks for SCHED_FIFO with it, 1 to 99, and goes on at normal
                priority where it has no right to; 0 does not ask.
        """
        self.period = 1.0 / rate  # [s]
        self.ticks = 0
        self.missed = 0  # deadlines that passed by more than a period
        self.longest_gap = 0.0  # [s] between the beginnings of two ticks
        self._priority = priority
        self._tick, self._begin, self._end, self._failed = tick, begin, end, failed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """End after the tick that runs, and wait for it at most `timeout` [s]."""
        self._stop.set()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            if self._priority:
                take_priority(self._priority)
            self._begin()
            self._loop()
            self._end()
        except BaseException as error:  # whatever it is, the owner must know that we stopped
            self._failed(error)

    def _loop(self) -> None:
        last = time.monotonic() - self.period
        due = last + self.period
        while not self._stop.is_set():
            wait = due - time.monotonic()
            if wait > 0.0:
                time.sleep(wait)
            now = time.monotonic()
            gap, last = now - last, now
            self.ticks += 1
            if self.ticks > 1:
                self.longest_gap = max(self.longest_gap, gap)
            passed = int((now - due) / self.period)
            self.missed += passed
            due += (passed + 1) * self.period
            self._tick(gap)
