"""Print how much faster several workers play an evaluation than one; wants a quiet machine.

    OMP_NUM_THREADS=1 python tools/measure_workers.py --workers 2 --episodes 40

Loading is left out: a run is timed from the end of its first episodes to the last that began while
all workers had work.
"""

from __future__ import annotations

import argparse
import time

from vla_ros.evaluation.processes import spread
from vla_ros.evaluation.runner import Evaluation, jobs, player_of
from vla_ros.evaluation.stages import speed


def main() -> None:
    """Play the same episodes by one worker process and by several."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--episodes', type=int, default=40)
    parser.add_argument('--policy', default='tiny_pi0')
    parser.add_argument('--suite', default='tabletop')
    asked = parser.parse_args()
    evaluation = Evaluation('panda', (asked.policy,), 'default', asked.suite, asked.episodes, 0)
    work, warm = jobs(evaluation), 2 * asked.workers
    if len(work) < 3 * warm:
        parser.error(f'{len(work)} episodes are too few, expected at least {3 * warm}.')
    rates = []
    for workers in (1, asked.workers):
        ended = []  # [s] when, and the episode
        for _, one in spread(player_of, evaluation, work, workers):
            ended.append((time.monotonic(), one))
        counted = ended[warm : len(ended) - asked.workers]
        wall = counted[-1][0] - ended[warm - 1][0]
        rates.append(sum(one.outcome.seconds for _, one in counted) / wall)
        cost = speed([(one.outcome.seconds, one.frames, one.spent) for _, one in counted])
        assert cost is not None
        print(
            f'{workers} workers: {rates[-1]:.1f} times real time in total, '
            f'{cost["times_real_time_per_core"]:.1f} by processor time of each'
        )
    print(f'ratio {rates[1] / rates[0]:.2f}')


if __name__ == '__main__':
    main()
