"""Reads a bag: any storage, any version, whole or broken."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
import tempfile
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
import zstandard

from vla_ros.bags.definitions import Types
from vla_ros.bags.mcap_file import open_mcap
from vla_ros.bags.sqlite_file import open_sqlite
from vla_ros.bags.storage import Channel, merged, Span, Storage
from vla_ros.errors import BagError
from vla_ros.graph import full_name, JOINT_STATES, Topic

METADATA = 'metadata.yaml'
GAP = 10.0  # [s] of silence on every topic that is worth a note
_PACKED = ('.zstd', '.zst')
_SUFFIXES = ('.mcap', '.db3', *(s + p for s in ('.mcap', '.db3') for p in _PACKED))
_ZSTD = b'\x28\xb5\x2f\xfd'  # no CDR message begins so: its second byte is below 12


@dataclass(frozen=True)
class TopicInfo:
    """A topic of a bag."""

    name: str
    type: str  # 'pkg/msg/Name'
    count: int  # messages; -1: not known before they are read


class Recorded:
    """One recorded message; its bytes become a message when it is asked for."""

    def __init__(self, topic: str, nanoseconds: int, kind: str, data: bytes, read: Any) -> None:
        """Hold what was stored.

        Args:
            topic: Its topic.
            nanoseconds: Log time [ns].
            kind: Type, 'pkg/msg/Name'.
            data: The message as CDR.
            read: Makes a message of the bytes.
        """
        self.topic, self.nanoseconds, self.type, self.data = topic, nanoseconds, kind, data
        self._read = read

    @property
    def time(self) -> float:
        """Log time [s]."""
        return self.nanoseconds * 1e-9

    @cached_property
    def message(self) -> Any:
        """The message, with the fields that rclpy's has.

        Raises:
            BagError: The bytes are no message of that type.
        """
        try:
            return self._read(self.data)
        except Exception as error:  # whatever the decoder trips over
            raise BagError(
                f"the message on '{self.topic}' at {self.time:.3f} s is no {self.type} "
                f'({type(error).__name__}: {error}): its {len(self.data)} bytes are damaged.'
            ) from error


class Bag:
    """An open bag; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open every file of a bag.

        Args:
            path: Its folder, or one .mcap or .db3 file.

        Raises:
            BagError: Nothing in it can be read.
        """
        self.path = path
        self._notes: list[str] = []
        self._scratch = tempfile.TemporaryDirectory(prefix='bag_')
        self._files: list[Storage] = []
        try:
            files, self.metadata = self._find(path)
            self._open(files)
        except BaseException:
            self.close()
            raise
        for file in self._files:
            self.metadata.update(file.metadata)
        self._types = Types()
        self._spans = [(file, span) for file in self._files for span in file.spans]
        self._tell_order([span for _, span in self._spans])
        self.topics = self._topics()

    def __enter__(self) -> Bag:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; may be called twice."""
        while self._files:
            self._files.pop().close()
        self._scratch.cleanup()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was skipped or mended so far, a sentence each; reading may add some."""
        return tuple(self._notes)

    @property
    def start(self) -> float:
        """Log time of the first message [s]; 0 in an empty bag."""
        return min((span.start for _, span in self._spans), default=0) * 1e-9

    @property
    def end(self) -> float:
        """Log time of the last message [s]; 0 in an empty bag."""
        return max((span.end for _, span in self._spans), default=0) * 1e-9

    @cached_property
    def namespace(self) -> str:
        """The namespace of the robot, such as '/left', or '' if topics carry none.

        Raises:
            BagError: There are joint states of several.
        """
        end = '/' + JOINT_STATES.name
        found = sorted(t[: -len(end)] for t in self.topics if t.endswith(end))
        if len(found) > 1 and '' not in found:
            raise BagError(
                f'{self.path} holds joint states of {", ".join(found)}: ask for topics by their '
                'full names.'
            )
        return '' if not found or '' in found else found[0]

    def name(self, topic: Topic) -> str:
        """Return the name in this bag of a topic of the graph, whether or not it is there."""
        return full_name(topic, self.namespace)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Recorded]:
        """Return messages in order of log time, a chunk of each file in memory at a time.

        Args:
            topics: Their names; None: all. What the bag does not have is not an error.
        """
        sources: list[tuple[Span, Collection[int]]] = []
        files = []
        for file, span in self._spans:
            wanted = {
                number
                for number, channel in file.channels.items()
                if (topics is None or channel.topic in topics)
                and not isinstance(self._types.reader(channel), str)
            }
            if wanted:
                sources.append((span, wanted))
                files.append(file)
        last = None
        for number, raw in merged(sources):
            channel = files[number].channels[raw.channel]
            if topics is None and last is not None and raw.time - last > GAP * 1e9:
                self._note(
                    f'the log time leaps ahead by {(raw.time - last) * 1e-9:.1f} s at '
                    f'{last * 1e-9:.3f} s.'
                )
            last = raw.time
            data = raw.data
            if data[:4] == _ZSTD:
                data = self._unpack_message(channel, raw.time, data)
                if not data:
                    continue
            read = self._types.reader(channel)
            yield Recorded(channel.topic, raw.time, channel.type, data, read)

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes:
            self._notes.append(sentence)

    def _find(self, path: Path) -> tuple[list[Path], dict[str, str]]:
        """Return the files of a bag in order, and the metadata that its YAML file carries."""
        if not path.exists():
            raise BagError(f'{path} does not exist: give a bag folder, an .mcap or a .db3 file.')
        if path.is_file():
            return [path], {}
        there = sorted((f for f in path.iterdir() if f.name.endswith(_SUFFIXES)), key=_natural)
        if not there:
            raise BagError(
                f'{path} holds no .mcap and no .db3 file: give the folder that `vla record` or '
                '`ros2 bag record` wrote.'
            )
        try:
            text = (path / METADATA).read_text(encoding='utf-8')
            info = YAML(typ='safe').load(text)['rosbag2_bagfile_information']
            listed = [path / PurePath(name).name for name in info['relative_file_paths']]
            custom = info.get('custom_data') or {}
            metadata = {str(key): str(value) for key, value in custom.items()}
        except FileNotFoundError:
            self._note(f'{METADATA} is missing: every file in the folder is read.')
            return there, {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, YAMLError) as error:
            self._note(
                f'{METADATA} cannot be used ({type(error).__name__}): every file in the folder '
                'is read.'
            )
            return there, {}
        for file in listed:
            if not file.exists():
                self._note(f'{file.name} is listed in {METADATA} and is missing.')
        beside = [file for file in there if file not in listed]
        if beside and all(file.exists() for file in listed):
            self._note(f'not listed in {METADATA} and left out: {_names(beside)}.')
            beside = []
        return [file for file in listed if file.exists()] + beside, metadata

    def _open(self, files: list[Path]) -> None:
        errors = []
        for file in files:
            plain = file
            try:
                plain = self._unpack_file(file) if file.suffix in _PACKED else file
                if plain.suffix == '.mcap':
                    self._files.append(open_mcap(plain, self._note))
                elif plain.suffix == '.db3':
                    folder = Path(self._scratch.name)
                    self._files.append(open_sqlite(plain, folder, self._note))
                else:
                    raise BagError(f"{file} ends in '{file.suffix}', expected .mcap or .db3.")
            except BagError as error:
                errors.append(str(error).replace(str(plain), str(file)))
            except OSError as error:
                errors.append(f'{file} cannot be read: {error}.')
        if not self._files:
            raise BagError(' '.join(errors) or f'{self.path} lists no file that is there.')
        self._notes += errors

    def _unpack_file(self, file: Path) -> Path:
        target = Path(self._scratch.name) / file.stem
        try:
            with file.open('rb') as packed, target.open('wb') as plain:
                zstandard.ZstdDecompressor().copy_stream(packed, plain)
        except zstandard.ZstdError as error:
            self._note(
                f'{file.name}: its compression is damaged; what precedes is read ({error}).'
            )
        return target

    def _unpack_message(self, channel: Channel, time: int, data: bytes) -> bytes:
        try:
            return zstandard.ZstdDecompressor().decompressobj().decompress(data)
        except zstandard.ZstdError as error:
            self._note(f"a message on '{channel.topic}' at {time * 1e-9:.3f} s is lost ({error}).")
            return b''

    def _topics(self) -> dict[str, TopicInfo]:
        topics: dict[str, TopicInfo] = {}
        for file in self._files:
            for number, channel in sorted(file.channels.items()):
                reader = self._types.reader(channel)
                if isinstance(reader, str):
                    self._note(f"'{channel.topic}' is skipped: {reader}.")
                count = file.counts.get(number, 0)
                known = topics.get(channel.topic)
                if known is not None and known.type != channel.type:
                    self._note(f"'{channel.topic}' carries both {known.type} and {channel.type}.")
                count += known.count if known else 0
                kind = known.type if known else channel.type
                topics[channel.topic] = TopicInfo(channel.topic, kind, count)
        return topics

    def _tell_order(self, spans: Iterable[Span]) -> None:
        latest = None
        back = []
        for span in spans:
            if latest is not None and span.start < latest:
                back.append(latest - span.start)
            latest = span.end if latest is None else max(latest, span.end)
        if back:
            self._note(
                f'the log time goes back between {len(back)} chunks, by up to '
                f'{max(back) * 1e-9:.3f} s; messages are given in order of log time.'
            )


def open_bag(path: Path | str) -> Bag:
    """Open a bag.

    Args:
        path: Its folder, or one .mcap or .db3 file.

    Raises:
        BagError: Nothing in it can be read; says why.
    """
    return Bag(Path(path))


def _natural(file: Path) -> list[tuple[int, str]]:
    """Sort bag_10 after bag_9."""
    parts, digits = [], ''
    for letter in file.name + ' ':
        if letter.isdigit():
            digits += letter
            continue
        if digits:
            parts.append((int(digits), ''))
            digits = ''
        parts.append((-1, letter))
    return parts


def _names(files: Iterable[Path]) -> str:
    return ', '.join(file.name for file in files)
