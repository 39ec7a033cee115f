"""What training is fed in tests: frames of every task, and a pool that runs its jobs here."""

from __future__ import annotations

import numpy as np

from vla_ros.sim.layout import COLOURS, REST_HEIGHT
from vla_ros.sim.tasks import DIRECTIONS, sample_episode
from vla_ros.training.demos import DIRECTION_NAMES, Frames, TASK_NAMES


class Here:
    """Stands for a ProcessPoolExecutor."""

    def __init__(self, *args, **kwargs):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    map = staticmethod(map)


def frames(count: int, images: np.ndarray) -> Frames:
    """Return frames of episodes of every task with these pictures."""
    episodes = [sample_episode(TASK_NAMES[n % len(TASK_NAMES)], n) for n in range(count)]
    rng = np.random.default_rng(0)
    words = {v: k for k, v in DIRECTIONS.items()}

    def small(values) -> np.ndarray:
        return np.array(list(values), dtype=np.int8)

    return Frames(
        images=images,
        tool=rng.uniform((0.4, -0.2, 0.1), (0.6, 0.2, 0.3), (count, 3)),
        opening=rng.random(count),
        objects=np.array([
            [[*o.position, REST_HEIGHT[o.shape]] for o in e.layout.objects] for e in episodes
        ]),
        plate=np.array([e.layout.plate for e in episodes]),
        colours=small([COLOURS.index(o.colour) for o in e.layout.objects] for e in episodes),
        task=small(TASK_NAMES.index(e.task) for e in episodes),
        target=small(e.target for e in episodes),
        direction=small(
            DIRECTION_NAMES.index(words.get(e.direction, 'left')) for e in episodes
        ),
    )  # fmt: skip
