"""Jobs played here, in worker processes or on a cluster; each process builds its player once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache
import multiprocessing
import os
from typing import Any, TypeVar

from vla_ros.errors import WorkerError

Plan = TypeVar('Plan')
Result = TypeVar('Result')
Play = Callable[..., Result]
Job = tuple[Any, ...]

TRIES = 3  # of a job whose worker was lost


def spread(
    build: Callable[[Plan], Play[Result]],
    plan: Plan,
    jobs: Sequence[Job],
    workers: int,
    here: Play[Result] | None = None,
    cluster: str | None = None,
) -> Iterator[tuple[Job, Result]]:
    """Yield every job with what `build(plan)(*job)` returned, as they end.

    A job whose worker was lost is played again, after the others.

    Args:
        build: Makes a function that plays one job; a module's own, so that it can be sent.
        plan: What is to be measured; hashable.
        jobs: Arguments of that function.
        workers: Processes; 1 plays in this one, where there is no cluster.
        here: What `build(plan)` returned, where it is there already.
        cluster: Address of a Ray cluster, or 'local' for one of this machine.

    Raises:
        WorkerError: A job lost its worker TRIES times; whatever had ended was yielded before. Of
            processes here, all other jobs had.
        ConfigError: There is no such cluster, or no Ray.
    """
    if cluster is not None:
        from vla_ros.evaluation.cluster import on_cluster

        yield from on_cluster(build, plan, jobs, workers, cluster)
    elif workers > 1:
        yield from _in_processes(build, plan, jobs, workers)
    else:
        play = build(plan) if here is None else here
        for job in jobs:
            yield job, play(*job)


def play(build: Callable[[Plan], Play[Result]], plan: Plan, job: Job) -> Result:
    """Play a job in a worker, which keeps its player."""
    return _player(build, plan)(*job)


@lru_cache(maxsize=1)
def _player(build: Callable[[Any], Play[Any]], plan: Any) -> Play[Any]:
    return build(plan)


def lost(job: Job) -> WorkerError:
    """Return the error of a job that has lost its worker too often."""
    return WorkerError(
        f'job {job} lost its worker process {TRIES} times, perhaps for want of memory. Give the '
        'same command again; what its log holds is not played twice.'
    )


def _in_processes(
    build: Callable[[Plan], Play[Result]], plan: Plan, jobs: Sequence[Job], workers: int
) -> Iterator[tuple[Job, Result]]:
    context = multiprocessing.get_context('spawn')  # MuJoCo and torch do not survive a fork

    def worker() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, context)  # one each: a loss concerns the job in hand alone

    waiting = deque((job, 1) for job in jobs)
    running: dict[Future[Result], tuple[ProcessPoolExecutor, Job, int]] = {}
    given_up: list[Job] = []
    with _single_threads():
        idle = [worker() for _ in range(workers)]
        try:
            while waiting or running:
                while waiting and idle:
                    own, job = idle.pop(), waiting[0][0]
                    try:
                        future = own.submit(play, build, plan, job)
                    except BrokenProcessPool:  # lost between two jobs
                        own.shutdown()
                        idle.append(worker())
                    else:
                        running[future] = own, *waiting.popleft()
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    own, job, tries = running.pop(future)
                    if not isinstance(future.exception(), BrokenProcessPool):
                        idle.append(own)
                        yield job, future.result()
                        continue
                    own.shutdown()
                    idle.append(worker())
                    if tries < TRIES:
                        waiting.append((job, tries + 1))
                    else:
                        given_up.append(job)
        finally:  # an interrupt waits for no more than what is in hand
            for own in (*idle, *(one for one, _, _ in running.values())):
                own.shutdown(cancel_futures=True)
    if given_up:
        raise lost(given_up[0])


@contextmanager
def _single_threads() -> Iterator[None]:
    """Let processes be born with one thread each: more would only wait for each other.

    torch reads the variable when it is imported.
    """
    before = os.environ.get('OMP_NUM_THREADS')
    os.environ['OMP_NUM_THREADS'] = '1'
    try:
        yield
    finally:
        if before is None:
            del os.environ['OMP_NUM_THREADS']
        else:
            os.environ['OMP_NUM_THREADS'] = before
