"""What waits for a disk: bounded; where it is too slow, pictures go first."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
import threading

from vla_ros.graph import Topic

BATCH = 8 << 20  # [byte]


@dataclass(frozen=True)
class Waiting:
    """One message that is to be written."""

    topic: Topic  # its name is the full one
    time: int  # [ns] log time
    data: bytes  # CDR
    picture: bool


class Backlog:
    """A queue between those who hear messages and the one who writes them."""

    def __init__(self, limit: int) -> None:
        """Begin empty.

        Args:
            limit: Most that may wait [byte].
        """
        self.dropped: Counter[str] = Counter()  # topic -> messages that found no room
        self.bytes = 0
        self._limit = limit
        self._queue: deque[Waiting] = deque()
        self._lock = threading.Condition()
        self._closed = False

    def put(self, message: Waiting) -> None:
        """Add a message, at the cost of pictures that wait, or drop it; never waits."""
        size = len(message.data)
        with self._lock:
            if self._closed:
                return
            if self.bytes + size > self._limit and not message.picture:
                self._drop_pictures(size)
            if self.bytes + size > self._limit:
                self.dropped[message.topic.name] += 1
                return
            self._queue.append(message)
            self.bytes += size
            self._lock.notify()

    def take(self, timeout: float) -> list[Waiting]:
        """Return what waits, in order, BATCH bytes or a little more; empty after `timeout` [s]."""
        with self._lock:
            if not self._queue and not self._closed:
                self._lock.wait(timeout)
            taken, size = [], 0
            while self._queue and size < BATCH:
                taken.append(self._queue.popleft())
                size += len(taken[-1].data)
            self.bytes -= size
            return taken

    def close(self) -> None:
        """Take no more; what waits can still be taken."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    @property
    def closed(self) -> bool:
        """Whether no more is taken."""
        return self._closed

    def _drop_pictures(self, size: int) -> None:
        """Forget the oldest pictures until `size` bytes find room."""
        kept: deque[Waiting] = deque()
        for message in self._queue:
            if message.picture and self.bytes + size > self._limit:
                self.dropped[message.topic.name] += 1
                self.bytes -= len(message.data)
            else:
                kept.append(message)
        self._queue = kept
