"""Requests and their judge: one object is meant, distances are true, success is what it says."""

from __future__ import annotations

from dataclasses import replace
import re

import coal
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros.errors import SimulationError, UnknownNameError
from vla_ros.sim import scene
from vla_ros.sim.layout import (
    COLOURS,
    HALF_WIDTH,
    push_is_clear,
    REST_HEIGHT,
    sample_layout,
    SHAPES,
)
from vla_ros.sim.tasks import (
    DIRECTIONS,
    Episode,
    NOUNS,
    sample_episode,
    sample_sequence,
    SceneState,
    succeeded,
    support_of,
    surface_distance,
    targets,
    TASKS,
)

SEEDS = st.integers(0, 2**62)
TASK = st.sampled_from(sorted(TASKS))


def meant(instruction: str, episode: Episode) -> list[int]:
    """Return the objects that a listener would find by the words alone."""
    words = set(re.findall('[a-z]+', instruction))
    found = []
    for index, item in enumerate(episode.layout.objects):
        nouns = {noun for shape, names in NOUNS.items() for noun in names if noun in words}
        colours = words & set(COLOURS)
        named = not nouns or bool(nouns & set(NOUNS[item.shape]))
        painted = not colours or item.colour in colours
        if (nouns or colours) and named and painted:
            found.append(index)
    return found


@given(TASK, SEEDS)
def test_the_sentence_means_exactly_one_object_and_one_direction(task, seed):
    episode = sample_episode(task, seed)
    assert '{' not in episode.instruction
    named, other = (re.split(' on | atop ', episode.instruction) + [''])[:2]
    assert meant(named, episode) == [episode.target]
    support = [] if episode.support is None else [episode.support]
    assert meant(other, episode) == support
    words = set(episode.instruction.split()) & set(DIRECTIONS)
    if task == 'push':
        assert {DIRECTIONS[w] for w in words} == {episode.direction}
        assert push_is_clear(episode.layout, episode.target, np.array(episode.direction))
    else:
        assert not words
        assert episode.direction == (0.0, 0.0)
    assert ('plate' in episode.instruction) == (task == 'place')


@given(TASK, SEEDS)
@settings(max_examples=30)
def test_the_same_seed_asks_the_same(task, seed):
    assert sample_episode(task, seed) == sample_episode(task, seed)
    assert sample_episode(task, seed) != sample_episode(task, seed + 1)


@pytest.mark.parametrize('task', TASKS)
def test_every_phrase_name_target_and_direction_occurs(task):
    episodes = [sample_episode(task, seed) for seed in range(300)]
    for template in TASKS[task].phrases:
        pattern = re.sub(r'{\w+}', r'[a-z ]+', template)
        assert any(re.fullmatch(pattern, e.instruction) for e in episodes), template
    said = ' '.join(e.instruction for e in episodes)
    shapes = {SHAPES[index] for index in targets(task)}
    words = {n for shape in shapes for n in NOUNS[shape]} | set(COLOURS) | {'object'}
    assert words <= set(said.split())
    assert {e.target for e in episodes} == set(targets(task))
    wanted = set(DIRECTIONS.values()) if task == 'push' else {(0.0, 0.0)}
    assert {e.direction for e in episodes} == wanted


def test_tasks_with_the_same_seed_have_tables_of_their_own():
    layouts = [sample_episode(task, 5).layout for task in sorted(TASKS)]
    assert all(a != b for i, a in enumerate(layouts) for b in layouts[i + 1 :])


def test_an_unknown_task_names_the_closest():
    with pytest.raises(UnknownNameError, match="Did you mean 'place'"):
        sample_episode('plce', 0)


def body(shape: str) -> coal.ShapeBase:
    half = scene.SHAPES[shape][1]
    if shape == 'cube':
        return coal.Box(*(2.0 * h for h in half))
    return coal.Cylinder(half[0], 2.0 * half[1]) if shape == 'cylinder' else coal.Sphere(half[0])


