"""Jobs survive their workers, in processes of this machine and on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from itertools import islice
import json
import multiprocessing
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

import pytest

from vla_ros.errors import ConfigError, WorkerError
from vla_ros.evaluation.processes import spread, TRIES

pytestmark = pytest.mark.timeout(300)  # [s] on a machine that is busy with other work

HERE = Path(__file__).parent
JOBS = [(number,) for number in range(8)]
RAY = 'ray==2.60.0'  # as requirements/ray.txt; its test says so


@pytest.fixture(autouse=True)
def jobs_of_test(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the module of the jobs, which the workers must find by its name."""
    monkeypatch.syspath_prepend(HERE)
    return import_module('jobs_of_test')


def squares(jobs: Any, folder: Path, cluster: str | None = None) -> dict[int, int]:
    """Return number -> square, each of which came once."""
    found = list(spread(jobs.player_of, str(folder), JOBS, 2, cluster=cluster))
    assert len(found) == len({job for job, _ in found})
    return {number: square for (number,), square in found}


def test_a_job_whose_worker_was_killed_is_played_again(tmp_path: Path, jobs_of_test: Any) -> None:
    (tmp_path / '0').write_text(str(TRIES - 1))
    (tmp_path / '7').write_text('1')
    assert squares(jobs_of_test, tmp_path) == {number: number**2 for (number,) in JOBS}


def test_a_job_that_kills_every_worker_ends_the_run_after_all_others(
    tmp_path: Path, jobs_of_test: Any
) -> None:
    (tmp_path / '0').write_text('1000')
    ended = spread(jobs_of_test.player_of, str(tmp_path), JOBS, 2)
    assert sorted(job for job, _ in islice(ended, len(JOBS) - 1)) == JOBS[1:]
    with pytest.raises(WorkerError, match=rf'job \(0,\) lost its worker process {TRIES} times'):
        next(ended)
    assert int((tmp_path / '0').read_text()) == 1000 - TRIES


def test_workers_that_are_lost_between_two_jobs_are_replaced(
    tmp_path: Path, jobs_of_test: Any
) -> None:
    ended = spread(jobs_of_test.player_of, str(tmp_path), JOBS, 2)
    found = [next(ended)]
    for child in multiprocessing.active_children():
        child.kill()
        child.join(30.0)
    assert sorted(job for job, _ in (*found, *ended)) == JOBS


def test_an_error_of_a_job_is_the_error_of_the_run(tmp_path: Path, jobs_of_test: Any) -> None:
    (tmp_path / '3').write_text('no number')
    with pytest.raises(ValueError, match='no number'):
        squares(jobs_of_test, tmp_path)


def test_without_ray_a_cluster_says_how_to_get_it(
    tmp_path: Path, jobs_of_test: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ConfigError, match='pip install -r requirements/ray.txt'):
        squares(jobs_of_test, tmp_path, 'local')


def test_ray_plays_the_same_and_survives_its_workers(
    tmp_path: Path, environment: Callable[..., str]
) -> None:
    """Killed workers, a job that kills all of its own, no cluster; then real episodes."""
    requirements = HERE.parents[1] / 'requirements' / 'ray.txt'
    assert RAY in requirements.read_text().splitlines()
    asked = ('VLA_ROS_RAY', 'install Ray once into the cache and play on it for a minute')
    python = environment(RAY.replace('==', '-'), [RAY], 240.0, asked)
    path = filter(None, sys.path)
    done = subprocess.run(
        [python, HERE / 'on_ray.py', tmp_path],
        capture_output=True, text=True, timeout=240.0,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found['squares'] == {str(number): number**2 for (number,) in JOBS}
    assert 'lost its worker' in found['poisoned']
    assert "no Ray cluster answers at '127.0.0.1:1'" in found['nowhere']
    assert found['same_episodes']
