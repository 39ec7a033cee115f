"""Sentences said another way: the same request in words that no demonstration used."""

from __future__ import annotations

import re

import numpy as np

from vla_ros.errors import SimulationError
from vla_ros.sim.tasks import Episode, TASKS

OTHERWISE = {  # phrasings that the tasks do not have
    'reach': ('bring your hand next to the {object}', 'approach the {object}'),
    'push': ('shove the {object} over to the {direction}', 'make the {object} move {direction}'),
    'pick': ('raise the {object} off the table', 'hold the {object} up in the air'),
    'place': ('transfer the {object} onto the plate', 'the plate is where the {object} belongs'),
    'stack': ('transfer the {object} onto the {other}', 'the {other} is to bear the {object}'),
}
ASIDES = ('there is no hurry.', 'the table was cleaned this morning.', 'we are nearly done.')
DESCRIBED = {  # shapes by what they are like
    'cube': 'thing with six equal faces',
    'cylinder': 'thing shaped like a tin',
    'ball': 'perfectly round thing',
}


def reworded(episode: Episode, severity: int, rng: np.random.Generator) -> str:
    """Return the request in other words.

    Severity 1 adds 'please', 2 asks politely at length, 3 says it by another verb, 4 adds an
    aside about something else before that, 5 also names the object by what it is like.

    Raises:
        SimulationError: The sentence is none of the task's own.
    """
    sentence = episode.instruction
    other, aside = str(rng.choice(OTHERWISE[episode.task])), str(rng.choice(ASIDES))
    if severity == 0:
        return sentence
    if severity == 1:
        return f'please {sentence}'
    if severity == 2:
        return f'would you be so kind and {sentence} for me'
    words = spoken(episode)
    if severity == 5:
        thing = episode.layout.objects[episode.target]
        colour = f'{thing.colour} ' if thing.colour in words['object'].split() else ''
        words['object'] = colour + DESCRIBED[thing.shape]
    said = other.format(**words)
    return said if severity == 3 else f'{aside} {said}'


def spoken(episode: Episode) -> dict[str, str]:
    """Return the words that an episode's sentence has for 'object', 'direction' and 'other'."""
    for phrase in TASKS[episode.task].phrases:
        found = re.fullmatch(re.sub(r'{(\w+)}', r'(?P<\1>.+)', phrase), episode.instruction)
        if found and (episode.task != 'push' or found['direction'] in ('left', 'right')):
            return found.groupdict()
    raise SimulationError(
        f'the sentence {episode.instruction!r} is none of the task {episode.task}: expected one '
        f'of {TASKS[episode.task].phrases}.'
    )
