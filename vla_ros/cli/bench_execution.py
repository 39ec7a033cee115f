"""`vla bench execution`: strategies of chunk execution under injected inference delays."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import click

from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output

COLUMNS = (  # key, head, format
    ('delay_ms', 'delay', '{:.0f} ms'),
    ('strategy', 'strategy', '{}'),
    ('success_rate', 'success', '{:.1%}'),
    ('episode_seconds', 'seconds', '{:.2f}'),
    ('time_ratio', 'time', '{:.2f} x'),
    ('stall_seconds', 'stalled', '{:.2f} s'),
    ('seam_velocity_ratio', 'seam dv', '{:.2f}'),
    ('seam_acceleration_ratio', 'seam da', '{:.2f}'),
    ('jerk', 'jerk', '{:.0f}'),
    ('mismatch', 'mismatch', '{:.3f}'),
)


@click.command()
@click.option('--episodes', type=click.IntRange(min=1), default=20, help='In each cell.')
@click.option('--seed', type=click.IntRange(min=0), default=0, help='Which episodes.')
@click.option(
    '--delay',
    'delays',
    type=click.FloatRange(0.0, 5000.0),
    multiple=True,
    metavar='MS',
    help='Of an inference; may be given again.  [default: 0, 100, 200, 300, 500]',
)
@click.option(
    '--strategy',
    'ways',
    multiple=True,
    metavar='NAME',
    help='latest, crossfade, ensemble, weighted, bid, rtc, "rtc identity", "rtc trained", '
    'synchronous; may be given again.  [default: all that the policy offers]',
)
@click.option('--workers', type=click.IntRange(min=1), default=1, help='Processes.')
@click.option(
    '--log',
    type=click.Path(dir_okay=False, path_type=Path),
    help='Keep each episode here as it ends; one that is kept is not played again.',
)
@launch_options('suite', 'policy', 'safety', 'robot')
@json_option
def execution(
    episodes: int,
    seed: int,
    delays: tuple[float, ...],
    ways: tuple[str, ...],
    workers: int,
    log: Path | None,
    suite: str,
    policy: str,
    safety: str,
    robot: str,
    output: Output,
) -> None:
    """Play the same episodes by every strategy under every delay.

    Synchronous execution stands beside them at several horizons; its best is marked. Ratios of a
    seam compare the 99th percentile of the change per control tick, within 50 ms of a chunk's
    arrival and elsewhere, on the plan before the safety filter.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from vla_ros.evaluation.execution import Bench, Played, Player, run

    seconds = tuple(d / 1e3 for d in delays or (0.0, 100.0, 200.0, 300.0, 500.0))
    bench = Bench(robot, policy, safety, suite, episodes, seed, ways, seconds)
    started = time.monotonic()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=output.console) as progress:
        bar = progress.add_task('loading')
        player = Player(bench)
        progress.update(bar, total=len(player.cells) * episodes)

        def done(one: Played) -> None:
            progress.update(bar, advance=1, description=one.name)

        result = run(bench, player, workers, log, done)
    result['wall_seconds'] = time.monotonic() - started
    output.console.print(table(result), soft_wrap=True, markup=False)
    output.write(result)


def table(result: dict[str, Any]) -> str:
    """Return one line for each cell."""
    rows = [[head for _, head, _ in COLUMNS]]
    for cell in result['cells']:
        row = ['-' if cell[key] is None else text.format(cell[key]) for key, _, text in COLUMNS]
        row[1] += ' *' if cell.get('best_synchronous') else ''
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    return '\n'.join('  '.join(c.rjust(w) for c, w in zip(row, widths)) for row in rows)
