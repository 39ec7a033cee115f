"""Rows at one rate against a search through everything that was recorded."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.bags.alignment import align, Commands, Period, rising, ROUNDING, Settings, Tracks
from vla_ros.types import Trajectory

# Stamps on a lattice of 7 ms: none is so near to a row's time that rounding decides.
STAMPS = st.lists(st.integers(0, 600), min_size=1, max_size=60).map(
    lambda found: 0.007 * np.array(found)
)


def tracks(pictures, joints, **more) -> Tracks:
    positions = np.column_stack([np.sin(joints), np.cos(joints), np.round(joints, 1)])
    return Tracks({'eye': pictures}, joints, positions, **more)


def newest(stamps, t) -> int:
    """Return the newest stamp at or before t, of those that rise, by looking at each."""
    best, highest = -1, -np.inf
    for index, stamp in enumerate(stamps):
        if stamp > highest:
            highest = stamp
            best = index if stamp <= t + ROUNDING else best
    return best


@settings(max_examples=150)
@given(STAMPS, STAMPS, st.integers(2, 40), st.floats(0.02, 0.5))
def test_rows_are_what_a_search_finds(pictures, joints, rate, max_age):
    joints = np.unique(joints)
    given = tracks(pictures, joints)
    made = align(given, Settings(rate=rate, max_age=max_age, shortest=0.0), 'go')
    start = max(pictures[0], joints[0])
    expected = []
    for k in range(int((joints[-1] - start + ROUNDING) * rate) + 1):
        t = start + k / rate
        picture, joint = newest(pictures, t), newest(joints, t)
        after = joints[joints >= t - ROUNDING]
        fresh = (
            t <= joints[-1] + ROUNDING
            and picture >= 0 and t - pictures[picture] <= max_age + ROUNDING
            and t - joints[joint] <= max_age + ROUNDING
            and len(after) and after[0] - t <= max_age + ROUNDING
        )  # fmt: skip
        expected.append((t, picture, joint) if fresh else None)
    cut: list[list] = [[]]
    for row in expected:
        if row is None:
            cut.append([])
        else:
            cut[-1].append(row)
    kept = [part for part in cut if len(part) >= 2]
    assert [len(e) for e in made.episodes] == [len(part) for part in kept]
    for episode, part in zip(made.episodes, kept):
        np.testing.assert_allclose(episode.stamps, [t for t, _, _ in part], atol=1e-9)
        assert episode.pictures['eye'].tolist() == [picture for _, picture, _ in part]
        for row, (t, _, joint) in zip(episode.state, part):
            right = min(joint + 1, len(joints) - 1)
            gap = joints[right] - joints[joint]
            share = (t - joints[joint]) / gap if gap else 0.0
            line = (1 - share) * given.positions[joint] + share * given.positions[right]
            np.testing.assert_allclose(row[:2], line[:2], atol=1e-6)
            assert row[2] == given.positions[joint][2]  # a gripper is never between two


@given(STAMPS)
def test_what_rises_is_the_record_of_maxima(stamps):
    kept = rising(stamps)
    assert kept.tolist() == [k for k, s in enumerate(stamps) if k == 0 or s > max(stamps[:k])]


@settings(max_examples=50)
@given(st.integers(1, 60), st.integers(0, 1_000_000))
def test_todays_stamps_at_the_rows_rate_are_taken_one_by_one(rate, seconds):
    """Floats of a time of today are 0.24 us apart: a picture of the row's time is the row's."""
    stamps = 1.764e9 + seconds + np.arange(3 * rate + 2) / rate
    (episode,) = align(tracks(stamps, stamps), Settings(rate, 1.0, 0.0), 'go').episodes
    assert episode.pictures['eye'].tolist() == list(range(len(stamps)))


def test_an_episode_ends_where_pictures_fail_and_goes_on_as_another():
    joints = np.arange(0.0, 10.0, 0.01)
    pictures = np.concatenate([np.arange(0.0, 4.0, 0.1), np.arange(6.0, 10.0, 0.1)])
    made = align(tracks(pictures, joints), Settings(10, 0.2, 1.0), 'go')
    assert [len(e) for e in made.episodes] == [42, 40]  # 3.9 s stands for two rows more
    assert made.stale == {'eye': 18, 'joint_states': 0}
    assert made.episodes[1].stamps[0] == pytest.approx(6.0)


def test_tasks_bound_episodes_and_short_ones_are_counted():
    joints = np.arange(0.0, 10.0, 0.01)
    said = [(Period(1.0, 3.0), 'one'), (Period(4.0, 4.5), 'two'), (Period(5.0, 99.0), 'three')]
    marked = (Period(1.5, 1.7), Period(8.0, 8.1))
    made = align(
        tracks(np.arange(0.0, 10.0, 0.1), joints, tasks=said, interventions=marked),
        Settings(10, 0.2, 1.0), 'unused',
    )  # fmt: skip
    assert [e.task for e in made.episodes] == ['one', 'three']
    assert made.short == 1
    first, last = made.episodes
    assert first.stamps[[0, -1]] == pytest.approx([1.0, 3.0])
    assert last.stamps[-1] == pytest.approx(9.9)
    assert np.flatnonzero(first.intervention).tolist() == [5, 6]
    assert np.flatnonzero(last.intervention).tolist() == [30]


def test_without_commands_the_action_is_the_next_state():
    joints = np.arange(0.0, 5.0, 0.01)
    (episode,) = align(tracks(np.arange(0.0, 5.0, 0.1), joints), Settings(), 'go').episodes
    np.testing.assert_allclose(episode.action[:-1], episode.state[1:], atol=1e-12)


def test_commands_are_the_action_from_the_first_on():
    joints = np.arange(0.0, 5.0, 0.01)
    arm = [Trajectory(s, [0.02], [[s + 0.02, -s - 0.02]]) for s in np.arange(2.0, 5.0, 0.02)]
    grip = [Trajectory(2.5, [0.5], [[0.3]])]
    sent = Commands(np.arange(2), arm), Commands(np.array([2]), grip, held=True)
    (episode,) = align(
        tracks(np.arange(0.0, 5.0, 0.1), joints, commands=sent), Settings(), 'go'
    ).episodes
    before, after = episode.stamps < 1.99, episode.stamps > 2.05
    np.testing.assert_allclose(
        episode.action[before][:-1, :2], episode.state[before][1:, :2], atol=1e-9
    )
    t = episode.stamps[after]
    np.testing.assert_allclose(episode.action[after, :2], np.column_stack([t, -t]), atol=1e-9)
    closed = episode.stamps > 2.49
    assert (episode.action[closed, 2] == 0.3).all()


@pytest.mark.parametrize('empty', ['pictures', 'joints'])
def test_a_source_without_messages_gives_no_episode(empty):
    stamps = {'pictures': np.arange(5.0), 'joints': np.arange(5.0), empty: np.empty(0)}
    assert align(tracks(**stamps), Settings(), 'go').episodes == ()
