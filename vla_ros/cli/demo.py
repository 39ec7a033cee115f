"""`vla demo`: the whole chain once, live, recorded."""

from __future__ import annotations

import json
from pathlib import Path
import secrets
import time
from typing import Any, TYPE_CHECKING

import click

from vla_ros import config, paths
from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output, plain
from vla_ros.fit import require_fit
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec

if TYPE_CHECKING:
    from vla_ros.nodes.client import Client, Progress

AFTER = 1.0  # [s] recorded after the end
START = 10.0  # [s] for the recorder to hear its topics
SLACK = 10.0  # [s] of wall time for the end of an instruction beyond its limit
REFRESH = 0.1  # [s]
BAG = 'bag'  # folder of the recording


@click.command()
@launch_options('seed', 'task', 'suite', 'policy', 'safety', 'robot')
@click.option(
    '--out',
    type=click.Path(file_okay=False, path_type=Path),
    default=Path('out/demo'),
    help='Folder for summary.json, demo.mp4, plot.png, log.txt and the recording, bag/.',
)
@json_option
def verb(
    seed: int, task: str, suite: str, policy: str, safety: str, robot: str, out: Path,
    output: Output,
) -> None:  # fmt: skip
    """Run simulator, policy and safety filter as ROS processes, and follow one instruction."""
    from vla_ros.evaluation.suite import load_suite, MOST_EPISODES

    started = time.monotonic()
    tasks = load_suite(suite)
    if seed < 0:
        seed = tasks.first_seed + secrets.randbelow(MOST_EPISODES)
    episode = tasks.episode(task, seed)
    arm = load_robot(paths.find('robots', robot))
    require_fit(arm, config.load(paths.find('policies', policy), PolicySpec))
    arguments = {'robot': robot, 'policy': policy, 'safety': safety, 'suite': suite,
                 'task': task, 'seed': seed, 'record': True, 'bag': str(out / BAG)}  # fmt: skip
    output.console.print(f'seed {seed}: “{episode.instruction}” (repeat with SEED={seed})')
    summary = _run(arm, arguments, episode.instruction, episode.time_limit, out, output.console)
    summary.update(
        instruction=episode.instruction, task=task, seed=seed, policy=policy,
        wall_seconds=time.monotonic() - started,
    )  # fmt: skip
    (out / 'summary.json').write_text(json.dumps(plain(summary), indent=2) + '\n')
    output.write(summary)
    mark = '[bold green]SUCCESS[/]' if summary['success'] else '[bold red]FAILURE[/]'
    output.console.print(
        f'{mark} “{episode.instruction}”: {summary["message"]} after '
        f'{summary["sim_seconds"]:.1f} s; {summary["chunks"]} chunks, smallest barrier '
        f'{1e3 * summary["min_barrier_m"]:.0f} mm, {summary["missed_ticks"]} of '
        f'{summary["control_ticks"]} ticks missed → {out}/',
        soft_wrap=True,
    )
    if not summary['success']:
        raise SystemExit(1)


def _run(
    robot: Any, arguments: dict[str, Any], instruction: str, limit: float, out: Path, console: Any
) -> dict[str, Any]:
    """Start the graph, follow the instruction, and return the figures of the run."""
    from rich.live import Live

    from vla_ros.cli.session import session
    from vla_ros.evaluation.report import plot
    from vla_ros.nodes.recorder import Recorder, VideoRecorder
    from vla_ros.status import RunCode

    out.mkdir(parents=True, exist_ok=True)
    _forget(out / BAG)
    with session(robot, arguments, out / 'log.txt') as graph:
        client = graph.client
        with console.status('starting simulator, safety filter and policy …'):
            graph.ready()
        recorder = Recorder(client, robot)
        with (
            VideoRecorder(client, robot, out / 'demo.mp4', instruction) as video,
            Live(console=console, refresh_per_second=1.0 / REFRESH, transient=True) as live,
        ):
            graph.until(lambda: recorder.heard, START, 'the execution state')
            run = client.run(instruction, limit, progress := _Latest())

            def show() -> None:
                live.update(_view(client, instruction, progress.value))

            graph.until(lambda: run.done, limit + SLACK, 'the end of the instruction', show)
            report = run.result(0.1)
            statuses = recorder.moved()
            time.sleep(AFTER)
            show()
    if video.failure is not None:
        raise video.failure
    plot(recorder.log, out / 'plot.png', f'“{instruction}”, seed {arguments["seed"]}')
    return {
        'success': report.code is RunCode.SUCCEEDED,
        'message': report.message,
        'sim_seconds': report.elapsed,
        'chunks': report.chunks,
        'control_ticks': statuses[-1].ticks,
        'missed_ticks': statuses[-1].missed_ticks,
        'longest_gap_ms': 1e3 * statuses[-1].longest_gap,
        'max_safety_level': max(status.level for status in statuses),
        'min_barrier_m': min(status.min_barrier for status in statuses),
    }


def _forget(bag: Path) -> None:
    """Remove the recording of the demo before; nothing else that may be in its place."""
    for file in (*bag.glob('*.mcap'), *bag.glob('metadata.yaml*')):
        file.unlink()


class _Latest:
    """Keeps the newest feedback."""

    def __init__(self) -> None:
        self.value: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self.value = progress


def _view(client: Client, instruction: str, progress: Progress | None) -> Any:
    """Return the live table: instruction, phase, distance, safety, rates."""
    from rich.panel import Panel
    from rich.table import Table

    task, safety, policy = client.task, client.safety, client.policy
    assert task, 'the graph is ready'
    assert safety
    assert policy
    colours = ('green', 'yellow', 'dark_orange', 'red', 'red')
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style='dim', min_width=10)
    grid.add_column(min_width=60)
    distance = 1e3 * task.tool_to_target
    grid.add_row('task', f'{task.phase}, {distance:.0f} mm to the {task.target}')
    grid.add_row('policy', f'{policy.phase.name.lower()}: {policy.message}')
    why = f' {safety.reason}' if safety.reason else ''
    grid.add_row('safety', f'[{colours[safety.level]}]S{safety.level}[/]{why}')
    barrier = f'{1e3 * safety.min_barrier:.0f} mm ({safety.min_barrier_pair})'
    grid.add_row('barrier', barrier)
    elapsed = progress.elapsed if progress else 0.0
    grid.add_row(
        'rates',
        f'{policy.rate:.1f} chunks/s, inference {1e3 * policy.inference[0]:.0f} ms, '
        f'{safety.missed_ticks}/{safety.ticks} ticks missed, {elapsed:.1f} s',
    )
    return Panel(grid, title=f'“{instruction}”', expand=False)