@given(st.sampled_from(SHAPES), st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3))
@settings(max_examples=300)
def test_surface_distance_agrees_with_coal(shape, offset):
    centre = np.array([0.5, -0.1, 0.3])
    point = coal.Sphere(1e-9)
    here = coal.Transform3s(np.eye(3), centre)
    there = coal.Transform3s(np.eye(3), centre + offset)
    expected = coal.distance(
        body(shape), here, point, there, coal.DistanceRequest(), coal.DistanceResult()
    )
    found = surface_distance(shape, centre, centre + offset)
    assert found == pytest.approx(max(0.0, expected), abs=2e-6)


@given(st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3), st.floats(-np.pi, np.pi))
@settings(max_examples=100)
def test_the_yaw_of_a_cube_changes_the_distance_by_less_than_10_mm(offset, yaw):
    turned = np.array([
        [np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0],
    ])  # fmt: skip
    true = surface_distance('cube', np.zeros(3), turned.T @ offset)
    assert abs(surface_distance('cube', np.zeros(3), np.array(offset)) - true) < 0.0092


def scene_of(episode: Episode, tool=(0.3, 0.0, 0.4), opening: float = 1.0) -> SceneState:
    """Return the state in which the episode begins."""
    objects = np.array([[*o.position, REST_HEIGHT[o.shape]] for o in episode.layout.objects])
    return SceneState(np.array(tool), opening, objects, np.array(episode.layout.plate))


def moved(state: SceneState, target: int, to) -> SceneState:
    objects = state.objects.copy()
    objects[target] = to
    return replace(state, objects=objects)


@given(TASK, SEEDS)
def test_no_task_is_done_when_it_begins(task, seed):
    episode = sample_episode(task, seed)
    assert not succeeded(episode, scene_of(episode))


@given(TASK, SEEDS)
def test_what_befalls_another_object_is_no_success(task, seed):
    episode = sample_episode(task, seed)
    state = scene_of(episode)
    plate, push = np.array(episode.layout.plate), np.array(episode.direction)
    for other in {0, 1, 2} - {episode.target}:
        start, rest = state.objects[other], REST_HEIGHT[SHAPES[other]]
        done = {
            'reach': start,
            'push': [*(start[:2] + 0.1 * push), rest],
            'pick': start + [0.0, 0.0, 0.15],
            'place': [*plate, rest],
            'stack': state.objects[episode.target] + [0.0, 0.0, 0.047],
        }[task]
        assert not succeeded(episode, replace(moved(state, other, done), tool=np.array(done)))


@pytest.mark.parametrize('seed', range(6))
def test_reach_is_the_distance_to_the_surface(seed):
    episode = sample_episode('reach', seed)
    state = scene_of(episode)
    top = state.objects[episode.target] + [0, 0, REST_HEIGHT[episode.target_shape]]
    for gap, done in ((0.0, True), (0.029, True), (0.031, False)):
        assert succeeded(episode, replace(state, tool=top + [0.0, 0.0, gap])) is done


@pytest.mark.parametrize('seed', range(6))
def test_push_counts_the_asked_direction_on_the_table(seed):
    episode = sample_episode('push', seed)
    state, direction = scene_of(episode), np.array([*episode.direction, 0.0])
    start, aside = state.objects[episode.target], np.array([1.0, 0.0, 0.0])

    def after(shift):
        return succeeded(episode, moved(state, episode.target, start + shift))

    assert after(0.061 * direction)
    assert after(0.061 * direction + 0.05 * aside)
    assert not after(0.059 * direction)
    assert not after(-0.1 * direction)
    assert not after(0.1 * aside)
    assert not after(0.1 * direction + [0.0, 0.0, 0.021])  # carried, not pushed


@pytest.mark.parametrize('seed', range(6))
def test_pick_needs_height_and_a_hand(seed):
    episode = sample_episode('pick', seed)
    state = scene_of(episode, opening=0.5)
    start = state.objects[episode.target]
    for height, done in ((0.081, True), (0.079, False)):
        lifted = moved(state, episode.target, start + [0.0, 0.0, height])
        held = replace(lifted, tool=start + [0.0, 0.0, height])
        assert succeeded(episode, held) is done
    thrown = moved(state, episode.target, start + [0.0, 0.0, 0.2])
    assert not succeeded(episode, replace(thrown, tool=start))


