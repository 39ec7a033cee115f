"""Episodes with hazards: which seeds have room for them, and where the things go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from vla_ros.errors import SimulationError
from vla_ros.evaluation.rollout import Point, Rollout
from vla_ros.evaluation.suite import MOST_EPISODES, NONE, Suite, Trial
from vla_ros.sim.hazards import Hazard
from vla_ros.sim.placement import place, start
from vla_ros.sim.tasks import Episode, sample_episode


class Scene(NamedTuple):
    """One episode, where its tool starts and what stands in the way."""

    episode: Episode
    start: Point | None = None  # [m]; None: home
    hazard: Hazard | None = None


def plain_scenes(suite: Suite, episodes: int, seed: int) -> Sequence[Scene]:
    """Return the scenes of a suite without hazards."""
    return [Scene(episode) for episode in suite.episodes(episodes, seed)]


def hazard_scene(
    suite: Suite, episodes: int, seed: int, index: int, trial: Trial, guide: Rollout
) -> Scene:
    """Return the first episode of an index that the expert solves and a trial's hazard fits into.

    Which one it is depends on the suite, the seeds and the safety file, not on who plays.

    Args:
        suite: With hazards.
        episodes: Of the evaluation.
        seed: Of the evaluation.
        index: Of the episode, below `episodes`.
        trial: Of the suite.
        guide: The expert behind the safety file's own filter.

    Raises:
        SimulationError: There is none.
    """
    task = suite.tasks[index % len(suite.tasks)]
    first = suite.first_seed + seed * MOST_EPISODES
    for number in range(first + index, first + MOST_EPISODES, episodes):
        episode = sample_episode(task, number)
        tool = start(episode)
        outcome, swept = guide.swept(episode, tool)
        if not outcome.success:
            continue
        if trial.axis == NONE:
            return Scene(episode, tool)
        hazard = place(trial.axis, int(trial.level), episode, swept)
        if hazard is not None:
            return Scene(episode, tool, hazard)
    raise SimulationError(
        f'no episode of task {task} from seed {first + index} on has room for {trial}.'
    )
