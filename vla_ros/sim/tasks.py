"""The tabletop tasks: what is asked, in which words, and when it is done."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_ros.errors import SimulationError, UnknownNameError
from vla_ros.sim.layout import (
    HALF_WIDTH,
    Layout,
    PLATE_RADIUS,
    push_is_clear,
    REST_HEIGHT,
    sample_layout,
    SHAPES,
)
from vla_ros.types import Array

NOUNS = {
    'cube': ('cube', 'block', 'box'),
    'cylinder': ('cylinder', 'can'),
    'ball': ('ball', 'sphere'),
}
DIRECTIONS = {'left': (0.0, 1.0), 'right': (0.0, -1.0)}  # seen by the robot, base frame

REACH_DISTANCE = 0.03  # [m] tool to surface
LIFT_HEIGHT = 0.08  # [m] of the object's centre above where it rested
PUSH_DISTANCE = 0.06  # [m] along the asked direction
SHOVED = 0.02  # [m] that what bears a stack may have been moved
STACKED = (SHAPES.index('cube'), SHAPES.index('cylinder'))  # a ball neither stays nor bears
SEQUENCES = 4  # stream of random numbers; one more for each new task would change published seeds


@dataclass(frozen=True)
class SceneState:
    """What the judge and the scripted expert see: the truth, at one instant."""

    tool: Array  # (3,) [m] tool centre point, base frame
    opening: float  # gripper, 0 closed to 1 open
    objects: Array  # (3, 3) [m] centres, in the order of SHAPES
    plate: Array  # (2,) [m]


@dataclass(frozen=True)
class Task:
    """A kind of request: its phrasings and its time limit."""

    name: str
    phrases: tuple[str, ...]  # with {object}; for a push {direction}, for a stack {other}
    time_limit: float  # [s]


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task(
            'reach',
            ('reach the {object}', 'go to the {object}', 'touch the {object}',
             'move to the {object}'),
            10.0,
        ),
        Task(
            'push',
            ('push the {object} to the {direction}', 'slide the {object} to the {direction}',
             'push the {object} {direction}', 'nudge the {object} {direction}'),
            20.0,
        ),
        Task(
            'pick',
            ('pick up the {object}', 'lift the {object}', 'grab the {object}',
             'take the {object}'),
            20.0,
        ),
        Task(
            'place',
            ('put the {object} on the plate', 'place the {object} on the plate',
             'set the {object} down on the plate', 'bring the {object} to the plate'),
            30.0,
        ),
        Task(
            'stack',
            ('stack the {object} on the {other}', 'put the {object} atop the {other}',
             'place the {object} on the {other}', 'set the {object} down on the {other}'),
            40.0,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Episode:
    """One seeded request over one scene."""

    task: str
    layout: Layout
    target: int  # index into layout.objects
    instruction: str
    direction: tuple[float, float]  # of a push, base frame; zeros otherwise
    seed: int
    then: Episode | None = None  # what is asked next, over the same scene, once this is done

    @property
    def requests(self) -> tuple[Episode, ...]:
        """This request and those after it."""
        return (self, *(self.then.requests if self.then is not None else ()))

    @property
    def time_limit(self) -> float:
        """Time after which the episode has failed [s]."""
        return TASKS[self.task].time_limit

    @property
    def target_shape(self) -> str:
        """Shape of the named object."""
        return SHAPES[self.target]

    @property
    def support(self) -> int | None:
        """Index of the object that is to bear the target of a stack."""
        return support_of(self.target) if self.task == 'stack' else None


def targets(task: str) -> tuple[int, ...]:
    """Return which objects a task may be about, as indices into SHAPES."""
    return STACKED if task == 'stack' else tuple(range(len(SHAPES)))


def support_of(target: int) -> int:
    """Return what bears a target: the other one of STACKED."""
    return STACKED[1 - STACKED.index(target)]


def sample_episode(task: str, seed: int) -> Episode:
    """Draw the episode that belongs to a task and a seed: the same one every time.

    Raises:
        UnknownNameError: There is no such task.
    """
    if task not in TASKS:
        raise UnknownNameError('task', task, TASKS)
    rng = np.random.default_rng([seed, sorted(TASKS).index(task)])
    while True:
        layout = sample_layout(rng)
        target = int(rng.choice(targets(task)))
        word = str(rng.choice(sorted(DIRECTIONS)))
        direction = DIRECTIONS[word] if task == 'push' else (0.0, 0.0)
        if task != 'push' or push_is_clear(layout, target, np.array(direction)):
            break
    return Episode(task, layout, target, phrase(task, layout, target, word, rng), direction, seed)


def sample_sequence(tasks: tuple[str, ...], seed: int) -> Episode:
    """Draw an episode whose requests follow each other, the same one every time.

    What was picked up stays the target; any other request is about an object that was not yet
    touched, and so is what bears a stack. A push must be clear of all other things where they
    lie at the beginning.

    Raises:
        UnknownNameError: There is no such task.
        SimulationError: A sequence has more requests than the table has objects for.
    """
    for attempt in range(1000):
        rng = np.random.default_rng([seed, SEQUENCES, attempt])
        first = sample_episode(tasks[0], int(rng.integers(2**31)))
        requests = [replace(first, seed=seed)]
        for task in tasks[1:]:
            before = requests[-1]
            used = {index for r in requests for index in (r.target, r.support)}
            held = before.task == 'pick'
            free = [before.target] if held else [i for i in targets(task) if i not in used]
            if task == 'stack':
                free = [i for i in free if i in STACKED and support_of(i) not in used]
            if not free:
                break
            target = before.target if held else int(rng.choice(free))
            word = str(rng.choice(sorted(DIRECTIONS)))
            direction = DIRECTIONS[word] if task == 'push' else (0.0, 0.0)
            if task == 'push' and not push_is_clear(first.layout, target, np.array(direction)):
                break
            text = phrase(task, first.layout, target, word, rng)
            requests.append(Episode(task, first.layout, target, text, direction, seed))
        if len(requests) == len(tasks):
            episode = requests.pop()
            while requests:
                episode = replace(requests.pop(), then=episode)
            return episode
    raise SimulationError(
        f'no scene fits the requests {", ".join(tasks)}: expected fewer of them.'
    )


def phrase(task: str, layout: Layout, target: int, word: str, rng: np.random.Generator) -> str:
    """Name things by colour, by shape or by both, in one of the task's phrasings."""
    name = _name(layout, target, rng)
    template = str(rng.choice(TASKS[task].phrases))
    other = _name(layout, support_of(target), rng) if task == 'stack' else ''
    return template.format(object=name, direction=word, other=other)


