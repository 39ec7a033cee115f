"""A folder that changes all at once: what is killed half-way leaves the old one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import shutil

from vla_ros.errors import BagError


class Staging:
    """A copy beside a folder that takes its place when it is published; a context manager.

    Files are linked, not copied: one is replaced by writing another of its name with `text`, and
    never changed in place.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing happens yet.

        Args:
            folder: The folder to change; it need not exist.
        """
        self.folder = Path(os.path.abspath(folder))
        self.path = self.folder.with_name(f'.{self.folder.name}.next')
        self._before = self.folder.with_name(f'.{self.folder.name}.before')
        self._lock: int | None = None

    def __enter__(self) -> Staging:
        """Take the folder for this process, and put right what a killed one left.

        Raises:
            BagError: Another process is at it.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.folder.with_name(f'.{self.folder.name}.lock'), os.O_CREAT)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(self._lock).st_nlink:
                raise OSError('its owner has just removed it')
        except OSError as error:
            self._unlock()
            raise BagError(
                f'another export writes to {self.folder}: wait until it has ended.'
            ) from error
        if self._before.exists() and not self.folder.exists():
            self._before.rename(self.folder)  # killed between the two renames of `publish`
        for left in (self._before, self.path):
            shutil.rmtree(left, ignore_errors=True)  # of one that was killed
        return self

    def copy(self) -> None:
        """Make the copy, empty where the folder is not there."""
        if self.folder.exists():
            shutil.copytree(self.folder, self.path, copy_function=_link)
        else:
            self.path.mkdir()

    def text(self, name: str, text: str) -> None:
        """Write a file of the copy anew."""
        self.fresh(name).write_text(text, encoding='utf-8')

    def fresh(self, name: str) -> Path:
        """Return the path of a file of the copy, ready to be written: what it was is unlinked."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        return file

    def publish(self) -> None:
        """Put the copy in the folder's place."""
        if self.folder.exists():
            self.folder.rename(self._before)
        self.path.rename(self.folder)
        shutil.rmtree(self._before, ignore_errors=True)

    def __exit__(self, *_: object) -> None:
        """Throw away a copy that was not published."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.folder.with_name(f'.{self.folder.name}.lock').unlink(missing_ok=True)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)
