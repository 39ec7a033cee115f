"""Writes one MCAP file, chunk by chunk.

The `mcap` package has a writer of its own, whose zstd level is fixed: with pictures of a real,
noisy camera it takes seven times as long as the fastest one, a whole core for two cameras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import BinaryIO
import zlib

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.records import (
    Channel,
    Chunk,
    ChunkIndex,
    DataEnd,
    Footer,
    Header,
    McapRecord,
    Message,
    MessageIndex,
    Metadata,
    MetadataIndex,
    Schema,
    Statistics,
    SummaryOffset,
)
import zstandard

MAGIC = b'\x89MCAP0\r\n'
CHUNK = 4 << 20  # [byte] before compression; `flush` ends one sooner
LEVEL = 1  # of zstd: half the size of a noisy picture at 400 MB/s


class McapWriter:
    """One file; what was flushed can be read whatever happens next."""

    def __init__(self, stream: BinaryIO, profile: str, library: str) -> None:
        """Write the beginning.

        Args:
            stream: Opened for writing, at its beginning.
            profile: Such as 'ros2'.
            library: Who writes.
        """
        self._stream = stream
        self._schemas: list[Schema] = []
        self._channels: list[Channel] = []
        self._chunks: list[ChunkIndex] = []
        self._metadata: list[MetadataIndex] = []
        self._counts: Counter[int] = Counter()  # channel -> messages
        self._pack = zstandard.ZstdCompressor(level=LEVEL)
        self._begin_chunk()
        stream.write(MAGIC + _bytes(Header(profile, library)))

    @property
    def pending(self) -> int:
        """Size of the chunk that is not written yet, before compression [byte]."""
        return int(self._records.count)

    def add_metadata(self, name: str, texts: Mapping[str, str]) -> None:
        """Write a metadata record at once."""
        self.flush()
        place, data = self._stream.tell(), _bytes(Metadata(name=name, metadata=dict(texts)))
        self._stream.write(data)
        self._metadata.append(MetadataIndex(offset=place, length=len(data), name=name))

    def add_schema(self, name: str, encoding: str, data: bytes) -> int:
        """Return the number of a message definition."""
        schema = Schema(id=len(self._schemas) + 1, data=data, encoding=encoding, name=name)
        self._schemas.append(schema)
        schema.write(self._records)
        return schema.id

    def add_channel(
        self, topic: str, encoding: str, schema: int, metadata: Mapping[str, str]
    ) -> int:
        """Return the number of a topic."""
        channel = Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding=encoding,
            metadata=dict(metadata),
            schema_id=schema,
        )
        self._channels.append(channel)
        channel.write(self._records)
        return channel.id

    def add_message(self, channel: int, time: int, data: bytes) -> None:
        """Add a message to the chunk; write that one where it is full.

        Args:
            channel: Its number.
            time: Log time [ns].
            data: As the channel's encoding says.
        """
        self._index.setdefault(channel, []).append((time, self.pending))
        sequence = self._counts[channel] & 0xFFFFFFFF
        Message(channel, time, data, time, sequence).write(self._records)
        self._counts[channel] += 1
        self._times.append(time)
        if self.pending > CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write the chunk in work and its index, and hand them to the system."""
        if self._times:
            self._write_chunk()
        self._stream.flush()

    def finish(self) -> None:
        """Write what is left and the summary; the stream stays open."""
        self.flush()
        self._stream.write(_bytes(DataEnd(data_section_crc=0)))
        start = self._stream.tell()
        groups: list[tuple[int, Iterable[McapRecord]]] = [
            (Opcode.SCHEMA, self._schemas),
            (Opcode.CHANNEL, self._channels),
            (Opcode.STATISTICS, [self._statistics()]),
            (Opcode.CHUNK_INDEX, self._chunks),
            (Opcode.METADATA_INDEX, self._metadata),
        ]
        summary, offsets = b'', b''
        for opcode, records in groups:
            data = b''.join(_bytes(record) for record in records)
            if data:
                offsets += _bytes(SummaryOffset(opcode, start + len(summary), len(data)))
                summary += data
        self._stream.write(summary + offsets)
        footer = Footer(start, start + len(summary), 0)
        # Its sum covers the summary and the footer up to the sum itself.
        footer.summary_crc = zlib.crc32(summary + offsets + _bytes(footer)[:-4])
        self._stream.write(_bytes(footer) + MAGIC)
        self._stream.flush()

    def _begin_chunk(self) -> None:
        self._records = RecordBuilder()
        self._index: dict[int, list[tuple[int, int]]] = {}  # channel -> time, place in the chunk
        self._times: list[int] = []

    def _write_chunk(self) -> None:
        plain = self._records.end()
        packed = self._pack.compress(plain)
        first, last, place = min(self._times), max(self._times), self._stream.tell()
        chunk = _bytes(
            Chunk(
                compression='zstd',
                data=packed,
                message_start_time=first,
                message_end_time=last,
                uncompressed_crc=zlib.crc32(plain),
                uncompressed_size=len(plain),
            )
        )
        places, indexes = {}, b''
        for channel, entries in self._index.items():
            places[channel] = place + len(chunk) + len(indexes)
            indexes += _bytes(MessageIndex(channel_id=channel, records=entries))
        self._stream.write(chunk + indexes)
        self._chunks.append(
            ChunkIndex(
                chunk_length=len(chunk),
                chunk_start_offset=place,
                compression='zstd',
                compressed_size=len(packed),
                message_end_time=last,
                message_index_length=len(indexes),
                message_index_offsets=places,
                message_start_time=first,
                uncompressed_size=len(plain),
            )
        )
        self._begin_chunk()

    def _statistics(self) -> Statistics:
        return Statistics(
            attachment_count=0,
            channel_count=len(self._channels),
            channel_message_counts=dict(self._counts),
            chunk_count=len(self._chunks),
            message_count=sum(self._counts.values()),
            message_end_time=max((c.message_end_time for c in self._chunks), default=0),
            message_start_time=min((c.message_start_time for c in self._chunks), default=0),
            metadata_count=len(self._metadata),
            schema_count=len(self._schemas),
        )


def _bytes(record: McapRecord) -> bytes:
    builder = RecordBuilder()
    record.write(builder)
    return bytes(builder.end())
