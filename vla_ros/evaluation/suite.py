"""A suite: which tasks are evaluated, under what, and which seeds belong to evaluation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.sim.hazards import LEVELS, THINGS
from vla_ros.sim.perturbation import AXES, MOST
from vla_ros.sim.tasks import Episode, phrase, sample_episode, sample_sequence, targets, TASKS

MOST_EPISODES = 100_000  # of one evaluation seed, so that two seeds never share an episode
NONE = 'none'  # what differs from the plain episode, where nothing does
LATENCY = 'latency'


class Trial(NamedTuple):
    """Under what an episode is played; a suite's first one is the reference of the others."""

    axis: str  # NONE, LATENCY, a word of AXES or THINGS, or a control
    level: float = 0.0  # severity, or [s] of latency; 0: there is none

    def __str__(self) -> str:
        if self.axis == LATENCY:
            return f'{LATENCY} {1e3 * self.level:.0f} ms'
        return f'{self.axis} {self.level:.0f}' if self.level else self.axis


@dataclass(frozen=True)
class Suite:
    """A suite file, `config/suites/NAME.yaml`."""

    name: str
    tasks: tuple[str, ...]
    first_seed: int  # demonstrations use seeds below this one only
    sequences: tuple[tuple[str, ...], ...] = ()  # requests of one episode, one after another
    perturbations: tuple[str, ...] = ()  # words of AXES
    severities: tuple[int, ...] = ()  # of each perturbation, 1 to MOST, or hazard, 1 to LEVELS
    latencies: tuple[float, ...] = ()  # [s] from a picture to the arrival of its chunk
    hazards: tuple[str, ...] = ()  # words of THINGS

    def __post_init__(self) -> None:
        where = f'suite {self.name}'
        if not self.tasks:
            raise ConfigError(f'{where} has no tasks, expected some of {sorted(TASKS)}.')
        for noun, words, known in (
            ('task', (*self.tasks, *sum(self.sequences, ())), TASKS),
            ('axis of perturbation', self.perturbations, AXES),
            ('hazard', self.hazards, THINGS),
        ):
            for word in words:
                if word not in known:
                    raise UnknownNameError(noun, word, known, where)
        if bool(self.perturbations or self.hazards) != bool(self.severities):
            raise ConfigError(
                f'{where} has perturbations, hazards or severities alone, expected severities '
                'with one of the others.'
            )
        most = LEVELS if self.hazards else MOST
        if any(not 1 <= severity <= most for severity in self.severities):
            raise ConfigError(f'{where} has severities {self.severities}, expected 1 to {most}.')
        if any(not 0.0 <= seconds <= 5.0 for seconds in self.latencies):
            raise ConfigError(f'{where} has latencies {self.latencies}, expected 0 to 5 s.')
        kinds = (self.sequences, self.perturbations, self.latencies, self.hazards)
        if sum(map(bool, kinds)) > 1:
            raise ConfigError(
                f'{where} mixes sequences, perturbations, latencies or hazards, expected one of '
                'them; write a file for each.'
            )

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Everything under which each episode is played, the reference first."""
        if self.latencies:
            return tuple(Trial(LATENCY, seconds) for seconds in self.latencies)
        axes = self.perturbations or self.hazards
        return (Trial(NONE), *(Trial(a, float(s)) for a in axes for s in self.severities))

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
        turns = self.sequences or tuple((task,) for task in self.tasks)
        return [_sample(turns[i % len(turns)], first + i) for i in range(count)]


def _sample(tasks: tuple[str, ...], seed: int) -> Episode:
    return sample_episode(tasks[0], seed) if len(tasks) == 1 else sample_sequence(tasks, seed)


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
    others = [index for index in targets(episode.task) if index != episode.target]
    target = int(rng.choice(others))
    word = 'left' if episode.direction[1] > 0.0 else 'right'
    text = phrase(episode.task, episode.layout, target, word, rng)
    return replace(episode, target=target, instruction=text)
