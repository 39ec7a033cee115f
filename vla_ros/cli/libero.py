"""`vla libero`: a policy on LIBERO or SafeLIBERO, in the Python that has it."""

from __future__ import annotations

from pathlib import Path
import sys

import click

from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument('suite')
@launch_options('policy')
@click.option(
    '--python', default=sys.executable, show_default='this one', help='Python that has LIBERO.'
)
@click.option('--episodes', type=int, default=50, help='Of each task: its first initial states.')
@click.option('--seed', type=int, default=7, help='Of what no initial state says, and of noise.')
@click.option(
    '--task', 'tasks', type=int, multiple=True, metavar='N',
    help='Only these tasks, from 0; may be given again.',
)  # fmt: skip
@click.option('--level', type=click.Choice(['I', 'II']), help='Of SafeLIBERO.')
@click.option('--limit', type=int, help="Steps of an episode.  [default: the suite's]")
@click.option(
    '--log',
    type=_FILE,
    help='Keep each episode here as it ends; one that is kept is not played again.',
)
@click.option('--workers', type=click.IntRange(min=1), default=1, help='Processes.')
@click.option(
    '--videos',
    type=click.Path(path_type=Path, file_okay=False),
    help='Film the first failures into this folder.',
)
@click.option('--report', type=_FILE, help='Write a page of HTML with everything in it.')
@json_option
def verb(
    suite: str, policy: str, python: str, episodes: int, seed: int, tasks: tuple[int, ...],
    level: str | None, limit: int | None, log: Path | None, workers: int, videos: Path | None,
    report: Path | None, output: Output,
) -> None:  # fmt: skip
    """Measure a policy on SUITE of LIBERO or SafeLIBERO, such as libero_spatial.

    LIBERO runs in a process of its own, of the Python that has it.
    """
    from rich.progress import Progress

    from vla_ros.evaluation.libero.figures import columns, figures, film_failures, page
    from vla_ros.evaluation.libero.runner import LiberoOutcome, LiberoPlayer, run, Where
    from vla_ros.evaluation.libero.suites import LiberoEvaluation
    from vla_ros.evaluation.page import write

    evaluation = LiberoEvaluation(suite, policy, episodes, seed, tasks, level, limit)
    where = Where(evaluation, python)
    player = LiberoPlayer(where)
    try:
        with Progress(console=output.console) as progress:
            bar = progress.add_task(suite, total=len(player.jobs))

            def done(_: LiberoOutcome) -> None:
                progress.update(bar, advance=1)

            played = run(where, workers, done, log, player)
            films = {} if videos is None else film_failures(played, player, videos)
    finally:
        player.world.close()
    found = figures(evaluation, played)
    rows = columns(found)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))]
        output.console.print('  '.join(cells), soft_wrap=True, markup=False)
    if report is not None:
        write(report, page(found, films))
    output.write(found)
