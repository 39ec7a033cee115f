"""A suite: which tasks are evaluated and which seeds belong to evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.sim.tasks import Episode, phrase, sample_episode, TASKS

MOST_EPISODES = 100_000  # of one evaluation seed, so that two seeds never share an episode


@dataclass(frozen=True)
class Suite:
    """A suite file, `config/suites/NAME.yaml`."""

    name: str
    tasks: tuple[str, ...]
    first_seed: int  # demonstrations use seeds below this one only

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ConfigError(f'suite {self.name} has no tasks, expected some of {sorted(TASKS)}.')
        for task in self.tasks:
            if task not in TASKS:
                raise UnknownNameError('task', task, TASKS, f'suite {self.name}')

    def episode(self, task: str, seed: int) -> Episode:
        """Return one episode of a task of the suite, by the seed that the simulator takes."""
        if task not in self.tasks:
            raise UnknownNameError('task', task, self.tasks, f'suite {self.name}')
        return sample_episode(task, seed)

    def episodes(self, count: int, seed: int) -> list[Episode]:
        """Return the episodes of one evaluation, the tasks in turn: the same for one seed."""
        if not 1 <= count <= MOST_EPISODES or seed < 0:
            raise ConfigError(
                f'{count} episodes with seed {seed}: expected 1 to {MOST_EPISODES} and 0 or more.'
            )
        first = self.first_seed + seed * MOST_EPISODES
        return [sample_episode(self.tasks[i % len(self.tasks)], first + i) for i in range(count)]


def load_suite(name: str) -> Suite:
    """Read a suite by its name or path."""
    return config.load(paths.find('suites', name), Suite)


def other_scene(episode: Episode) -> Episode:
    """Return another episode that the same sentence fits: other places, the same objects."""
    rng = np.random.default_rng([episode.seed, 1])
    donor = sample_episode(episode.task, int(rng.integers(2**31)))
    objects = tuple(
        replace(theirs, colour=ours.colour)
        for theirs, ours in zip(donor.layout.objects, episode.layout.objects)
    )
    return replace(episode, layout=replace(donor.layout, objects=objects))


def other_instruction(episode: Episode) -> Episode:
    """Return the episode with the sentence, and the target, of another object of its scene."""
    rng = np.random.default_rng([episode.seed, 2])
    others = [i for i in range(len(episode.layout.objects)) if i != episode.target]
    target = int(rng.choice(others))
    word = 'left' if episode.direction[1] > 0.0 else 'right'
    text = phrase(episode.task, episode.layout, target, word, rng)
    return replace(episode, target=target, instruction=text)
