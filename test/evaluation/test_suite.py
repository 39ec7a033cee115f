"""Episodes of a suite are repeatable, its own, and the controls change what they say."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.evaluation.rollout import LATENCY
from vla_ros.evaluation.suite import (
    load_suite,
    MOST_EPISODES,
    other_instruction,
    other_scene,
    Suite,
    Trial,
)
from vla_ros.sim.layout import SHAPES
from vla_ros.sim.tasks import NOUNS

SUITE = load_suite('tabletop')
FOUR = load_suite('perturbed')
FILES = sorted((paths.share() / 'config' / 'suites').glob('*.yaml'))


@pytest.mark.parametrize('file', FILES, ids=lambda file: file.stem)
def test_every_suite_has_episodes_and_trials(file: Path) -> None:
    suite = load_suite(file.stem)
    assert suite.name == file.stem
    assert suite.first_seed >= 10**9  # demonstrations stay below
    assert len(set(suite.trials)) == len(set(map(str, suite.trials))) == len(suite.trials) >= 1
    assert suite.trials[0] in (Trial('none'), Trial('latency', LATENCY))
    episodes = suite.episodes(8, 1)
    assert episodes == suite.episodes(8, 1)
    turns = suite.sequences or [(task,) for task in suite.tasks]
    asked = [tuple(request.task for request in episode.requests) for episode in episodes]
    assert asked == [turns[i % len(turns)] for i in range(8)]
    if not suite.sequences and suite.tasks == FOUR.tasks:
        assert episodes == FOUR.episodes(8, 1), 'suites of the same tasks play the same episodes'


@pytest.mark.parametrize(
    ('keys', 'message'),
    [
        ({'perturbations': ('camra',), 'severities': (1,)}, "Did you mean 'camera'"),
        ({'perturbations': ('camera',)}, 'expected severities'),
        ({'perturbations': ('camera',), 'severities': (0,)}, 'expected 1 to 5'),
        ({'latencies': (-0.1,)}, 'expected 0 to 5 s'),
        ({'hazards': ('besides',), 'severities': (1,)}, "Did you mean 'beside'"),
        ({'sequences': (('reach', 'pik'),)}, "Did you mean 'pick'"),
        ({'hazards': ('on',), 'severities': (1,), 'latencies': (0.1,)}, 'expected one of them'),
        ({'hazards': ('on',)}, 'expected severities'),
        ({'hazards': ('on',), 'severities': (3,)}, 'expected 1 to 2'),
    ],
)
def test_a_suite_that_cannot_be_played_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Suite('x', ('reach',), 10**9, **keys)


def test_episodes_take_the_tasks_in_turn_and_repeat_with_the_seed() -> None:
    count = 2 * len(SUITE.tasks)
    episodes = SUITE.episodes(count, 3)
    assert [e.task for e in episodes] == 2 * list(SUITE.tasks)
    assert episodes == SUITE.episodes(count, 3)
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


def test_the_other_instruction_of_a_stack_turns_it_round() -> None:
    for episode in Suite('stacks', ('stack',), 10**9).episodes(20, 0):
        other = other_instruction(episode)
        assert (other.target, other.support) == (episode.support, episode.target)
        named, bearing = (set(NOUNS[SHAPES[i]]) for i in (other.target, episode.target))
        colours = [episode.layout.objects[i].colour for i in (other.target, episode.target)]
        first, last = re.split(' on | atop ', other.instruction)
        assert colours[0] in first or named & set(first.split())
        assert colours[1] in last or bearing & set(last.split())


@pytest.mark.parametrize(('count', 'seed'), [(0, 0), (1, -1), (MOST_EPISODES + 1, 0)])
def test_counts_and_seeds_out_of_range_are_refused(count: int, seed: int) -> None:
    with pytest.raises(ConfigError, match='expected 1 to'):
        SUITE.episodes(count, seed)


def test_unknown_names_list_the_closest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tabletop'"):
        load_suite('tabeltop')
    with pytest.raises(UnknownNameError, match="Did you mean 'reach'"):
        Suite('x', ('reech',), 0)
