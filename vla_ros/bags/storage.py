"""What one file of a bag holds, whatever its storage, and its messages in order of time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
import heapq
from typing import NamedTuple


class Raw(NamedTuple):
    """One message as it was stored."""

    time: int  # [ns] log time
    channel: int
    data: bytes  # CDR


@dataclass(frozen=True)
class Channel:
    """One topic of one file."""

    topic: str
    type: str  # 'pkg/msg/Name'
    definition: str = ''  # with those of all types it uses; empty: the file has none
    language: str = ''  # of the definition: 'ros2msg' or 'ros2idl'
    encoding: str = 'cdr'  # of its messages


@dataclass(frozen=True)
class Span:
    """Messages that are read in one go: a chunk of MCAP, or a whole SQLite file."""

    start: int  # [ns] earliest log time
    end: int  # [ns] latest
    read: Callable[[Collection[int]], Iterator[Raw]]  # of these channels, in order of time


@dataclass
class Storage:
    """One open file: its channels, and its spans in the order of the file."""

    channels: dict[int, Channel]
    spans: list[Span]
    counts: dict[int, int] = field(default_factory=dict)  # messages a channel, where known
    metadata: dict[str, str] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None


def merged(sources: Iterable[tuple[Span, Collection[int]]]) -> Iterator[tuple[int, Raw]]:
    """Return messages in order of log time, with the number of the source of each.

    A span is opened when its time has come and no sooner, so that memory stays bounded by those
    that overlap. Of equal times the earlier source is first.

    Args:
        sources: Spans and the channels wanted of each.
    """
    waiting = sorted(enumerate(sources), key=lambda item: item[1][0].start, reverse=True)
    heap: list[tuple[int, int, Raw, Iterator[Raw]]] = []
    while waiting or heap:
        while waiting and (not heap or waiting[-1][1][0].start <= heap[0][0]):
            number, (span, channels) = waiting.pop()
            messages = span.read(channels)
            first = next(messages, None)
            if first is not None:
                heapq.heappush(heap, (first.time, number, first, messages))
        if not heap:
            continue
        _, number, raw, messages = heap[0]
        yield number, raw
        after = next(messages, None)
        if after is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (after.time, number, after, messages))
