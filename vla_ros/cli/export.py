"""`vla export`: bags to a LeRobot data set, and an episode of one back to a bag."""

from __future__ import annotations

from pathlib import Path
import tempfile
import time

import click

from vla_ros import graph, paths
from vla_ros.cli.options import json_option, Named
from vla_ros.cli.output import Output
from vla_ros.robot import load_robot, RobotSpec


@click.command(
    epilog='\b\nvla export out/demo/bag --lerobot out/data      a data set of its episodes'
    '\nvla export out/data --bag out/look --episode 3  and back'
)
@click.argument('sources', nargs=-1, required=True, metavar='BAG... | DATASET',
                type=click.Path(path_type=Path))  # fmt: skip
@click.option('--lerobot', 'data_set', type=click.Path(path_type=Path), metavar='DIR',
              help='Write bags as a LeRobot data set (v3.0), or add them to one.')  # fmt: skip
@click.option('--bag', type=click.Path(path_type=Path), metavar='DIR',
              help='Write one episode of a data set as a bag.')  # fmt: skip
@click.option('--robot', type=Named('robots'), default=None,
              help="Robot file: a name in config/robots or a path.  [default: the bag's own, "
              "the data set's robot_type, else panda]")  # fmt: skip
@click.option('--fps', type=click.IntRange(1, 240), default=10, help='Rows a second.')
@click.option('--task', default='', help='Sentence of a bag that says no instruction.')
@click.option('--max-age', type=click.FloatRange(min=0.0, min_open=True), default=0.2,
              help='Oldest picture or joint state that still stands for a row [s].')  # fmt: skip
@click.option('--shortest', type=click.FloatRange(min=0.0), default=1.0,
              help='Episodes shorter than this are dropped [s].')  # fmt: skip
@click.option('--episode', type=click.IntRange(min=0), default=0,
              help='With --bag: which episode, counted from 0.')  # fmt: skip
@json_option
def verb(
    sources: tuple[Path, ...],
    data_set: Path | None,
    bag: Path | None,
    robot: str | None,
    fps: int,
    task: str,
    max_age: float,
    shortest: float,
    episode: int,
    output: Output,
) -> None:
    """Export bags to a LeRobot data set, or an episode of a data set to a bag.

    An episode is what was recorded under one instruction. A data set that exists grows, if its
    robot, rate and cameras are the same; a run that is killed leaves it as it was.
    """
    if (data_set is None) == (bag is None):
        raise click.UsageError(
            'say where to: --lerobot DIR for a data set, or --bag DIR for a bag.'
        )
    if data_set is not None:
        _to_data_set(sources, data_set, robot, (fps, max_age, shortest), task, output)
    elif bag is not None:
        if len(sources) != 1:
            raise click.UsageError(f'--bag takes one data set, not {len(sources)}.')
        _to_bag(sources[0], bag, robot, episode, output)


def _to_data_set(
    bags: tuple[Path, ...],
    folder: Path,
    robot: str | None,
    settings: tuple[int, float, float],
    task: str,
    output: Output,
) -> None:
    from rich.progress import Progress

    from vla_ros.bags.alignment import Settings
    from vla_ros.bags.export import export
    from vla_ros.bags.reader import open_bag

    started = time.monotonic()
    with open_bag(bags[0]) as first:
        spec, _ = _robot(robot, first.metadata.get('robot'), '')
    with Progress(console=output.console) as progress:
        bars = {}

        def report(stage: str, share: float) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=1.0)
            progress.update(bars[stage], completed=share)

        done = export(bags, folder, spec, Settings(*settings), task, report)
        for bar in bars.values():
            progress.update(bar, completed=1.0)
    for note in done.notes:
        output.console.print(f'note: {note}', markup=False)
    output.console.print(
        f'{folder}: {done.episodes} episodes, {done.frames} frames added '
        f'({done.totals.episodes} and {done.totals.frames} in all).',
        markup=False,
    )
    output.write(
        {
            'folder': str(folder),
            'robot': spec.name,
            'fps': settings[0],
            'episodes': done.episodes,
            'frames': done.frames,
            'total_episodes': done.totals.episodes,
            'total_frames': done.totals.frames,
            'tasks': done.totals.tasks,
            'intervention_frames': done.interventions,
            'cameras': done.cameras,
            'features': done.features,
            'notes': done.notes,
            'wall_seconds': time.monotonic() - started,
        }
    )


def _to_bag(source: Path, folder: Path, robot: str | None, episode: int, output: Output) -> None:
    from rich.progress import Progress

    from vla_ros.bags.lerobot_bag import write_bag
    from vla_ros.bags.lerobot_reader import open_data_set

    data = open_data_set(source)
    spec, text = _robot(robot, None, data.robot or '')
    rows = int(data.entry(episode)['length'])
    said = {'robot': text, 'data_set': str(source), 'episode': str(episode)}
    with Progress(console=output.console) as progress:
        bar = progress.add_task(f'episode {episode}', total=rows)
        counts = write_bag(
            data, episode, folder, spec, said, lambda done: progress.update(bar, completed=done)
        )
    output.console.print(
        f'{folder}: {sum(counts.values())} messages of episode {episode}, {rows} rows, '
        f"'{data.task(episode)}'.",
        markup=False,
    )
    output.write(
        {
            'folder': str(folder),
            'episodes': 1,
            'frames': rows,
            'features': data.features,
            'task': data.task(episode),
            'topics': counts,
        }
    )


def _robot(name: str | None, text: str | None, kind: str) -> tuple[RobotSpec, str]:
    """Return robot and text of its file: as asked, else the bag's, the data set's, or panda."""
    if name is None and text:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / 'robot_of_the_bag.yaml'
            file.write_text(text, encoding='utf-8')
            return load_robot(file), text
    wanted = name or kind or str(graph.ARGUMENTS['robot'].default)
    file = paths.find('robots', wanted)
    return load_robot(file), file.read_text(encoding='utf-8')
