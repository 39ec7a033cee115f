"""Jobs played here or in worker processes, each of which builds its player once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
import multiprocessing
import os
from typing import Any, TypeVar

from vla_ros.errors import WorkerError

Plan = TypeVar('Plan')
Result = TypeVar('Result')
Play = Callable[..., Result]


def spread(
    build: Callable[[Plan], Play[Result]],
    plan: Plan,
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    here: Play[Result] | None = None,
) -> Iterator[tuple[tuple[Any, ...], Result]]:
    """Yield every job with what `build(plan)(*job)` returned, as they end.

    Args:
        build: Makes a function that plays one job; a module's own, so that it can be sent.
        plan: What is to be measured.
        jobs: Arguments of that function.
        workers: Processes; 1 plays in this one.
        here: What `build(plan)` returned, where it is there already.

    Raises:
        WorkerError: A worker was killed; whatever else had ended was yielded before.
    """
    if workers == 1:
        play = build(plan) if here is None else here
        for job in jobs:
            yield job, play(*job)
        return
    # Threads of several processes on the same cores only wait for each other. torch reads this
    # when it is imported, so the processes must be born with it.
    before = os.environ.get('OMP_NUM_THREADS')
    os.environ['OMP_NUM_THREADS'] = '1'
    context = multiprocessing.get_context('spawn')  # MuJoCo and torch do not survive a fork
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=_begin, initargs=(build, plan)
    )
    try:
        futures = {pool.submit(_play, job): job for job in jobs}
        killed = 0
        for future in as_completed(futures):
            if isinstance(future.exception(), BrokenProcessPool):
                killed += 1
            else:
                yield futures[future], future.result()
        if killed:
            raise WorkerError(
                f'a worker process was killed, perhaps for want of memory, and {killed} of '
                f'{len(jobs)} jobs were not played. Give the same command again; what its log '
                'holds is not played twice.'
            )
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt waits for no more than what is in hand
        if before is None:
            del os.environ['OMP_NUM_THREADS']
        else:
            os.environ['OMP_NUM_THREADS'] = before


_playing: Play[Any]  # of a worker process


def _begin(build: Callable[[Any], Play[Any]], plan: Any) -> None:
    global _playing
    _playing = build(plan)


def _play(job: tuple[Any, ...]) -> Any:
    return _playing(*job)
