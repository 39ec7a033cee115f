"""`vla bench safety`: what the safety filter costs, beside its peers, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
import os
from pathlib import Path
import time
from typing import Any

import click
import numpy as np
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from vla_ros import paths
from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.safety import load_safety, SafetyConfig

PEERS = Path('out/bench/peers')
PEER_CYCLES = 2000  # of the same stream that every peer solves
SHOWN = 20  # violations that are printed
CONTROL = 20_000  # ticks after which a control that has not failed is a failure itself


@click.command()
@click.option('--invariance', is_flag=True, help='Attack the filter instead of timing it.')
@click.option('--peers', is_flag=True, help='Time others too; installs them under out/bench.')
@click.option('--cycles', type=click.IntRange(min=1000), default=10_000, help='That are timed.')
@click.option('--ticks', type=click.IntRange(min=1), default=1_000_000, help='Of the attack.')
@click.option('--seed', type=click.IntRange(min=0), default=None, help='Of the attack; drawn.')
@click.option('--episode', type=click.IntRange(min=0), default=None, help='Only this one of it.')
@click.option(
    '--workers', type=click.IntRange(min=1), default=os.cpu_count() or 1, help='Processes.'
)
@launch_options('robot', 'safety')
@json_option
def safety(
    invariance: bool,
    peers: bool,
    cycles: int,
    ticks: int,
    seed: int | None,
    episode: int | None,
    workers: int,
    robot: str,
    safety: str,
    output: Output,
) -> None:
    """Time the safety filter's cycle; or, with --invariance, try to break it.

    The attack drives adversarial plans through the real filter among still and moving solids and
    judges every command by distances of the URDF's own shapes. It exits with status 1 if anything
    was touched or any limit was exceeded, or if the control, the same filter without its verified
    stop, was not.
    """
    arm = load_robot(paths.find('robots', robot))
    config = load_safety(paths.find('safety', safety))
    if invariance:
        seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
        _attack(arm, config, seed, ticks, episode, workers, output)
    else:
        _time(arm, config, cycles, peers, output)


def _time(
    robot: RobotSpec, config: SafetyConfig, cycles: int, peers: bool, output: Output
) -> None:
    from vla_ros.bench import bare, cost, report
    from vla_ros.bench.peers import Environment, run_peers

    with output.console.status('') as status:

        def told(text: str) -> None:
            status.update(f'timing: {text} …')

        told(f'{cycles} cycles')
        recording, obstacles = cost.headline(robot, config, cycles)
        mine = cost.cost_of(recording, obstacles)
        told('plain QPs on our kernel')
        others = bare.run_bare(recording)
        if peers:
            count = min(cycles, PEER_CYCLES)
            others += run_peers(recording, Environment(PEERS), cost.WARM, count, told)
        grown = cost.growth(robot, config, told)
        joints = cost.joints(robot, config, told)
    result = report.Result(mine, grown, joints, others)
    output.console.print(report.table(result))
    for line in report.targets(result):
        output.console.print(line, markup=False)
    if not peers:
        output.console.print('--peers times AEGIS, cbfpy and ProxQP on the same cycles')
    output.write(report.as_json(result))


def _attack(
    robot: RobotSpec,
    config: SafetyConfig,
    seed: int,
    ticks: int,
    episode: int | None,
    workers: int,
    output: Output,
) -> None:
    from vla_ros.bench.control import without_stop
    from vla_ros.bench.invariance import Invariance, run_in_processes, settings

    console, configs = output.console, settings(config)
    console.print(f'seed {seed}: repeat with --seed {seed}')
    if episode is not None:
        tally = Invariance(robot, configs, seed).episode(episode)
        _print_violations(tally, output)
        output.write(asdict(tally))
        raise SystemExit(1 if tally.violations else 0)
    start = time.monotonic()
    tallies = run_in_processes(robot, configs, seed, ticks, workers)
    tally = _watch(tallies, ticks, 'attacking', output)
    seconds = time.monotonic() - start
    control = Invariance(robot, configs, seed, without_stop)
    broken = _first_break(control.run(CONTROL))
    result = {
        **asdict(tally),
        'robot': robot.name,
        'seed': seed,
        'seconds': seconds,
        'settings': [{'period': c.period, 'barrier_gain': c.barrier_gain} for c in configs],
        'control': broken,
    }
    console.print(
        f'{tally.ticks:,} ticks in {tally.episodes} episodes, {seconds:.0f} s; a joint moved in '
        f'{tally.moved / tally.ticks:.0%} of them; {tally.looks:,} distances by coal; nearest '
        f'to anything that stands still {1e3 * tally.nearest_m:.2f} mm'
    )
    levels = ', '.join(f'{k} {v / tally.ticks:.1%}' for k, v in sorted(tally.levels.items()))
    console.print(f'levels: {levels}')
    _print_violations(tally, output)
    if broken is None:
        console.print(f'[red]control: the filter without its stop survived {CONTROL:,} ticks[/]')
    else:
        console.print(
            f'control: without the verified stop it broke after {broken["after_ticks"]:,} ticks, '
            f'at gain {broken["barrier_gain"]:g} and {1e3 * broken["period"]:g} ms: '
            f'{broken["what"]} by {broken["amount"]:.2g}',
            markup=False,
        )
    output.write(result)
    if tally.violations or broken is None:
        raise SystemExit(1)


def _watch(tallies: Iterator[Any], ticks: int, text: str, output: Output) -> Any:
    """Add up tallies behind a progress bar."""
    from vla_ros.bench.tally import Tally

    total = Tally()
    columns = (
        TextColumn(text),
        BarColumn(),
        TextColumn('{task.fields[told]}'),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output.console, transient=True) as progress:
        task = progress.add_task('', total=ticks, told='')
        for tally in tallies:
            total.add(tally)
            text = f'{total.ticks:,} ticks, {len(total.violations)} violations'
            progress.update(task, completed=min(total.ticks, ticks), told=text)
    return total


def _print_violations(tally: Any, output: Output) -> None:
    count = len(tally.violations)
    output.console.print('[red]' + f'{count} violations[/]' if count else 'no violation')
    for v in tally.violations[:SHOWN]:
        output.console.print(
            f'  --seed {v.seed} --episode {v.episode}: tick {v.tick}, {v.what} by {v.amount:.3g}, '
            f'S{v.level} {v.reason}, {v.manner}',
            markup=False,
        )


def _first_break(tallies: Iterator[Any]) -> dict[str, Any] | None:
    """Return the first violation that is a matter of safety, None if there was none."""
    from vla_ros.bench.episode import JERK
    from vla_ros.bench.invariance import GAINS

    ticks = 0
    for tally in tallies:
        ticks += tally.ticks
        for violation in tally.violations:
            if violation.what != JERK:
                period, gain = GAINS[violation.episode % len(GAINS)]
                return {
                    **asdict(violation),
                    'after_ticks': ticks,
                    'period': period,
                    'barrier_gain': gain,
                }
    return None
