"""Demonstrations that see hazards: what is met behind the filter, for the expert to answer.

The policy itself and the expert play the suite `hazards` behind the safety filter, which leads
them round what stands in the way. What the cameras saw on the way is kept, and training labels
it with the expert's answers, so that the policy learns to go on from where it was led to (DAgger,
Ross et al. 2011), with a hazard in its pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.rollout import FILM_TICKS
from vla_ros.evaluation.runner import Cell, Evaluation, jobs, Player
from vla_ros.evaluation.scripted import NAME as EXPERT
from vla_ros.sim.experts import STEP
from vla_ros.sim.tabletop import Tabletop
from vla_ros.training.demos import Diary, REPLAN, save_shard

SUITE, MODE = 'hazards', 'path+cbf'
SEED = 10_000  # of the demonstrations; evaluation uses those below this one


class Lesson(NamedTuple):
    """What is to be played, and where what was seen is kept."""

    evaluation: Evaluation
    folder: Path
    every: int  # looks at the table between two instants that are kept

    def shard(self, index: int, cell: Cell) -> Path:
        """Return where an episode is kept."""
        name = f'{cell.trial.axis}{cell.trial.level:.0f}_{Path(cell.policy).stem}'
        return self.folder / f'hazards_{index:04d}_{name}.npz'


def demonstrate(
    folder: Path, episodes: int, policy: str, workers: int
) -> Iterator[tuple[int, int]]:
    """Play the episodes that a folder still lacks; yields (done, wanted) as it goes.

    Args:
        folder: Gets a shard for each, as `training.demos` has them.
        episodes: Of each kind and level, and of none, by the policy and by the expert.
        policy: Name of a policy file.
        workers: Processes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    who = (policy, EXPERT)
    evaluation = Evaluation('panda', who, 'default', SUITE, episodes, SEED, modes=(MODE,))
    player = Player(evaluation)
    lesson = Lesson(evaluation, folder, round(REPLAN * STEP / (FILM_TICKS * player.period)))
    wanted = jobs(evaluation)
    missing = [job for job in wanted if not lesson.shard(*job).exists()]
    done = len(wanted) - len(missing)
    yield done, len(wanted)
    for _ in spread(pupil_of, lesson, missing, workers, _pupil(lesson, player)):
        done += 1
        yield done, len(wanted)


def pupil_of(lesson: Lesson) -> Callable[[int, Cell], int]:
    """Return what plays a lesson's episodes, keeps them and tells how many frames they have."""
    return _pupil(lesson, Player(lesson.evaluation))


def _pupil(lesson: Lesson, player: Player) -> Callable[[int, Cell], int]:
    def play(index: int, cell: Cell) -> int:
        diary, looks = Diary(), 0

        def look(table: Tabletop) -> None:
            nonlocal looks
            if looks % lesson.every == 0:
                diary.add(table)
            looks += 1

        player.play(index, cell, film=look)
        frames = diary.frames()
        save_shard(lesson.shard(index, cell), frames)
        return len(frames)

    return play
