"""Jobs that worker processes play, some of which end their worker."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import signal


def player_of(folder: str) -> Callable[[int], int]:
    """Squares numbers; a file in the folder named for one says how many workers it still ends."""

    def play(number: int) -> int:
        fuse = Path(folder) / str(number)
        left = int(fuse.read_text()) if fuse.exists() else 0
        if left > 0:
            fuse.write_text(str(left - 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return number**2

    return play
