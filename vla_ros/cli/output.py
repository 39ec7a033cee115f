"""Where a verb writes: a console for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
import json
import math
from pathlib import Path
import sys
from typing import Any

from rich.console import Console


class Output:
    """Where a verb speaks to people (`console`) and to programs (`write`)."""

    def __init__(self, path: str | None) -> None:
        """Take the value of `--json`; '-' reserves standard output for the JSON."""
        self.path = path
        self.console = Console(stderr=path == '-', highlight=False)

    def write(self, result: Mapping[str, Any]) -> None:
        """Write the verb's result where `--json` asked for it."""
        if self.path is None:
            return
        text = json.dumps(plain(result), indent=2, allow_nan=False)
        if self.path == '-':
            sys.stdout.write(text + '\n')
            sys.stdout.flush()
        else:
            Path(self.path).parent.mkdir(parents=True, exist_ok=True)
            Path(self.path).write_text(text + '\n', encoding='utf-8')


def plain(value: Any) -> Any:
    """Return a value as JSON knows it: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if hasattr(value, 'tolist'):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
