"""The forwarder as the safety filter sees it: is it there, does it stream, what does it hold?"""

from __future__ import annotations

from vla_ros.robot import Driver
from vla_ros.status import Hold
from vla_ros.types import Array

SILENCE = 0.5  # [s] after which a forwarder that spoke before is lost
SOON = 0.1  # [s] likewise, beyond `late`, where the arm runs on without it
RESUME = 1.0  # [s] that a reset gives it to take up the stream


def silence_of(driver: Driver) -> float:
    """Return the silence [s] after which the forwarder of a driver is lost."""
    return SOON + driver.late if driver.arm.runs_on else SILENCE


class Link:
    """Judges the forwarder's reports; `hear` may be called from any thread, the rest from one."""

    def __init__(self, silence: float) -> None:
        """Wait for the first report.

        Args:
            silence: After which a forwarder that spoke before is lost [s].
        """
        self._silence = silence
        self._reason = ''  # why it stopped the arm
        self.held: Array | None = None  # (dof,) [rad] where it stopped the arm; None: it streams
        self.ready = False  # commands reach the controller
        self._streams = False  # as it was reported last
        self.broken = False  # the stream was interrupted and has not been resumed since
        self.silent = True  # no report, or none for so long
        self._heard = False  # since the last tick
        self._age = float('inf')  # [s] since the last report; inf before the first
        self._grace = 0.0  # [s] left to resume after a reset

    def hear(self, hold: Hold) -> None:
        """Take a report."""
        self.held, self._streams, self._reason = hold.place, hold.streams, hold.reason
        self._heard = True

    def resume(self) -> None:
        """Give a forwarder that stopped the arm its time to take up the stream again."""
        self.ready = self.broken = False
        self._grace = RESUME

    @property
    def lost(self) -> bool:
        """Whether a forwarder that spoke before is silent."""
        return self.silent and self.broken

    @property
    def resuming(self) -> bool:
        """Whether it may still take up the stream, and has not."""
        return self._grace > 0.0 and self.held is not None

    def tick(self, dt: float) -> tuple[str, str]:
        """Return fault and detail, empty for none, after `dt` [s] of monotonic time."""
        self._age = 0.0 if self._heard else self._age + dt
        self._heard = False
        self._grace = max(self._grace - dt, 0.0)
        held = self.held is not None
        self.silent = self._age > self._silence
        self.ready = not self.silent and self._streams
        if self.silent and self._age < float('inf'):
            self.broken = True
            return 'process_lost', f'the forwarder said nothing for {self._silence} s'
        if held and not self._grace:
            self.broken = True
            return 'stream_stopped', self._reason
        return '', ''
