"""Layout descriptions that several adapters' tests share are importable by their file name."""

from __future__ import annotations

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))
