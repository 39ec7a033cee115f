"""One MCAP file: through its index, or, where that is missing or damaged, from front to end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
import struct
from typing import Any, BinaryIO

import lz4.frame
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel as McapChannel
from mcap.records import Chunk, Metadata, Schema
from mcap.stream_reader import get_chunk_data_stream
import zstandard

from vla_ros.bags.storage import Channel, Raw, Span, Storage
from vla_ros.errors import BagError

MAGIC = b'\x89MCAP0\r\n'
OURS = 'vla_ros'  # name of the metadata record that holds ours
RUN = 4 << 20  # [byte] messages outside chunks are read in runs of about this size
_HEAD = struct.Struct('<BQ')  # opcode and length of a record
_CHUNK = struct.Struct('<QQQI')  # first and last time, size and sum unpacked
_LENGTH = struct.Struct('<I')
_MESSAGE = struct.Struct('<HIQQ')  # channel, sequence, log time, publish time
# What the libraries raise on bytes that are not what they should be.
_DAMAGE = (
    McapError, zstandard.ZstdError, ValueError, RuntimeError, EOFError, KeyError, IndexError,
    OverflowError, MemoryError, OSError, struct.error,
)  # fmt: skip


def open_mcap(path: Path, note: Callable[[str], None]) -> Storage:
    """Open a file.

    Args:
        path: The file.
        note: Is told, in a sentence each, what is mended or skipped, now and while reading.

    Raises:
        BagError: It is no MCAP file.
    """
    file = path.open('rb')
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        file.close()
        found = f"begins with '{magic.hex(' ')}'" if magic else 'is empty'
        raise BagError(f'{path} {found}, expected an MCAP file: record it again.')
    scan = _Scan(file, path.name, note)
    storage = scan.indexed() or scan.whole()
    storage.close = file.close
    return storage


class _Scan:
    """Finds what a file holds."""

    def __init__(self, file: BinaryIO, name: str, note: Callable[[str], None]) -> None:
        self._file, self._name, self._note = file, name, note
        self._size = file.seek(0, 2)
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._counts: dict[int, int] = {}
        self._metadata: dict[str, str] = {}
        self._spans: list[Span] = []

    def indexed(self) -> Storage | None:
        """Return what the summary says, if there is one and it covers every message."""
        self._file.seek(0)
        try:
            summary = SeekingReader(self._file).get_summary()
            if summary is None or summary.statistics is None:
                return None
            counts = summary.statistics.channel_message_counts
            if summary.statistics.chunk_count != len(summary.chunk_indexes):
                return None
            if summary.statistics.message_count and not summary.chunk_indexes:
                return None  # they stand outside chunks
            if not counts.keys() <= summary.channels.keys():
                return None
            for index in summary.metadata_indexes:
                opcode, body = self._record(index.offset)
                if opcode == Opcode.METADATA:
                    self._add_metadata(body)
        except _DAMAGE:
            self._metadata.clear()
            return None
        self._schemas.update(summary.schemas)
        for channel in summary.channels.values():
            self._add_channel(channel)
        self._counts.update(counts)
        chunks = sorted(summary.chunk_indexes, key=lambda i: i.chunk_start_offset)
        self._spans = [
            Span(
                i.message_start_time, i.message_end_time, self._chunk_reader(i.chunk_start_offset)
            )
            for i in chunks
            if i.uncompressed_size
        ]
        return self._storage()

    def whole(self) -> Storage:
        """Return what is there up to the first byte that makes no sense."""
        place = run = len(MAGIC)
        times: list[int] = []  # of the run of messages outside chunks that began at `run`

        def end_run(end: int) -> None:
            if times:
                read = partial(self._read_run, run, end - run)
                self._spans.append(Span(min(times), max(times), read))
            times.clear()

        while True:
            try:
                opcode, body = self._record(place)
            except _DAMAGE:
                end_run(place)
                self._add_torn(place)
                break
            after = place + _HEAD.size + len(body)
            if opcode == Opcode.MESSAGE:
                run = place if not times else run
                times.append(self._count(body))
                if after - run > RUN:
                    end_run(after)
            elif opcode == Opcode.CHUNK:
                end_run(place)
                self._add_chunk(place, body)
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.METADATA):
                self._define(opcode, body)
            place = after
            if opcode in (Opcode.DATA_END, Opcode.FOOTER):
                break
        end_run(place)
        if self._ends_well():
            reason = 'it has no usable index'
        else:
            reason = f'it breaks off after {place} of {self._size} bytes'
        total = sum(self._counts.values())
        self._note(f'{self._name}: {reason}; {total} messages were found from front to end.')
        return self._storage()

    def _ends_well(self) -> bool:
        self._file.seek(max(0, self._size - len(MAGIC)))
        return self._file.read() == MAGIC and self._size > 2 * len(MAGIC)

    def _storage(self) -> Storage:
        return Storage(self._channels, self._spans, self._counts, self._metadata)

    def _record(self, place: int) -> tuple[int, bytes]:
        """Return opcode and body of the record at a place; raise one of _DAMAGE if it is none."""
        self._file.seek(place)
        opcode, length = _HEAD.unpack(self._file.read(_HEAD.size))
        if opcode == 0 or length > self._size - place - _HEAD.size:
            raise EOFError
        return opcode, self._file.read(length)

    def _define(self, opcode: int, body: bytes) -> None:
        stream = ReadDataStream(BytesIO(body))
        try:
            if opcode == Opcode.SCHEMA:
                schema = Schema.read(stream)
                self._schemas[schema.id] = schema
            elif opcode == Opcode.CHANNEL:
                self._add_channel(McapChannel.read(stream))
            else:
                self._add_metadata(body)
        except _DAMAGE:
            self._note(f'{self._name}: a damaged record of {len(body)} bytes was skipped.')

    def _add_channel(self, channel: McapChannel) -> None:
        schema = self._schemas.get(channel.schema_id)
        self._channels[channel.id] = Channel(
            channel.topic,
            schema.name if schema else '',
            schema.data.decode(errors='replace') if schema else '',
            schema.encoding if schema else '',
            channel.message_encoding,
        )

    def _add_metadata(self, body: bytes) -> None:
        record = Metadata.read(ReadDataStream(BytesIO(body)))
        if record.name == OURS:
            self._metadata.update(record.metadata)

    def _count(self, body: bytes | memoryview) -> int:
        channel, _, time, _ = _MESSAGE.unpack_from(body)
        self._counts[channel] = self._counts.get(channel, 0) + 1
        return int(time)

    def _add_chunk(self, place: int, body: bytes) -> None:
        times = []
        try:
            for opcode, inner in _records(_unpacked(body)):
                if opcode == Opcode.MESSAGE:
                    times.append(self._count(inner))
                elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                    self._define(opcode, bytes(inner))
        except _DAMAGE as error:
            self._note(f'{self._name}: {_lost(place, error)}')
        if times:
            self._spans.append(Span(min(times), max(times), self._chunk_reader(place)))

    def _add_torn(self, place: int) -> None:
        """Take what can be had of a chunk that the file ends in."""

        def load() -> bytes:
            self._file.seek(place)
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size or head[0] != Opcode.CHUNK:
                return b''
            return _torn(self._file.read())

        times = []
        try:
            for opcode, inner in _records(load(), torn=True):
                if opcode == Opcode.MESSAGE:
                    times.append(self._count(inner))
                elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                    self._define(opcode, bytes(inner))
        except _DAMAGE:
            pass  # the sentence on where the file breaks off says it
        if times:
            read = partial(self._messages, load, place, torn=True)
            self._spans.append(Span(min(times), max(times), read))

    def _chunk_reader(self, place: int) -> Callable[[Collection[int]], Iterator[Raw]]:
        def load() -> Any:
            return _unpacked(self._record(place)[1])

        return partial(self._messages, load, place)

    def _read_run(self, place: int, length: int, channels: Collection[int]) -> Iterator[Raw]:
        def load() -> Any:
            self._file.seek(place)
            return self._file.read(length)

        return self._messages(load, place, channels)

    def _messages(
        self,
        load: Callable[[], bytes],
        place: int,
        channels: Collection[int],
        torn: bool = False,
    ) -> Iterator[Raw]:
        """Return the messages of a chunk in order of time, each with bytes of its own.

        A view into the chunk would keep all of it for as long as somebody keeps one picture.
        """
        found = []
        try:
            for opcode, body in _records(load(), torn):
                if opcode == Opcode.MESSAGE:
                    channel, _, time, _ = _MESSAGE.unpack_from(body)
                    if channel in channels:
                        found.append(Raw(time, channel, bytes(body[_MESSAGE.size :])))
        except _DAMAGE as error:
            self._note(f'{self._name}: {_lost(place, error)}')
        found.sort(key=lambda raw: raw.time)
        return iter(found)


def _unpacked(body: bytes) -> bytes:
    """Return the records of a chunk after checking its sum."""
    chunk = Chunk.read(ReadDataStream(BytesIO(body)))
    stream, length = get_chunk_data_stream(chunk, validate_crc=True)
    return bytes(stream.read(length))


def _torn(body: bytes) -> bytes:
    """Return the records of a chunk whose end is missing, as far as they can be unpacked."""
    start = _CHUNK.size
    (length,) = _LENGTH.unpack_from(body, start)
    compression = body[start + 4 : start + 4 + length].decode()
    data = body[start + 4 + length + 8 :]
    if compression == 'zstd':
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if compression == 'lz4':
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    return data if not compression else b''


def _records(data: bytes, torn: bool = False) -> Iterator[tuple[int, memoryview]]:
    """Return opcode and body of each; where the last may be torn, those before it."""
    view, place = memoryview(data), 0
    while place < len(view):
        if torn and len(view) - place < _HEAD.size:
            return
        opcode, length = _HEAD.unpack_from(view, place)
        place += _HEAD.size
        if length > len(view) - place:
            if torn:
                return
            raise EOFError('a record is longer than its chunk')
        yield opcode, view[place : place + length]
        place += length


def _lost(place: int, error: BaseException) -> str:
    return f'the chunk at byte {place} is damaged and what follows in it is lost ({error}).'
