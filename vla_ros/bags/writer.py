"""Writes a standard rosbag2 of MCAP that a killed process leaves readable."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
import os
from pathlib import Path
import resource
from typing import Any

from rosbags.interfaces import Qos as BagQos
from rosbags.interfaces import QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2.metadata import dump_qos_v9
from ruamel.yaml import YAML

from vla_ros.bags.definitions import digest, installed
from vla_ros.bags.mcap_file import OURS
from vla_ros.bags.mcap_writer import McapWriter
from vla_ros.errors import BagError, BagFullError
from vla_ros.graph import Qos

VERSION = 9  # of metadata.yaml: Kilted's
RESERVE = 32 << 20  # [byte] of the disk that stay free: the last chunk and the index fit in
_FOREVER = QosTime(9223372036, 854775807)


@dataclass
class _Topic:
    """A channel of the file and what went into it."""

    channel: int
    kind: str
    qos: list[BagQos]
    digest: str
    count: int = 0


class BagWriter:
    """One bag being written; use it as a context manager. Not for several threads at once."""

    def __init__(
        self,
        folder: Path,
        metadata: Mapping[str, str],
        *,
        define: Callable[[str], str] = installed,
        distribution: str = '',
        reserve: int = RESERVE,
    ) -> None:
        """Make the folder and begin its file with the metadata.

        Args:
            folder: Where metadata.yaml and the .mcap file go; it must not exist, or be empty.
            metadata: Texts that explain the recording, by name.
            define: Gives the definition of a message type with those of all it uses.
            distribution: Of ROS, such as 'kilted'.
            reserve: Space that is left on the disk [byte].

        Raises:
            BagError: The folder holds something, or cannot be written.
            BagFullError: The disk has no room.
        """
        self.folder = folder
        self.file = folder / f'{folder.name}_0.mcap'
        self._define, self._distribution, self._reserve = define, distribution, reserve
        self._topics: dict[str, _Topic] = {}
        self._schemas: dict[str, tuple[int, str]] = {}
        self._first: int | None = None  # [ns]
        self._last = 0  # [ns]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise BagError(f'{folder} holds files already: name a folder that is not there.')
            self._stream = self.file.open('xb')
        except OSError as error:
            raise BagError(f'{folder} cannot be written: {error.strerror}.') from error
        try:
            self._guard(0)
        except BagFullError:
            self._stream.close()
            self.file.unlink()
            raise
        try:
            self._writer = McapWriter(self._stream, 'ros2', 'vla_ros')
            self._writer.add_metadata(OURS, metadata)
            self.flush()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether it takes no more: closed on purpose, or because the disk failed."""
        return self._stream.closed

    @property
    def size(self) -> int:
        """Length of the file [byte], without the chunk that is being filled."""
        return self.file.stat().st_size if self.closed else self._stream.tell()

    @property
    def counts(self) -> dict[str, int]:
        """Messages written, by topic."""
        return {name: topic.count for name, topic in self._topics.items()}

    def write(self, topic: str, kind: str, qos: Qos, time: int, data: bytes) -> None:
        """Add a message.

        Args:
            topic: Its full name.
            kind: Its type, 'pkg/msg/Name'.
            qos: Offered by its publishers.
            time: Log time [ns].
            data: CDR.

        Raises:
            BagFullError: There is no room; what was written before is safe, and so is `close`.
            BagError: The type is not defined anywhere, or the disk fails.
        """
        self._guard(len(data))
        try:
            known = self._topics.get(topic) or self._add(topic, kind, qos)
            self._writer.add_message(known.channel, time, data)
        except OSError as error:
            raise self._failed(error) from error
        known.count += 1
        self._first = time if self._first is None else min(self._first, time)
        self._last = max(self._last, time)

    def flush(self) -> None:
        """Hand everything to the system; a process killed after this loses nothing of it.

        Raises:
            BagError: The disk fails.
        """
        try:
            self._writer.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Write the rest, the index and metadata.yaml; may be called twice.

        Raises:
            BagError: The disk fails; what was flushed before can be read.
        """
        if self._stream.closed:
            return
        try:
            text = _yaml(self._information())
            self._writer.add_metadata('rosbag2', {'serialized_metadata': text})
            self._writer.finish()
            os.fsync(self._stream.fileno())
            self._stream.close()
            whole = _yaml({'rosbag2_bagfile_information': self._information()})
            draft = self.folder / 'metadata.yaml.part'
            draft.write_text(whole, encoding='utf-8')
            draft.replace(self.folder / 'metadata.yaml')
        except OSError as error:
            raise self._failed(error) from error

    def _add(self, topic: str, kind: str, qos: Qos) -> _Topic:
        if kind not in self._schemas:
            text = self._define(kind)
            number = self._writer.add_schema(kind, 'ros2msg', text.encode())
            self._schemas[kind] = number, digest(kind, text)
        schema, hashed = self._schemas[kind]
        offered = [_offered(qos)]
        profile = _yaml(dump_qos_v9(offered))
        channel = self._writer.add_channel(
            topic, 'cdr', schema, {'offered_qos_profiles': profile, 'topic_type_hash': hashed}
        )
        self._topics[topic] = _Topic(channel, kind, offered, hashed)
        return self._topics[topic]

    def _guard(self, more: int) -> None:
        """Refuse what would not leave room for the chunk in work and for the index."""
        here = self._stream.tell()
        pending = self._writer.pending if here else 0  # of the chunk in work
        disk = os.statvfs(self.folder)
        room = disk.f_bavail * disk.f_frsize
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if limit != resource.RLIM_INFINITY:
            room = min(room, limit - here)
        if room - pending - more < self._reserve:
            raise BagFullError(
                f'{self.folder}: {max(room, 0) >> 20} MiB are left on the disk, of which '
                f'{self._reserve >> 20} MiB are kept free; the recording ends here. Make room, '
                'or record to another disk.'
            )

    def _failed(self, error: OSError) -> BagError:
        """Close the file as it is: every chunk that was flushed can be read without an index."""
        with suppress(OSError):  # it tries to write the rest once more
            self._stream.close()
        return BagError(
            f'{self.file} cannot be written any more: {error.strerror}. What was written before '
            'can be read.'
        )

    def _information(self) -> dict[str, Any]:
        count = sum(topic.count for topic in self._topics.values())
        times = {
            'starting_time': {'nanoseconds_since_epoch': self._first or 0},
            'duration': {'nanoseconds': self._last - (self._first or 0)},
            'message_count': count,
        }
        return {
            'version': VERSION,
            'storage_identifier': 'mcap',
            'relative_file_paths': [self.file.name],
            **times,
            'topics_with_message_count': [
                {
                    'topic_metadata': {
                        'name': name,
                        'type': topic.kind,
                        'serialization_format': 'cdr',
                        'offered_qos_profiles': dump_qos_v9(topic.qos),
                        'type_description_hash': topic.digest,
                    },
                    'message_count': topic.count,
                }
                for name, topic in self._topics.items()
            ],
            'compression_format': '',
            'compression_mode': '',
            'files': [{'path': self.file.name, **times}],
            'custom_data': None,
            'ros_distro': self._distribution,
        }


def _offered(qos: Qos) -> BagQos:
    latched = qos.transient_local
    return BagQos(
        QosHistory.KEEP_LAST,
        qos.depth,
        QosReliability.RELIABLE if qos.reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        _FOREVER,
        _FOREVER,
        QosLiveliness.AUTOMATIC,
        _FOREVER,
        False,
    )


def _yaml(value: Any) -> str:
    yaml = YAML(typ='safe')
    yaml.default_flow_style = False
    yaml.width = 4096
    yaml.representer.ignore_aliases = lambda _: True
    text = StringIO()
    yaml.dump(value, text)
    return text.getvalue().strip()
