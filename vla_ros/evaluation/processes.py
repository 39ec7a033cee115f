"""Jobs played here or in worker processes, each of which builds its player once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed, ProcessPoolExecutor
import multiprocessing
import os
from typing import Any, TypeVar

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
    try:
        with ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(build, plan)
        ) as pool:
            futures = {pool.submit(_play, job): job for job in jobs}
            for future in as_completed(futures):
                yield futures[future], future.result()
    finally:
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
