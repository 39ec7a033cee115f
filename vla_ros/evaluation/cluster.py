"""Jobs played on a Ray cluster, which plays one again when its worker or its node is lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
import os
import socket
from typing import Any, TypeVar

from vla_ros.errors import ConfigError
from vla_ros.evaluation.processes import Job, lost, Play, play, TRIES

Plan = TypeVar('Plan')
Result = TypeVar('Result')

CONNECT = 10.0  # [s] for a cluster to answer; Ray itself would try for minutes
LOCAL = 'local'  # a cluster of this machine, for this run alone


def on_cluster(
    build: Callable[[Plan], Play[Result]],
    plan: Plan,
    jobs: Sequence[Job],
    workers: int,
    address: str,
) -> Iterator[tuple[Job, Result]]:
    """Yield every job with what `build(plan)(*job)` returned, as they end; see `spread`.

    Raises:
        WorkerError: A job lost its worker TRIES times.
        ConfigError: There is no such cluster, or no Ray.
    """
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')  # nothing leaves the machine unasked
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f'no Ray is installed ({error}): pip install -r requirements/ray.txt, or leave '
            '--cluster out.'
        ) from error
    try:
        host, _, port = address.rpartition(':')
        if host and port.isdigit() and '/' not in host:
            socket.create_connection((host, int(port)), CONNECT).close()
        ray.init(
            address,
            num_cpus=workers if address == LOCAL else None,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level='error',
            # One thread each, as in processes of ours: other sums would have other last digits.
            runtime_env={'env_vars': {'OMP_NUM_THREADS': '1'}},
        )
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"no Ray cluster answers at '{address}': {error}. Start one by `ray start --head`, or "
            f"name '{LOCAL}'."
        ) from error
    try:
        task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(play)
        waiting, running = deque(jobs), dict[Any, Job]()  # a reference to its result -> job
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.popleft()
                running[task.remote(build, plan, job)] = job
            for ended in ray.wait(list(running))[0]:
                job = running.pop(ended)
                try:
                    result = ray.get(ended)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError,
                        ray.exceptions.OutOfMemoryError) as error:  # fmt: skip
                    raise lost(job) from error
                yield job, result
    finally:
        ray.shutdown()
