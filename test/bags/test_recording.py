"""Those who hear never wait; a slow disk costs pictures first, and every loss is counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
import threading
import time

from hypothesis import given
from hypothesis import strategies as st
from made import cdr, text
import pytest

from vla_ros import graph
from vla_ros.bags.backlog import Backlog, Waiting
from vla_ros.bags.reader import open_bag
from vla_ros.bags.recording import Recording
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import BagError

TOPIC = graph.Topic('/t', 'std_msgs/msg/String', graph.EVENTS)
PICTURES = replace(TOPIC, name='/camera/image_raw')
LIMIT = 30.0  # bound of every wait [s]


def waiting(number: int, size: int, picture: bool) -> Waiting:
    return Waiting(PICTURES if picture else TOPIC, number, bytes(size), picture)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=80),
    limit=st.integers(40, 200),
)
def test_a_backlog_is_bounded_in_order_and_drops_pictures_first(sizes, limit):
    backlog = Backlog(limit)
    everything = [waiting(k, size, picture) for k, (size, picture) in enumerate(sizes)]
    for message in everything:
        backlog.put(message)
        assert backlog.bytes <= limit
    kept = backlog.take(0.0)
    assert [m.time for m in kept] == sorted(m.time for m in kept)
    lost = Counter(m.topic.name for m in everything if m not in kept)
    assert lost == +backlog.dropped
    others = [m for m in everything if not m.picture]
    if (
        sum(len(m.data) for m in others) <= limit
    ):  # without pictures all would fit: so all are there
        assert [m for m in kept if not m.picture] == others
    if sum(len(m.data) for m in everything) <= limit:
        assert kept == everything


def test_a_closed_backlog_gives_what_it_has():
    backlog = Backlog(100)
    backlog.put(waiting(1, 10, False))
    backlog.close()
    backlog.put(waiting(2, 10, False))
    assert [m.time for m in backlog.take(0.0)] == [1]
    before = time.monotonic()
    assert backlog.take(LIMIT) == []
    assert time.monotonic() - before < LIMIT / 2


class Slow(BagWriter):
    """A disk that waits for leave before each message."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.leave = threading.Event()

    def write(self, *args) -> None:
        assert self.leave.wait(LIMIT)
        super().write(*args)


def test_who_hears_does_not_wait_for_a_slow_disk(tmp_path):
    writer = Slow(tmp_path / 'bag', {})
    recording = Recording(writer, waiting=100_000)
    data = cdr(text('x' * 1000))
    longest = 0.0
    for k in range(90):
        before = time.perf_counter()
        recording.hear(TOPIC, k, data)
        recording.hear(PICTURES, k, data, picture=True)
        longest = max(longest, time.perf_counter() - before)
    assert recording.progress().waiting <= 100_000
    assert 'too slow: dropped' in recording.progress().trouble
    writer.leave.set()
    done = recording.stop(LIMIT)
    assert longest < 0.5  # 180 messages that each waited for the disk would take for ever
    assert set(done.dropped) == {PICTURES.name}
    with open_bag(tmp_path / 'bag') as bag:
        assert [r.nanoseconds for r in bag.messages({TOPIC.name})] == list(range(90))
        counts = {t.name: t.count for t in bag.topics.values()}
    assert counts[PICTURES.name] == 90 - done.dropped[PICTURES.name]
    assert sum(counts.values()) == done.messages


def test_an_unknown_type_is_refused_once_and_the_rest_goes_on(tmp_path):
    recording = Recording(BagWriter(tmp_path / 'bag', {}))
    for k in range(3):
        recording.hear(replace(TOPIC, name='/u', type='foreign_msgs/msg/Thing'), k, b'')
        recording.hear(TOPIC, k, cdr(text('x')))
    done = recording.stop(LIMIT)
    assert list(done.refused) == ['/u']
    assert done.messages == 3
    assert '/u is not recorded' in done.trouble
    assert not done.ended


class Broken(BagWriter):
    """A disk that fails at the third message."""

    def write(self, topic, kind, qos, stamp, data) -> None:
        if stamp == 2:
            raise self._failed(OSError(5, 'Input/output error'))
        super().write(topic, kind, qos, stamp, data)


def test_a_broken_disk_ends_it_and_says_so(tmp_path):
    recording = Recording(Broken(tmp_path / 'bag', {}))
    for k in range(5):
        recording.hear(TOPIC, k, cdr(text('x')))
    done = recording.stop(LIMIT)
    assert 'Input/output error' in done.ended
    assert done.trouble == done.ended
    recording.hear(TOPIC, 9, b'')  # nobody minds


def test_any_other_failure_ends_it_too(tmp_path):
    def fail(message):
        raise ValueError('a picture of another world')

    recording = Recording(BagWriter(tmp_path / 'bag', {}), shrink=fail)
    recording.hear(TOPIC, 1, cdr(text('x')))
    recording.hear(PICTURES, 2, cdr(text('y')), picture=True)
    done = recording.stop(LIMIT)
    assert 'another world' in done.ended
    with open_bag(tmp_path / 'bag') as bag:
        assert [r.nanoseconds for r in bag.messages()] == [1]


def test_the_folder_is_checked_before_anything_is_heard(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match='cannot be written'):
        BagWriter(tmp_path / 'file' / 'bag', {})