def _name(layout: Layout, index: int, rng: np.random.Generator) -> str:
    chosen = layout.objects[index]
    noun = str(rng.choice(NOUNS[chosen.shape]))
    return str(rng.choice([f'{chosen.colour} {noun}', noun, f'{chosen.colour} object']))


def surface_distance(shape: str, centre: Array, point: Array) -> float:
    """Return the distance [m] from a point to an upright object's surface, 0 inside.

    A cube counts as aligned with the base frame: its yaw, at most 0.3 rad, changes the distance
    by less than 10 mm.
    """
    offset = point - centre
    if shape == 'ball':
        return max(0.0, float(np.linalg.norm(offset)) - HALF_WIDTH['ball'])
    if shape == 'cylinder':
        radial = float(np.hypot(offset[0], offset[1])) - HALF_WIDTH['cylinder']
        beyond = np.array([radial, abs(offset[2]) - REST_HEIGHT['cylinder']])
    else:
        beyond = np.abs(offset) - HALF_WIDTH['cube']
    return float(np.linalg.norm(np.maximum(beyond, 0.0)))


def succeeded(episode: Episode, state: SceneState) -> bool:
    """Tell whether the task is done at this instant; the caller asks for it to last."""
    centre = state.objects[episode.target]
    shape = episode.target_shape
    start = np.array(episode.layout.objects[episode.target].position)
    if episode.task == 'reach':
        return surface_distance(shape, centre, state.tool) < REACH_DISTANCE
    if episode.task == 'push':
        travelled = (centre[:2] - start) @ np.array(episode.direction)
        return bool(travelled > PUSH_DISTANCE and centre[2] < REST_HEIGHT[shape] + 0.02)
    if episode.task == 'pick':
        near = surface_distance(shape, centre, state.tool) < 0.02
        return bool(near and centre[2] > REST_HEIGHT[shape] + LIFT_HEIGHT)
    if episode.support is not None:
        stood = episode.layout.objects[episode.support].position
        shoved = np.linalg.norm(state.objects[episode.support, :2] - stood) > SHOVED
        return stacked(episode, state) and state.opening > 0.75 and not bool(shoved)
    on_plate = np.linalg.norm(centre[:2] - state.plate) < PLATE_RADIUS - 0.01
    resting = abs(centre[2] - REST_HEIGHT[shape]) < 0.015
    released = state.opening > 0.75
    return bool(on_plate and resting and released)


def stack_height(shape: str, support: str) -> float:
    """Return the height [m] of a shape's centre above that of the shape which bears it."""
    return REST_HEIGHT[support] + REST_HEIGHT[shape]


def stacked(episode: Episode, state: SceneState) -> bool:
    """Tell whether the target of a stack stands on its support, held or not."""
    support = support_of(episode.target)
    offset = state.objects[episode.target] - state.objects[support]
    height = stack_height(episode.target_shape, SHAPES[support])
    above = np.linalg.norm(offset[:2]) < HALF_WIDTH[SHAPES[support]]
    return bool(above and abs(offset[2] - height) < 0.01)
