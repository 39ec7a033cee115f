"""`vla bench`: what the chain costs and how well it keeps time."""

from __future__ import annotations

import math
import multiprocessing
from pathlib import Path
import time
from typing import Any

import click
import numpy as np

from vla_ros import paths
from vla_ros.cli.bench_adapters import adapters
from vla_ros.cli.bench_execution import execution
from vla_ros.cli.bench_options import options
from vla_ros.cli.bench_policy import policy
from vla_ros.cli.bench_safety import safety
from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output
from vla_ros.cli.session import session
from vla_ros.robot import load_robot

WARM_UP = 5.0  # [s] before anything is counted
SETTLED = 120.0  # [s] after which memory may not grow any more
STATUS = 5.0  # [s] for the first status after the warm-up, and for the last picture's info
LOG = Path('out/bench/log.txt')
NODES = ('sim', 'safety_filter', 'policy')


@click.group()
def verb() -> None:
    """Measure the chain."""


verb.add_command(safety)
verb.add_command(execution)
verb.add_command(adapters)
verb.add_command(policy)
verb.add_command(options)


@verb.command()
@click.option('--seconds', type=click.FloatRange(min=5.0), default=60.0, help='Length.')
@launch_options('robot', 'policy', 'safety', 'suite', 'task', 'seed')
@json_option
def pipeline(seconds: float, robot: str, output: Output, **arguments: str | int) -> None:
    """Run the whole graph and report frames, delays, missed ticks and memory.

    An idle loop of the control rate runs beside it as the yardstick for missed ticks. Memory
    growth counts from the second minute on, so it takes --seconds 180 or more to mean much.
    """
    from vla_ros.evaluation.suite import load_suite
    from vla_ros.safety.config import load_safety

    arm = load_robot(paths.find('robots', robot))
    rate = 1.0 / load_safety(paths.find('safety', str(arguments['safety']))).period
    seed = max(0, int(arguments['seed']))
    episode = load_suite(str(arguments['suite'])).episode(str(arguments['task']), seed)
    with session(arm, {'robot': robot, **arguments, 'seed': seed}, LOG) as running:
        from vla_ros.nodes.tap import Tap

        with output.console.status('starting simulator, safety filter and policy …'):
            running.ready()
        tap = Tap(running.client, arm)
        running.client.say(episode.instruction)
        with output.console.status(f'measuring for {seconds:.0f} s …'):
            _pause(running, WARM_UP)
            idle = _IdleLoop(seconds, rate)
            tap.begin(STATUS)
            memory = _watch_memory(running, seconds)
            result = {**tap.end(STATUS), **idle.end(), **memory}
        running.client.say('')
    for key, value in result.items():
        output.console.print(f'{key:28} {_text(value)}')
    output.write(result)


def _pause(running: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    running.until(lambda: time.monotonic() >= end, seconds + 1.0, 'the warm-up')


def _watch_memory(running: Any, seconds: float) -> dict[str, Any]:
    """Sample resident memory each second; return each node's size and growth.

    Pages of the shared segments of the transport count apart: every process that reads a picture
    maps them one by one, up to the segment's fixed size.
    """
    sizes: dict[str, list[tuple[float, float]]] = {node: [] for node in NODES}  # [MB]
    times: list[float] = []
    start = time.monotonic()
    while (elapsed := time.monotonic() - start) < seconds:
        running.check()
        times.append(elapsed)
        for node in NODES:
            sizes[node].append(_resident(running.pid(node)))
        time.sleep(1.0)
    late = np.array(times) >= min(SETTLED, seconds / 2)
    growth = {
        node: 60.0 * np.polyfit(np.array(times)[late], np.array(mb)[late], 1)[0]
        for node, mb in sizes.items()
    }
    return {
        'memory_mb': {node: mb[-1][0] for node, mb in sizes.items()},
        'shared_memory_mb': {node: mb[-1][1] for node, mb in sizes.items()},
        'memory_growth_mb_per_minute': {node: float(g[0]) for node, g in growth.items()},
        'shared_memory_growth_mb_per_minute': {node: float(g[1]) for node, g in growth.items()},
    }


def _resident(pid: int) -> tuple[float, float]:
    """Return the resident memory of a process, its own and that of shared segments [MB]."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    sizes = {line.split(':')[0]: float(line.split()[1]) for line in lines if line.endswith('kB')}
    return (sizes['RssAnon'] + sizes['RssFile']) / 1e3, sizes['RssShmem'] / 1e3


class _IdleLoop:
    """A loop of the control rate that does nothing, in a process of its own."""

    def __init__(self, seconds: float, rate: float) -> None:
        context = multiprocessing.get_context('spawn')
        self._answer, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_idle, args=(seconds, rate, theirs), daemon=True)
        self._process.start()

    def end(self) -> dict[str, Any]:
        """Return its ticks; waits for it at most 30 s."""
        ticks, missed, gap = self._answer.recv() if self._answer.poll(30.0) else (0, 0, math.nan)
        self._process.join(5.0)
        return {
            'idle_missed_share': missed / ticks if ticks else None,
            'idle_longest_gap_ms': 1e3 * gap,
        }


def _idle(seconds: float, rate: float, answer: Any) -> None:
    from vla_ros.nodes.pace import Pace
    from vla_ros.nodes.safety_filter_node import PRIORITY

    pace = Pace(rate, lambda dt: None, failed=print, name='idle', priority=PRIORITY)
    pace.start()
    time.sleep(seconds)
    pace.stop()
    answer.send((pace.ticks, pace.missed, pace.longest_gap))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{key} {_text(entry)}' for key, entry in value.items())
    return f'{value:.4g}' if isinstance(value, float) else str(value)
