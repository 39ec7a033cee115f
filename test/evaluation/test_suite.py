"""Episodes of a suite are repeatable, its own, and the controls change what they say."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.suite import (
    load_suite,
    MOST_EPISODES,
    other_instruction,
    other_scene,
    Suite,
)
from vla_ros.sim.tasks import NOUNS

SUITE = load_suite('tabletop')


def test_episodes_take_the_tasks_in_turn_and_repeat_with_the_seed() -> None:
    episodes = SUITE.episodes(8, 3)
    assert [e.task for e in episodes] == 2 * list(SUITE.tasks)
    assert episodes == SUITE.episodes(8, 3)
    assert {e.seed for e in episodes}.isdisjoint(e.seed for e in SUITE.episodes(8, 4))
    assert min(e.seed for e in SUITE.episodes(8, 0)) >= SUITE.first_seed


def test_other_scene_moves_the_same_objects() -> None:
    for episode in SUITE.episodes(20, 0):
        other = other_scene(episode)
        assert other.instruction == episode.instruction
        ours, theirs = episode.layout.objects, other.layout.objects
        assert [(o.shape, o.colour) for o in ours] == [(o.shape, o.colour) for o in theirs]
        assert not np.allclose(ours[0].position, theirs[0].position)


def test_other_instruction_names_another_object_of_the_scene() -> None:
    for episode in SUITE.episodes(40, 0):
        other = other_instruction(episode)
        assert other.layout == episode.layout
        assert other.target != episode.target
        chosen = other.layout.objects[other.target]
        words = other.instruction.split()
        assert chosen.colour in words or set(NOUNS[chosen.shape]) & set(words)
        if episode.task == 'push':
            same = [w in other.instruction.split() for w in ('left', 'right')]
            assert same == [w in episode.instruction.split() for w in ('left', 'right')]


@pytest.mark.parametrize(('count', 'seed'), [(0, 0), (1, -1), (MOST_EPISODES + 1, 0)])
def test_counts_and_seeds_out_of_range_are_refused(count: int, seed: int) -> None:
    with pytest.raises(ConfigError, match='expected 1 to'):
        SUITE.episodes(count, seed)


def test_unknown_names_list_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tabletop'"):
        load_suite('tabeltop')
    with pytest.raises(UnknownNameError, match="Did you mean 'reach'"):
        Suite('x', ('reech',), 0)
