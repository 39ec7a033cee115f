"""`vla eval`: a policy on a task suite, with its controls."""

from __future__ import annotations

from pathlib import Path
import time

import click

from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output

ALL = 'all'
CONTROLS = 100  # episodes of each: an interval of 4 points at no success

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option('--episodes', type=click.IntRange(min=1), default=200, help='In each cell.')
@click.option(
    '--seed',
    type=click.IntRange(0, 9_999),  # later ones are for demonstrations
    default=0,
    help='Which episodes.',
)
@launch_options('suite', 'policy', 'safety', 'robot')
@click.option('--against', metavar='POLICY', help='Play the same episodes by a second policy.')
@click.option(
    '--controls',
    type=click.IntRange(min=0),
    default=None,
    metavar='N',
    help=f'Episodes of each control.  [default: up to {CONTROLS} of a suite that changes nothing]',
)
@click.option(
    '--mode',
    'modes',
    multiple=True,
    metavar='MODE|all',
    help='What the safety filter may do: path, cbf, ...; may be given again.  '
    '[default: as its file says]',
)
@click.option(
    '--axis',
    'axes',
    multiple=True,
    metavar='NAME',
    help="Of the suite's trials, only these: camera, on, ...; may be given again.",
)
@click.option(
    '--severity',
    'severities',
    type=int,
    multiple=True,
    metavar='S',
    help='Of perturbations or hazards, only these; may be given again.',
)
@click.option(
    '--log',
    type=_FILE,
    help='Keep each episode here as it ends; one that is kept is not played again.',
)
@click.option('--workers', type=click.IntRange(min=1), default=1, help='Processes.')
@click.option(
    '--cluster',
    metavar='ADDRESS|local',
    help='Play on a Ray cluster, as many episodes at a time as there are --workers.',
)
@click.option(
    '--videos',
    type=click.Path(path_type=Path, file_okay=False),
    help='Film the first failures into this folder.',
)
@click.option('--report', type=_FILE, help='Write a page of HTML with everything in it.')
@click.option('--ros', is_flag=True, help='Through the real nodes, in real time; no controls.')
@json_option
def verb(
    episodes: int, seed: int, suite: str, policy: str, safety: str, robot: str,
    against: str | None, controls: int | None, modes: tuple[str, ...], axes: tuple[str, ...],
    severities: tuple[int, ...], log: Path | None, workers: int, cluster: str | None,
    videos: Path | None, report: Path | None, ros: bool, output: Output,
) -> None:  # fmt: skip
    """Measure a policy on a task suite, on seeds that no demonstration used.

    Policy 'expert' is the scripted expert, which sees the truth.

    A suite may play each episode under several trials: perturbations, latencies, hazards. Trials,
    modes and policies make cells, which play the same episodes and compare pair by pair.

    Two controls are part of a suite that changes nothing: pictures of another episode, and the
    instruction of another object of the same scene. Success is judged for the original target in
    both; chance is what the scripted expert gets when it believes the exchanged input.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from vla_ros.evaluation.eval_report import film_failures
    from vla_ros.evaluation.eval_report import page as report_page
    from vla_ros.evaluation.figures import figures
    from vla_ros.evaluation.page import write
    from vla_ros.evaluation.report import cell_table, speed_line, table
    from vla_ros.evaluation.runner import Evaluation, jobs, Played, Player, run
    from vla_ros.evaluation.suite import load_suite
    from vla_ros.safety.config import MODES

    chosen = load_suite(suite)
    plain = len(chosen.trials) == 1 and not chosen.sequences
    if ros and (not plain or against or modes or controls or log or workers > 1 or cluster
                or videos):  # fmt: skip
        raise click.UsageError(
            '--ros plays a suite that changes nothing, by one policy in one mode, without '
            '--controls, --log, --workers, --cluster and --videos; leave the others out.'
        )
    evaluation = Evaluation(
        robot,
        tuple(dict.fromkeys(filter(None, (policy, against)))),
        safety,
        suite,
        episodes,
        seed,
        min(episodes, (CONTROLS if plain and not ros else 0) if controls is None else controls),
        MODES if ALL in modes else modes,
        axes,
        severities,
    )
    started = time.monotonic()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    films = {}
    with Progress(*columns, console=output.console) as progress:
        bar = progress.add_task('loading', total=len(jobs(evaluation)))

        def done(one: Played) -> None:
            progress.update(bar, advance=1, description=f'{one.cell.policy}: {one.cell.trial}')

        if ros:
            from vla_ros.cli.eval_ros import play

            cell, played = evaluation.cells[0], []
            for index, outcome in enumerate(play(robot, policy, safety, suite, episodes, seed)):
                played.append(Played(index, cell, outcome))
                done(played[-1])
        else:
            player = Player(evaluation)
            played = run(evaluation, workers, done, log, player, cluster)
            if videos is not None:
                progress.update(bar, description='films')
                films = film_failures(played, player.play, videos, player.period)
    result = figures(evaluation, played)
    result['wall_seconds'] = time.monotonic() - started
    output.console.print(
        (table if len(result['cells']) == 1 else cell_table)(result), soft_wrap=True, markup=False
    )
    if result['speed'] is not None:
        output.console.print(speed_line(result['speed']), soft_wrap=True, markup=False)
    if report is not None:
        write(report, report_page(result, played, films))
    output.write(result)
