"""`vla bench options`: what options that change answers cost."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import click

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output

FOLDER = Path('out/bench/options')


@click.command()
@click.option('--policy', default='tiny_pi0', show_default=True, metavar='POLICY',
              help='Policy file of a flow: a name in config/policies or a path.')  # fmt: skip
@click.option('--robot', default='panda', show_default=True, metavar='ROBOT')
@click.option('--safety', default='default', show_default=True, metavar='SAFETY')
@click.option('--suite', default='tabletop', show_default=True, metavar='SUITE')
@click.option('--observations', type=click.IntRange(min=1), default=100, show_default=True,
              help='At least, of whole episodes, whose answers are compared.')  # fmt: skip
@click.option('--episodes', type=click.IntRange(min=0), default=200, show_default=True,
              help='Of each variant, the same ones; 0 compares answers alone.')  # fmt: skip
@click.option('--workers', type=click.IntRange(min=1), default=1, show_default=True)
@click.option('--log', type=click.Path(dir_okay=False, path_type=Path), default=None,
              help='Keep each episode here as it ends; one that is kept is not played again.'
              )  # fmt: skip
@json_option
def options(
    policy: str,
    robot: str,
    safety: str,
    suite: str,
    observations: int,
    episodes: int,
    workers: int,
    log: Path | None,
    output: Output,
) -> None:
    """Compare options that change a flow policy's answers with the policy file as it is.

    Fewer flow steps, pictures that keep their tokens, rounded weights. An action's change is the
    largest one of a chunk, from the same observation and noise, by slice of the action in its own
    unit. Success is that of the same episodes, with the interval of the paired difference.
    """
    from rich.progress import Progress

    from vla_ros.evaluation import options as bench
    from vla_ros.evaluation.runner import Evaluation, jobs, Played

    started = time.monotonic()
    files = bench.write_variants(policy, FOLDER)
    rows: list[dict[str, Any]] = []
    with Progress(console=output.console) as progress:
        bar = progress.add_task('answers', total=1 + len(files))
        for row in bench.deviations(policy, files, robot, safety, suite, observations):
            rows.append(row._asdict())
            progress.advance(bar)
        if episodes:
            names = (policy, *map(str, files.values()))
            asked = Evaluation(robot, names, safety, suite, episodes, seed=0)
            bar = progress.add_task('episodes', total=len(jobs(asked)))

            def done(_one: Played) -> None:
                progress.advance(bar)

            for entry, cell in zip(rows, bench.success(asked, workers, log, done)):
                entry['success'] = cell
    output.console.print(_table(rows))
    output.write({
        'policy': policy, 'suite': suite, 'episodes': episodes, 'variants': rows,
        'wall_seconds': time.monotonic() - started,
    })  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> Any:
    """Return the table for a human."""
    from rich.table import Table

    out = Table(box=None, pad_edge=False)
    changes = [f'{kind}: median, worst' for kind in rows[0]['slices']]
    for name in ('', 'CPU ms', *changes, 'success', 'against as it is [points]'):
        out.add_column(name, justify='right' if name else 'left', overflow='fold')
    for row in rows:
        found = [f'{median:.2g}, {worst:.2g}' for median, worst in row['slices'].values()]
        out.add_row(row['name'], f'{row["ms"]:.1f}', *found, *_success(row.get('success')))
    return out


def _success(cell: dict[str, Any] | None) -> tuple[str, str]:
    if cell is None:
        return '', ''
    low, high = cell['wilson_95']
    share = f'{cell["success_rate"]:.1%} [{low:.1%}, {high:.1%}]'
    against = cell['against_first']
    if against is None:
        return share, ''
    low, high = against['interval_95']
    return share, f'{100 * against["difference"]:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]'
