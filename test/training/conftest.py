"""Training needs torch; where it is missing, nothing of this folder is collected."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
import sys

import pytest

import vla_ros.sim  # noqa: F401  chooses how MuJoCo draws, before a test imports MuJoCo

sys.path.insert(0, str(Path(__file__).parent))
HAVE = all(find_spec(name) for name in ('torch', 'transformers'))
collect_ignore_glob = [] if HAVE else ['test_*.py']


@pytest.fixture(autouse=True)
def _all_by(one_thread):
    """Every test here."""
