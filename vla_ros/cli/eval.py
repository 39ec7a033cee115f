"""`vla eval`: a policy on a task suite, with its controls."""

from __future__ import annotations

from pathlib import Path
import time

import click

from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output

ALL = 'all'
CONTROLS = 100  # episodes of each: an interval of 4 points at no success


@click.command()
@click.option('--episodes', type=click.IntRange(min=1), default=200, help='Episodes in all.')
@click.option('--seed', type=click.IntRange(min=0), default=0, help='Which episodes.')
@launch_options('suite', 'policy', 'safety', 'robot')
@click.option(
    '--controls',
    type=click.IntRange(min=0),
    default=None,
    metavar='N',
    help=f'Episodes of each control; 0 for none.  [default: up to {CONTROLS}]',
)
@click.option(
    '--mode',
    default=None,
    metavar='MODE|all',
    help="What the safety filter may do: path, cbf, ...; 'all' with --hazard.  "
    '[default: as its file says]',
)
@click.option(
    '--hazard',
    default=None,
    metavar='none|beside|on|all',
    help='Put a thing beside or on the path, or play the same episodes without; no controls.',
)
@click.option(
    '--log',
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help='With --hazard: keep each episode here as it ends; one that is kept is not played again.',
)
@click.option('--workers', type=click.IntRange(min=1), default=1, help='Processes.')
@click.option('--ros', is_flag=True, help='Through the real nodes, in real time; no controls.')
@json_option
def verb(
    suite: str, episodes: int, seed: int, policy: str, safety: str, robot: str,
    controls: int | None, mode: str | None, hazard: str | None, log: Path | None, workers: int,
    ros: bool, output: Output,
) -> None:  # fmt: skip
    """Measure a policy on a task suite, on seeds that no demonstration used.

    Policy 'expert' is the scripted expert, which sees the truth.

    Two controls are part of it: pictures of another episode, and the instruction of another
    object of the same scene. Success is judged for the original target in both; chance is what
    the scripted expert gets when it believes the exchanged input.

    With --hazard, the episodes begin away from the target and a thing stands beside or on the
    way, which the safety filter knows and the expert does not; cells compare pair by pair.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from vla_ros.evaluation.metrics import Outcome
    from vla_ros.evaluation.report import study_table, table
    from vla_ros.evaluation.runner import Evaluation, figures, Job, jobs, run
    from vla_ros.evaluation.study import make_study, Played
    from vla_ros.evaluation.study import run as run_study

    if ros and (hazard or mode):
        raise click.UsageError('--hazard and --mode play in one process; leave out --ros.')
    if hazard is None and (log or mode == ALL):
        raise click.UsageError('--log and --mode all belong to --hazard; name a hazard or all.')
    count = min(episodes, CONTROLS if controls is None else controls)
    started = time.monotonic()
    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=output.console) as progress:
        bar = progress.add_task('loading')
        if hazard is not None:
            study = make_study(robot, policy, safety, suite, hazard, mode, episodes, seed)
            progress.update(bar, total=len(study.hazards) * len(study.modes) * episodes)

            def played(one: Played) -> None:
                progress.update(bar, advance=1, description=one.mode)

            result = run_study(study, workers, log, played)
        elif ros:
            from vla_ros.cli.eval_ros import play

            evaluation = Evaluation(robot, policy, safety, suite, episodes, seed, 0)
            progress.update(bar, total=episodes)
            outcomes: list[Outcome] = []
            for outcome in play(robot, policy, safety, suite, episodes, seed):
                outcomes.append(outcome)
                progress.update(bar, advance=1, description=outcome.instruction)
            result = figures(evaluation, outcomes, {})
        else:
            evaluation = Evaluation(
                robot, policy, safety, suite, episodes, seed, count, mode or ''
            )
            progress.update(bar, total=len(jobs(evaluation)))

            def done(job: Job, outcome: Outcome) -> None:
                progress.update(bar, advance=1, description=f'{job.policy}: {job.condition}')

            result = run(evaluation, workers, done)
    result['wall_seconds'] = time.monotonic() - started
    output.console.print(
        (table if hazard is None else study_table)(result), soft_wrap=True, markup=False
    )
    output.write(result)
