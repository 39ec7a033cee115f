"""Level S4: the driver itself is asked to stop, once, and outside the control thread."""

from __future__ import annotations

from collections.abc import Callable
import threading

from vla_ros.safety.result import Level

NONE = 'no driver.stop can be called, so the arm is held as at S3'
ASKED = 'the driver is asked to stop'


class DriverStop:
    """Asks each time that the level reaches S4; `judge` belongs to the control thread."""

    def __init__(self, call: Callable[[], str] | None) -> None:
        """Take what asks the driver.

        Args:
            call: Waits for the driver's answer and returns it as a sentence, in a thread of its
                own; None: nobody can be asked.
        """
        self._call = call
        self._asked = False
        self._outcome = ''

    def judge(self, level: Level) -> str:
        """Return what became of the request, empty below S4."""
        if level is not Level.S4_DRIVER_STOP:
            self._asked, self._outcome = False, ''
        elif self._call is None:
            self._outcome = NONE
        elif not self._asked:
            self._asked, self._outcome = True, ASKED
            threading.Thread(target=self._ask, name='driver_stop', daemon=True).start()
        return self._outcome

    def _ask(self) -> None:
        assert self._call is not None, 'judge has looked'
        answer = self._call()
        if self._asked:  # S4 has not been left meanwhile
            self._outcome = answer
