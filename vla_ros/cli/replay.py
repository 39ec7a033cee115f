"""`vla replay`: what a policy would have done in a recording, and whether that is good enough."""

from __future__ import annotations

from pathlib import Path
import time

import click

from vla_ros.cli.options import json_option, launch_options, Named
from vla_ros.cli.output import Output

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument('bags', nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    '--policy', 'policies', multiple=True, type=Named('policies'), default=('tiny_pi0',),
    help='Policy file; may be given several times.',
)  # fmt: skip
@launch_options('robot')
@click.option(
    '--safety', 'safeties', multiple=True, type=Named('safety'), default=('default',),
    help='Safety file; may be given several times.',
)  # fmt: skip
@launch_options('scene')
@click.option(
    '--mode',
    type=click.Choice(('open', 'shadow', 'both')),
    default='both',
    help='Open loop: chunks against what was executed. Shadow: through policy and filter.',
)
@click.option(
    '--latency-ms', 'latencies', multiple=True, type=click.FloatRange(min=0.0),
    help='Time that the model takes; may be given several times.  [default: as recorded]',
)  # fmt: skip
@click.option(
    '--jitter-ms', type=click.FloatRange(min=0.0), default=0.0, help='At most so much longer.'
)
@click.option(
    '--drop', type=click.FloatRange(0.0, 1.0, max_open=True), default=0.0,
    help='Share of pictures, joint states and chunks that get lost.',
)  # fmt: skip
@click.option(
    '--reorder', type=click.FloatRange(0.0, 1.0, max_open=True), default=0.0,
    help='Share of them that the next one overtakes.',
)  # fmt: skip
@click.option(
    '--seed',
    type=click.IntRange(min=0),
    default=None,
    help="Of the policy's noise and of the faults.  [default: the recording's, or 0]",
)
@click.option('--instruction', default='', help='In force from the beginning.')
@click.option(
    '--thresholds', type=Named('thresholds'), default='default', help='Limits of the figures.'
)
@click.option('--workers', type=click.IntRange(min=1), default=1, help='Processes.')
@click.option(
    '--out', type=click.Path(path_type=Path, file_okay=False), default=None,
    help='Folder for report.html.',
)  # fmt: skip
@click.option('--junit', type=FILE, default=None, help='Write the verdicts as JUnit XML.')
@click.option(
    '--chunks', type=FILE, default=None,
    help="Write the first bag's chunks as .npz for the policy `replay`, and replay nothing.",
)  # fmt: skip
@json_option
def verb(
    bags: tuple[Path, ...], policies: tuple[str, ...], robot: str, safeties: tuple[str, ...],
    scene: str, mode: str, latencies: tuple[float, ...], jitter_ms: float, drop: float,
    reorder: float, seed: int | None, instruction: str, thresholds: str, workers: int,
    out: Path | None, junit: Path | None, chunks: Path | None, output: Output,
) -> None:  # fmt: skip
    """Replay bags through policies and the safety filter, and judge what comes out.

    A bag needs the robot's joint states and pictures, on the topics of the robot file, and an
    instruction, or one given here. Every bag is replayed with every policy, safety file and
    latency. The same bag, seed and settings give the same numbers. Exit status 1: a figure is
    beyond its limit.
    """
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from vla_ros import paths
    from vla_ros.evaluation.page import write
    from vla_ros.evaluation.replay import report
    from vla_ros.evaluation.replay.chunks import write_chunks
    from vla_ros.evaluation.replay.episode import load_track
    from vla_ros.evaluation.replay.runs import play, Run, Runs
    from vla_ros.robot import load_robot

    if chunks is not None:
        track = load_track(bags[0], load_robot(paths.find('robots', robot)), instruction)
        count = write_chunks(track, chunks)
        output.console.print(f'{count} chunks of {bags[0]} in {chunks}', markup=False)
        output.write({'chunks': count, 'file': str(chunks)})
        return
    runs = Runs(
        tuple(map(str, bags)), policies, safeties,
        tuple(1e-3 * ms for ms in latencies) or (None,), robot, scene, thresholds, mode,
        1e-3 * jitter_ms, drop, reorder, seed, instruction, out is not None,
    )  # fmt: skip
    started = time.monotonic()
    columns = (TextColumn('{task.description}'), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=output.console) as progress:
        whole = progress.add_task('replays', total=_count(runs.mode, bags, policies, safeties,
                                                          runs.latencies))  # fmt: skip
        part = progress.add_task('loading', total=1.0)

        def done(run: Run) -> None:
            progress.update(whole, advance=1)

        def tell(what: str, share: float) -> None:
            progress.update(part, description=what, completed=share)

        found = play(runs, workers, done, tell)
    heads = [escape(name.replace(' ', '\n')) for name in report.COLUMNS]
    table = Table('', *heads, '', box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for number, run in enumerate(found, 1):
        output.console.print(f'{number}  {run.name}', markup=False, soft_wrap=True)
        word = 'passed' if run.passed else '[red]failed[/red]'
        table.add_row(f'{number}', *report.cells(run), word)
    output.console.print(table)
    for run in found:
        for verdict in run.verdicts:
            if not verdict['passed']:
                line = f'{run.name}: {verdict["name"]}: {verdict["message"]}'
                output.console.print(line, style='red', markup=False, soft_wrap=True)
        for note in run.notes:
            output.console.print(f'{run.name}: {note}', style='dim', markup=False, soft_wrap=True)
    if out is not None:
        write(out / 'report.html', report.page(found))
        output.console.print(f'report: {out / "report.html"}', markup=False)
    if junit is not None:
        write(junit, report.junit(found))
    passed = all(run.passed for run in found)
    rows = [run.as_dict() for run in found]
    shared = rows[0] if len(rows) == 1 else {}
    wall = time.monotonic() - started
    output.console.print(
        f'{len(found)} replays in {wall:.1f} s: ' + ('passed' if passed else 'failed')
    )
    output.write({**shared, 'passed': passed, 'replays': rows, 'wall_seconds': wall})
    if not passed:
        raise SystemExit(1)


def _count(mode: str, bags: tuple, policies: tuple, safeties: tuple, latencies: tuple) -> int:
    settings = 1 if mode == 'open' else len(safeties) * len(latencies)
    return len(bags) * len(policies) * settings