@pytest.mark.parametrize('seed', range(6))
def test_place_needs_the_plate_rest_and_release(seed):
    episode = sample_episode('place', seed)
    state, rest = scene_of(episode), REST_HEIGHT[episode.target_shape]

    def after(offset, height, opening=1.0):
        to = [*(state.plate + offset), rest + height]
        there = moved(state, episode.target, to)
        return succeeded(episode, replace(there, opening=opening))

    assert after([0.0, 0.0], 0.006)
    assert after([0.049, 0.0], 0.006)
    assert not after([0.051, 0.0], 0.006)
    assert not after([0.0, 0.0], 0.016)
    assert not after([0.0, 0.0], 0.006, opening=0.74)


@pytest.mark.parametrize('seed', range(6))
def test_stack_needs_a_support_that_stays_and_release(seed):
    episode = sample_episode('stack', seed)
    assert {episode.target_shape, SHAPES[episode.support]} == {'cube', 'cylinder'}
    state = scene_of(episode)
    top = state.objects[episode.support] + [0.0, 0.0, 0.022 + 0.025]

    def after(offset, shove=0.0, opening=1.0):
        along = np.array([shove, 0.0, 0.0])
        there = moved(state, episode.target, top + offset + along)
        there = moved(there, episode.support, state.objects[episode.support] + along)
        return succeeded(episode, replace(there, opening=opening))

    width = HALF_WIDTH[SHAPES[episode.support]]
    assert after([0.0, 0.0, 0.0])
    assert after([0.0, width - 0.001, 0.009])
    assert not after([0.0, width + 0.001, 0.0])
    assert not after([0.0, 0.0, 0.011])  # held above it
    assert not after([0.0, 0.0, -0.047])
    assert not after([0.0, 0.0, 0.0], opening=0.74)
    assert after([0.0, 0.0, 0.0], shove=0.019)
    assert not after([0.0, 0.0, 0.0], shove=0.021)


def test_only_what_stays_bears_and_is_borne():
    assert {SHAPES[index] for index in targets('stack')} == {'cube', 'cylinder'}
    for index in targets('stack'):
        assert support_of(index) != index == support_of(support_of(index))


def test_the_episodes_of_the_first_four_tasks_are_those_of_published_figures():
    """Draw them as they were drawn before there were more tasks: by fixed numbers of streams."""
    for number, task in enumerate(('pick', 'place', 'push', 'reach')):
        for seed in range(20):
            rng = np.random.default_rng([seed, number])
            while True:
                layout = sample_layout(rng)
                target, word = int(rng.integers(3)), str(rng.choice(['left', 'right']))
                sweep = np.array(DIRECTIONS[word])
                if task != 'push' or push_is_clear(layout, target, sweep):
                    break
            episode = sample_episode(task, seed)
            assert (episode.layout, episode.target) == (layout, target)
    for seed in range(20):
        attempts = [
            sample_episode('reach', int(np.random.default_rng([seed, 4, k]).integers(2**31)))
            for k in range(20)
        ]
        assert sample_sequence(('reach', 'pick'), seed).layout == attempts[0].layout
        assert sample_sequence(('reach', 'push'), seed).layout in [a.layout for a in attempts]


@pytest.mark.parametrize(
    'tasks',
    [('reach', 'pick'), ('pick', 'place'), ('place', 'push', 'reach'), ('pick', 'stack'),
     ('reach', 'stack'), ('stack', 'pick')],
)  # fmt: skip
def test_a_sequence_asks_for_things_that_still_lie_where_they_lay(tasks: tuple[str, ...]) -> None:
    for seed in range(30):
        episode = sample_sequence(tasks, seed)
        assert episode == sample_sequence(tasks, seed)
        requests = episode.requests
        assert tuple(r.task for r in requests) == tasks
        assert {(r.seed, r.layout) for r in requests} == {(seed, episode.layout)}
        chosen = [r.target for r in requests]
        assert len(set(chosen)) == (1 if tasks[0] == 'pick' else len(tasks))
        assert {r.support for r in requests}.isdisjoint(chosen)
        for request in requests:
            if request.task == 'push':
                direction = np.array(request.direction)
                assert push_is_clear(request.layout, request.target, direction)


def test_a_sequence_too_long_for_the_table_is_refused() -> None:
    with pytest.raises(SimulationError, match='expected fewer'):
        sample_sequence(('reach', 'reach', 'reach', 'reach'), 0)
