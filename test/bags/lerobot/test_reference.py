"""The reference against a simulation that steps through time, one command after another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.bags.reference import held, reference
from vla_ros.types import Trajectory

POINT = st.tuples(st.integers(0, 40), st.integers(-5, 5))
COMMANDS = st.lists(
    st.tuples(st.integers(0, 100), st.lists(POINT, max_size=4, unique_by=lambda p: p[0])),
    min_size=1, max_size=8, unique_by=lambda c: c[0],
).map(lambda found: sorted((stamp, sorted(points)) for stamp, points in found))  # fmt: skip
TICK = 0.01  # [s]


def simulate(commands, start, ticks) -> list[float]:
    """Return the reference at each tick: each moves on towards the next point that is due."""
    place, path, seen = start, [], []
    for tick in range(ticks):
        for stamp, points in commands:
            if stamp == tick:
                path = [(stamp + wait, float(goal)) for wait, goal in points]
        due = [goal for when, goal in path if when == tick]
        place = due[-1] if due else place
        path = [(when, goal) for when, goal in path if when > tick]
        seen.append(place)
        if path:
            when, goal = path[0]
            place = place + (goal - place) / (when - tick)
    return seen


@settings(max_examples=200)
@given(COMMANDS)
def test_the_reference_is_what_a_controller_would_follow(commands):
    sent = [
        Trajectory(
            stamp * TICK,
            [wait * TICK for wait, _ in points],
            np.array([goal for _, goal in points], dtype=float).reshape(-1, 1),
        )
        for stamp, points in commands
    ]
    first = commands[0][0]
    expected = simulate(commands, 7.0, 160)[first:]
    times = TICK * np.arange(first, 160)
    found = reference(sent, np.array([7.0]), times)[:, 0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_late_command_of_the_past_changes_nothing():
    sent = [Trajectory(1.0, [1.0], [[1.0]]), Trajectory(0.5, [0.1], [[9.0]])]
    found = reference(sent, np.zeros(1), np.array([1.0, 1.5, 2.0, 3.0]))
    np.testing.assert_allclose(found[:, 0], [0.0, 0.5, 1.0, 1.0])


def test_a_gripper_command_is_held_and_never_between_two():
    sent = [Trajectory(0.0, [0.1, 0.2], [[0.04], [0.02]]), Trajectory(1.0, [0.5], [[0.0]])]
    found = held(sent, np.array([0.0, 0.05, 0.15, 0.9, 1.0, 5.0]))
    assert found[:, 0] == pytest.approx([0.04, 0.04, 0.02, 0.02, 0.0, 0.0])
