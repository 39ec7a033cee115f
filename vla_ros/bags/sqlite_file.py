"""One SQLite file of a bag."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from pathlib import Path
import shutil
import sqlite3

import apsw
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.rosbag2.errors import ReaderError
from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader

from vla_ros.bags.storage import Channel, Raw, Span, Storage
from vla_ros.errors import BagError

_LANGUAGES = {1: 'ros2msg', 2: 'ros2idl'}
_ORDER = (
    'SELECT COUNT(*), MIN(step) FROM (SELECT timestamp - LAG(timestamp) OVER (ORDER BY id) AS '
    'step FROM messages) WHERE step < 0'
)


def open_sqlite(path: Path, scratch: Path, note: Callable[[str], None]) -> Storage:
    """Open a file.

    Args:
        path: The file.
        scratch: Folder for a copy, should the file need mending.
        note: Is told, in a sentence each, what is mended or skipped, now and while reading.

    Raises:
        BagError: It is no database, or none of a bag.
    """
    reader = Sqlite3Reader(_settled(path, scratch, note))
    try:
        reader.open()
    except (ReaderError, apsw.Error, ValueError, TypeError, KeyError) as error:
        size = path.stat().st_size
        raise BagError(
            f'{path} ({size} bytes) cannot be read as a bag: {error}. Recover what it holds with '
            '`sqlite3 FILE .recover`, or record it again.'
        ) from error
    by_id = {c.id: c for c in reader.connections}

    def read(channels: Collection[int]) -> Iterator[Raw]:
        try:
            for connection, time, data in reader.messages([by_id[i] for i in channels]):
                yield Raw(time, connection.id, data)
        except apsw.Error as error:
            note(f'{path.name}: the database is damaged and what follows is lost ({error}).')

    _tell_order(reader, path.name, note)
    spans = []
    if reader.metadata.message_count:
        spans = [Span(reader.metadata.start_time, reader.metadata.end_time - 1, read)]
    channels = {}
    for c in reader.connections:
        language = _LANGUAGES.get(c.msgdef.format.value, '') if c.msgdef.data else ''
        encoding = c.ext.serialization_format if isinstance(c.ext, ConnectionExtRosbag2) else 'cdr'
        channels[c.id] = Channel(c.topic, c.msgtype, c.msgdef.data, language, encoding)
    counts = {c.id: c.msgcount for c in reader.connections}
    return Storage(channels, spans, counts, close=reader.close)


def _settled(path: Path, scratch: Path, note: Callable[[str], None]) -> Path:
    """Return the file, or a copy with what a killed recorder had left in a log beside it."""
    beside = [path.with_name(path.name + end) for end in ('-wal', '-journal')]
    if not any(file.is_file() and file.stat().st_size for file in beside):
        return path
    copy = scratch / path.name
    for file in (path, *(file for file in beside if file.is_file())):
        shutil.copyfile(file, scratch / file.name)
    try:
        with closing(sqlite3.connect(copy)) as database:
            database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
            database.execute('PRAGMA journal_mode=DELETE')
    except sqlite3.Error as error:
        note(f'{path.name}: what its recorder left unfinished cannot be used ({error}).')
        return path
    note(f'{path.name}: what its recorder left unfinished was taken in.')
    return copy


def _tell_order(reader: Sqlite3Reader, name: str, note: Callable[[str], None]) -> None:
    try:
        count, step = next(iter(reader.dbconn.execute(_ORDER)))  # type: ignore[union-attr]
    except (apsw.Error, StopIteration):
        return
    if count:
        note(
            f'{name}: the log time goes back {count} times, by up to {-step * 1e-9:.3f} s; '
            'messages are given in order of log time.'
        )
