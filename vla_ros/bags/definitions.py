"""Message definitions: those in a bag, those installed, and those of the standard."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import os
from pathlib import Path
import re
import sys
from typing import Any

from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

from vla_ros import paths
from vla_ros.bags.storage import Channel
from vla_ros.errors import BagError, ConfigError

_RULE = '=' * 80  # stands between the definitions of one text
_HEAD = 4  # [byte] of CDR before the first field
_FIELD = re.compile(r'^\s*([A-Za-z]\w*(?:/\w+)*)(?:<=\d+)?(?:\[[<=\d]*\])?\s+\w+')
_PLAIN = {
    'bool', 'byte', 'char', 'float32', 'float64', 'int8', 'uint8', 'int16', 'uint16', 'int32',
    'uint32', 'int64', 'uint64', 'string', 'wstring',
}  # fmt: skip


def installed(kind: str) -> str:
    """Return the definition of a type followed by those of every type it uses.

    This is what MCAP calls `ros2msg`: parts between rules, each headed by its name.

    Args:
        kind: 'pkg/msg/Name'.

    Raises:
        BagError: No installed package defines it, nor does the standard.
    """
    parts, waiting, seen = [], [kind], {kind}
    while waiting:
        name = waiting.pop(0)
        text = _single(name)
        package = name.split('/')[0]
        head = '' if name == kind else f'{_RULE}\nMSG: {_short(name)}\n'
        parts.append(head + text.rstrip('\n') + '\n')
        for used in _used(text, package):
            if used not in seen:
                seen.add(used)
                waiting.append(used)
    return ''.join(parts)


def digest(kind: str, text: str) -> str:
    """Return the hash that ROS 2 gives a type, by its definition and those it uses (REP 2016)."""
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(text, kind))
    return store.hash_rihs01(kind)


def _short(kind: str) -> str:
    package, *_, name = kind.split('/')
    return f'{package}/{name}'


def _used(text: str, package: str) -> list[str]:
    names = []
    for line in text.splitlines():
        match = _FIELD.match(line.split('#')[0])
        if match and match[1] not in _PLAIN:
            where, _, name = match[1].rpartition('/')
            where = where.split('/')[0] or ('std_msgs' if name == 'Header' else package)
            names.append(f'{where}/msg/{name}')
    return names


def _single(kind: str) -> str:
    """Return the text of one definition, from the file that a package installs, if there is."""
    package, *_, name = kind.split('/')
    folders = [Path(p) for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    files = [p / 'share' / package / 'msg' / f'{name}.msg' for p in (*folders, Path(sys.prefix))]
    if package == 'vla_ros_msgs':
        with suppress(ConfigError):  # installed without a checkout
            files.insert(0, paths.share() / 'msg' / 'msg' / f'{name}.msg')
    for file in files:
        if file.is_file():
            return file.read_text(encoding='utf-8')
    store = get_typestore(Stores.LATEST)
    if kind in store.fielddefs:
        return store.generate_msgdef(kind, ros_version=2)[0].split(_RULE)[0]
    raise BagError(
        f"type '{kind}' is defined by no installed package: install '{package}' or source its "
        'workspace.'
    )


class Types:
    """Turns stored bytes into messages, each by the definition that its file gives, if any."""

    def __init__(self) -> None:
        self._readers: dict[Channel, Callable[[bytes], Any] | str] = {}
        self._texts: dict[str, Typestore] = {}
        self._standard: Typestore | None = None

    def reader(self, channel: Channel) -> Callable[[bytes], Any] | str:
        """Return what reads a channel's messages, or the reason why nothing can."""
        if channel not in self._readers:
            self._readers[channel] = self._make(channel)
        return self._readers[channel]

    def _make(self, channel: Channel) -> Callable[[bytes], Any] | str:
        kind = channel.type
        if channel.encoding != 'cdr':
            return f"its messages are encoded as '{channel.encoding}', expected cdr"
        try:
            store = self._of_text(channel) if channel.definition else self._of_name(kind)
            definition = store.get_msgdef(kind)
        except Exception as error:  # the parser's errors have no common root
            return f"the definition of '{kind}' cannot be used ({type(error).__name__}: {error})"

        def read(data: bytes) -> Any:
            if len(data) < _HEAD or data[0] != 0 or data[1] > 1:
                raise ValueError(f"it begins with '{data[:_HEAD].hex(' ')}', expected CDR")
            decode = definition.deserialize_cdr_le if data[1] else definition.deserialize_cdr_be
            # Bytes may follow: serialisers keep room to align what an empty array does not hold.
            return decode(memoryview(data)[_HEAD:], 0, definition.cls, store)[0]

        return read

    def _of_text(self, channel: Channel) -> Typestore:
        """Return a store of this text alone: two files may define one type differently."""
        if channel.definition not in self._texts:
            store = get_typestore(Stores.EMPTY)
            if channel.language == 'ros2idl':
                store.register(get_types_from_idl(channel.definition))
            else:
                store.register(get_types_from_msg(channel.definition, channel.type))
            self._texts[channel.definition] = store
        return self._texts[channel.definition]

    def _of_name(self, kind: str) -> Typestore:
        if self._standard is None:
            self._standard = get_typestore(Stores.LATEST)
        if kind not in self._standard.fielddefs:
            types = get_types_from_msg(installed(kind), kind)
            known = self._standard.fielddefs
            self._standard.register({k: v for k, v in types.items() if k not in known})
        return self._standard
