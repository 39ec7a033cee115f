"""A recording under way: those who hear never wait, one thread writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
import threading
import time

from vla_ros.bags.backlog import Backlog, Waiting
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import BagError, BagFullError
from vla_ros.graph import Topic

WAITING = 256 << 20  # [byte] that may wait for the disk: seven seconds of two large cameras
FLUSH = 0.5  # [s] after which what was heard is with the system: what a killed process loses
POLL = 0.1  # [s]


@dataclass(frozen=True)
class Progress:
    """How far a recording is."""

    folder: Path
    seconds: float  # since it began
    messages: int
    bytes: int  # of the file
    waiting: int  # [byte] for the disk
    dropped: Mapping[str, int]  # topic -> messages that could not be written in time
    refused: Mapping[str, str]  # topic -> why it is not recorded
    ended: str  # why it ended by itself; empty: it did not

    @property
    def trouble(self) -> str:
        """What is wrong, in one sentence; empty: nothing."""
        if self.ended:
            return self.ended
        if self.dropped:
            listed = ', '.join(f'{count} of {name}' for name, count in self.dropped.items())
            return f'disk or processor are too slow: dropped {listed}.'
        return ' '.join(f'{name} is not recorded: {why}' for name, why in self.refused.items())


class Recording:
    """Writes a bag in a thread of its own."""

    def __init__(
        self,
        writer: BagWriter,
        shrink: Callable[[Waiting], Waiting] = lambda message: message,
        waiting: int = WAITING,
    ) -> None:
        """Begin.

        Args:
            writer: Belongs to the thread until `stop`.
            shrink: Called in the thread on every picture; gives what is written in its place.
            waiting: Most that may wait for the disk [byte].
        """
        self._writer, self._shrink = writer, shrink
        self._backlog = Backlog(waiting)
        self._began = time.monotonic()
        self._messages = 0
        self._size = writer.size  # [byte]
        self._refused: dict[str, str] = {}
        self._ended = ''
        self._thread = threading.Thread(target=self._run, name='bag', daemon=True)
        self._thread.start()

    def hear(self, topic: Topic, stamp: int, data: bytes, picture: bool = False) -> None:
        """Take a message; never waits, from any thread.

        Args:
            topic: Its name is the full one.
            stamp: Log time [ns].
            data: CDR.
            picture: It goes first where the disk is too slow.
        """
        self._backlog.put(Waiting(topic, stamp, data, picture))

    def progress(self) -> Progress:
        """Return how far it is; from any thread."""
        return Progress(
            self._writer.folder,
            time.monotonic() - self._began,
            self._messages,
            self._size,
            self._backlog.bytes,
            dict(self._backlog.dropped),
            dict(self._refused),
            self._ended,
        )

    def stop(self, timeout: float) -> Progress:
        """Write what waits, close the bag and return how it went.

        Args:
            timeout: Longest wait for the disk [s]; a bag that is not closed by then lacks its
                index, and can be read.
        """
        self._backlog.close()
        self._thread.join(timeout)
        if self._thread.is_alive() and not self._ended:
            self._ended = f'the disk did not take the rest within {timeout:.0f} s.'
        return self.progress()

    def _run(self) -> None:
        try:
            self._copy()
        except Exception as error:  # whatever it is, the bag is closed and it is told
            self._ended = str(error)
        self._backlog.close()
        try:
            self._writer.close()
        except BagError as error:
            self._ended = self._ended or str(error)
        self._size = self._writer.size

    def _copy(self) -> None:
        flushed = time.monotonic()
        while True:
            batch = self._backlog.take(POLL)
            for message in batch:
                self._write(self._shrink(message) if message.picture else message)
                if time.monotonic() - flushed > FLUSH:
                    self._writer.flush()
                    flushed = time.monotonic()
            if not batch:
                self._writer.flush()
                if self._backlog.closed:
                    return
            self._size = self._writer.size

    def _write(self, message: Waiting) -> None:
        topic = message.topic
        if topic.name in self._refused:
            return
        try:
            self._writer.write(topic.name, topic.type, topic.qos, message.time, message.data)
        except BagFullError:
            raise
        except BagError as error:
            if self._writer.closed:
                raise
            self._refused[topic.name] = str(error)
            return
        self._messages += 1
