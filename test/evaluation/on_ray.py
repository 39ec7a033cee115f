"""What test_processes has played in an environment that has Ray; prints what it found as JSON."""

from __future__ import annotations

import json
from pathlib import Path
import sys

from jobs_of_test import player_of

from vla_ros.errors import VlaError
from vla_ros.evaluation.processes import spread, TRIES
from vla_ros.evaluation.runner import Evaluation, run

JOBS = [(number,) for number in range(8)]


def error_of(folder: Path, address: str) -> str:
    """Return what a run on a cluster ends with."""
    try:
        for _ in spread(player_of, str(folder), JOBS[:2], 2, cluster=address):
            pass
    except VlaError as error:
        return str(error)
    return ''


def main(folder: Path) -> None:
    """Play everything."""
    (folder / '0').write_text(str(TRIES - 1))
    (folder / '7').write_text('1')
    squares = {
        job[0]: result for job, result in spread(player_of, str(folder), JOBS, 2, cluster='local')
    }
    (folder / '0').write_text('1000')
    poisoned = error_of(folder, 'local')
    nowhere = error_of(folder, '127.0.0.1:1')
    suite = folder / 'reach.yaml'
    suite.write_text('name: reach\ntasks: [reach]\nfirst_seed: 1000000000\n')
    small = Evaluation('panda', ('expert',), 'default', str(suite), 2, 5)
    here = run(small, 1, lambda one: None)
    there = run(small, 2, lambda one: None, cluster='local')
    print(json.dumps({
        'squares': squares, 'poisoned': poisoned, 'nowhere': nowhere,
        'same_episodes': here == there,
    }))  # fmt: skip


if __name__ == '__main__':
    main(Path(sys.argv[1]))
