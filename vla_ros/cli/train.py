"""`vla train`: the tiny VLA from nothing, in slices that resume."""

from __future__ import annotations

from pathlib import Path
import time

import click

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output


@click.command()
@click.option('--work', type=click.Path(path_type=Path), default=Path('out/training'),
              help='Demonstrations and resumable state.')  # fmt: skip
@click.option('--output-folder', type=click.Path(path_type=Path),
              default=Path('checkpoints/tiny_pi0'), help='The checkpoint.')  # fmt: skip
@click.option('--minutes', type=click.FloatRange(min=0.1), default=10.0,
              help='Length of this slice; run the command again to go on.')  # fmt: skip
@click.option('--workers', type=click.IntRange(min=1), default=2,
              help='Processes that record demonstrations.')  # fmt: skip
@click.option('--device', default='cpu', help="Where the networks train: 'cpu' or 'cuda'.")
@json_option
def verb(
    work: Path, output_folder: Path, minutes: float, workers: int, device: str, output: Output
) -> None:
    """Make demonstrations and train the tiny VLA on them; stops and resumes at any point."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from vla_ros.training.train import Advance, Recipe, train

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

        finished = train(Recipe(), work, output_folder, 60.0 * minutes, workers, device, report)
    if finished:
        output.console.print(f'finished: {output_folder}', markup=False)
    else:
        output.console.print('slice over: run `vla train` again to go on.', markup=False)
    output.write(
        {'finished': finished, 'stages': reached, 'wall_seconds': time.monotonic() - started}
    )
