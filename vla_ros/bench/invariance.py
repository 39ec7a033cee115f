"""The invariance run: episode after episode, each drawn from the seed and its number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
import multiprocessing

import numpy as np

from vla_ros.bench.episode import Episode
from vla_ros.bench.tally import Tally
from vla_ros.robot import RobotSpec
from vla_ros.safety import SafetyConfig, SafetyFilter

EPISODE = 2000  # ticks of one episode
GAINS = (  # period [s], barrier gain [1/s]; the gain may be 0.1 / period at most
    (0.005, 8.0),
    (0.005, 20.0),
    (0.002, 50.0),
    (0.010, 10.0),
    (0.001, 100.0),
)
MODES = ('path+cbf', 'cbf', 'path', 'stop', 'path+cbf')  # that go with them

Make = Callable[[RobotSpec, SafetyConfig], SafetyFilter]


def settings(config: SafetyConfig) -> list[SafetyConfig]:
    """Return settings over the modes and the range of periods and gains that are allowed."""
    return [
        replace(config, period=period, barrier_gain=gain, mode=mode)
        for (period, gain), mode in zip(GAINS, MODES)
    ]


class Invariance:
    """Runs episodes of one robot."""

    def __init__(
        self, robot: RobotSpec, configs: list[SafetyConfig], seed: int, make: Make = SafetyFilter
    ) -> None:
        """Take the settings to alternate; `make` builds a filter, the control a broken one."""
        self._robot, self._configs, self._seed, self._make = robot, configs, seed, make
        self._filters: dict[int, SafetyFilter] = {}

    def episode(self, number: int, ticks: int = EPISODE) -> Tally:
        """Run episode `number` of the seed."""
        rng = np.random.default_rng([self._seed, number])
        index = number % len(self._configs)
        if index not in self._filters:
            self._filters[index] = self._make(self._robot, self._configs[index])
        safety = self._filters[index]
        name = self._seed, number
        with np.errstate(all='ignore'):  # some chunks hold 1e300 on purpose
            return Episode(self._robot, safety, rng, ticks, name).run()

    def run(self, ticks: int) -> Iterator[Tally]:
        """Yield the tally of each episode until `ticks` are done."""
        done, number = 0, 0
        while done < ticks:
            tally = self.episode(number, min(EPISODE, ticks - done))
            done += tally.ticks
            number += 1
            yield tally


_mine: Invariance | None = None  # of this worker process


def _begin(robot: RobotSpec, configs: list[SafetyConfig], seed: int, make: Make) -> None:
    global _mine
    _mine = Invariance(robot, configs, seed, make)


def _one(number: int) -> Tally:
    assert _mine is not None
    return _mine.episode(number)


def run_in_processes(
    robot: RobotSpec,
    configs: list[SafetyConfig],
    seed: int,
    ticks: int,
    workers: int,
    make: Make = SafetyFilter,
) -> Iterator[Tally]:
    """Yield the tally of each episode until `ticks` are done, from worker processes."""
    context = multiprocessing.get_context('spawn')
    arguments = robot, configs, seed, make
    with ProcessPoolExecutor(workers, context, _begin, arguments) as pool:
        number = 2 * workers
        pending: set[Future[Tally]] = {pool.submit(_one, k) for k in range(number)}
        done = 0
        while done < ticks:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                tally = future.result()
                done += tally.ticks
                pending.add(pool.submit(_one, number))
                number += 1
                yield tally
        pool.shutdown(wait=False, cancel_futures=True)
