"""`vla train`: the tiny VLA from nothing, a checkpoint or a data set, in slices that resume."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
import time

import click

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output


@click.command()
@click.option('--data', type=click.Path(path_type=Path), default=None, metavar='DIR',
              help='Fine-tune the shipped model on this LeRobot data set.')  # fmt: skip
@click.option('--from', 'begin', type=click.Path(path_type=Path), default=None, metavar='DIR',
              help='Begin with the weights of this checkpoint; its eyes stay as they are.',
              )  # fmt: skip
@click.option('--work', type=click.Path(path_type=Path), default=None,
              help='Resumable state.  [default: out/training, out/warm or out/finetune]',
              )  # fmt: skip
@click.option('--output-folder', type=click.Path(path_type=Path), default=None,
              help='The checkpoint.  [default: checkpoints/tiny_pi0, else WORK/checkpoint]',
              )  # fmt: skip
@click.option('--minutes', type=click.FloatRange(min=0.1), default=10.0,
              help='Length of this slice; run the command again to go on.')  # fmt: skip
@click.option('--workers', type=click.IntRange(min=1), default=2,
              help='Processes that record demonstrations.')  # fmt: skip
@click.option('--steps', type=click.IntRange(min=1), default=None,
              help='Optimiser steps of --from or --data, over all slices.  [default: 1400, 600]',
              )  # fmt: skip
@click.option('--hazards', type=click.IntRange(min=1), default=None, metavar='N',
              help='With --from: learn from N episodes of each hazard too, met behind the filter.',
              )  # fmt: skip
@click.option('--device', default='cpu', help="Where the networks train: 'cpu' or 'cuda'.")
@json_option
def verb(
    data: Path | None,
    begin: Path | None,
    work: Path | None,
    output_folder: Path | None,
    minutes: float,
    workers: int,
    steps: int | None,
    hazards: int | None,
    device: str,
    output: Output,
) -> None:
    """Train the tiny VLA; stops and resumes at any point.

    Without --data it makes demonstrations in simulation and learns from them: everything from
    nothing, or with --from a checkpoint's policy alone. With --hazards the shipped policy and the
    expert also play the suite of that name, and it learns what the expert would have done. With
    --data it begins with the shipped model and learns from a data set, as `vla export` writes it.
    """
    if data is not None and begin is not None:
        raise click.UsageError('--from and --data exclude each other: name one of them.')
    if steps is not None and data is None and begin is None:
        raise click.UsageError('--steps goes with --from or --data.')
    if hazards is not None and begin is None:
        raise click.UsageError('--hazards goes with --from.')
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from vla_ros import graph, paths
    from vla_ros.config import load
    from vla_ros.evaluation.demonstrate import demonstrate
    from vla_ros.robot import load_robot
    from vla_ros.spec import PolicySpec
    from vla_ros.training.finetune import finetune, Tuning
    from vla_ros.training.train import Advance, Recipe, train, WARM

    from_nothing = data is None and begin is None
    work = work or Path('out') / ('training' if from_nothing else 'warm' if begin else 'finetune')
    into = output_folder or (
        Path('checkpoints/tiny_pi0') if from_nothing else work / 'checkpoint'
    )

    columns = (TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn(), TextColumn('{task.fields[detail]}'))  # fmt: skip
    started = time.monotonic()
    reached: dict[str, dict[str, int]] = {}
    with Progress(*columns, console=output.console) as progress:
        bars = {}

        def report(advance: Advance) -> None:
            stage = advance.stage
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=advance.total, detail='')
            progress.update(
                bars[stage], completed=advance.done, total=advance.total, detail=advance.detail
            )
            reached[stage] = {'done': advance.done, 'total': advance.total}

        seconds = 60.0 * minutes
        if data is None:
            recipe = Recipe() if begin is None else WARM
            recipe = recipe if steps is None else replace(recipe, policy_steps=steps)
            more = None if hazards is None else partial(
                demonstrate, episodes=hazards, policy='tiny_pi0', workers=workers
            )  # fmt: skip
            finished = train(recipe, work, into, seconds, workers, device, report, begin, more)
        else:
            tuning = Tuning() if steps is None else Tuning(steps=steps)
            spec = load(paths.find('policies', 'tiny_pi0'), PolicySpec)
            robot = load_robot(paths.find('robots', str(graph.ARGUMENTS['robot'].default)))
            finished = finetune(tuning, data, spec, robot, work, into, seconds, device, report)
    if finished:
        output.console.print(f'finished: {into}', markup=False)
    else:
        output.console.print('slice over: run `vla train` again to go on.', markup=False)
    output.write(
        {'finished': finished, 'stages': reached, 'wall_seconds': time.monotonic() - started}
    )
