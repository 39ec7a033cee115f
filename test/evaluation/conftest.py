"""One good episode, to be varied."""

from __future__ import annotations

import pytest

from vla_ros.evaluation.metrics import Outcome


@pytest.fixture
def outcome() -> Outcome:
    """Return a reach that succeeded in 40 steps."""
    return Outcome(
        task='reach', instruction='reach the ball', seed=1, success=True, seconds=2.0, steps=40,
        chunks=4, first_object='ball', named_object='ball', collision=False, control_ticks=400,
        filtered_ticks=30, braked_ticks=10, max_safety_level=1, min_barrier=0.02,
    )  # fmt: skip
