"""A log of episodes: a JSON line for each as it ends, so that a run goes on where it was cut."""

from __future__ import annotations

from collections.abc import Iterable
import json
from pathlib import Path
from typing import Any

from vla_ros.errors import ConfigError, LogError


class EpisodeLog:
    """A file whose first line says what is measured and whose others are episodes."""

    def __init__(self, path: Path | None, measured: dict[str, Any]) -> None:
        """Read what was played already, and drop a last line that was cut short.

        Args:
            path: Of the file; None keeps nothing.
            measured: What is to be measured.

        Raises:
            ConfigError: The file is of something else.
        """
        self._path = path
        self.entries: list[dict[str, Any]] = []  # as they were found
        if path is None:
            return
        head = json.loads(json.dumps(measured))
        lines = _whole_lines(path)
        if lines and lines[0].get('measured') != head:
            raise ConfigError(
                f'{path} holds the episodes of {lines[0].get("measured")}, expected {head}; name '
                'another file.'
            )
        self.entries = lines[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        if lines:  # what is there stays where it is: a full disk must not cost it
            with path.open('r+b') as file:
                file.truncate(file.read().rfind(b'\n') + 1)
        else:
            path.write_text('')
            self.add([{'measured': head}])

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        """Keep episodes that have ended.

        Raises:
            LogError: The disk has no room; what was kept before stays.
        """
        if self._path is None:
            return
        try:
            with self._path.open('a') as file:
                file.writelines(json.dumps(entry) + '\n' for entry in entries)
        except OSError as error:
            raise LogError(
                f'cannot keep an episode in {self._path}: {error.strerror}. Those before it are '
                'kept: make room, then give the same command again.'
            ) from error


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text() if path.exists() else ''
    try:
        return [json.loads(line) for line in text[: text.rfind('\n') + 1].splitlines()]
    except ValueError as error:
        raise ConfigError(f'{path} is no log of episodes: {error}; name another file.') from error
