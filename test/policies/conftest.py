"""Layout descriptions that several adapters' tests share are importable by their file name."""

from __future__ import annotations

from pathlib import Path
import sys

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'models')]
