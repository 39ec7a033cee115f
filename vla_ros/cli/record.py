"""`vla record`: a running graph into a bag."""

from __future__ import annotations

from pathlib import Path
import threading
from typing import Any, TYPE_CHECKING

import click

from vla_ros import graph
from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output
from vla_ros.errors import BagError

if TYPE_CHECKING:
    from vla_ros.bags.recording import Progress

REFRESH = 0.5  # [s]


@click.command()
@launch_options('robot', 'policy', 'safety', 'use_sim_time')
@click.option(
    '--out',
    type=click.Path(path_type=Path),
    default=None,
    help='Folder of the bag, which must not exist yet; without it bag_ and the time of day, here.',
)
@click.option(
    '--images',
    type=click.Choice(('raw', 'jpeg')),
    default=graph.ARGUMENTS['images'].default,
    help=graph.ARGUMENTS['images'].description,
)
@json_option
def verb(out: Path | None, images: str, output: Output, **arguments: str | bool) -> None:
    """Record every topic of a running graph as a rosbag2 (MCAP), until Ctrl-C.

    `ros2 bag play` and every other reader of rosbag2 take it; `vla replay` judges a policy by it.
    """
    from vla_ros.nodes.bag_recorder import BagRecorder
    from vla_ros.ros.node import run
    from vla_ros.ros.parameters import overrides

    given = {**arguments, 'images': images, 'bag': str(out or '')}
    nodes: list[BagRecorder] = []

    def make() -> BagRecorder:
        nodes.append(BagRecorder(parameter_overrides=overrides(given)))
        return nodes[0]

    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(nodes, done, output.console), daemon=True)
    watcher.start()
    try:
        status = run(make, graph.RECORDER_NICE)
    finally:
        done.set()
        watcher.join()
    # A node that lives until the interpreter ends is woken by DDS in the middle of that end.
    progress = nodes.pop().progress if nodes else None
    if progress is None:
        raise SystemExit(status or 1)
    output.write(
        {
            'ok': not progress.ended,
            'bag': str(progress.folder),
            'messages': progress.messages,
            'bytes': progress.bytes,
            'seconds': progress.seconds,
            'dropped': progress.dropped,
            'refused': progress.refused,
            'ended': progress.ended,
        }
    )
    colour = 'red' if progress.ended else 'yellow' if progress.trouble else 'green'
    output.console.print(f'[{colour}]{_line(progress)}[/] → {progress.folder}/', soft_wrap=True)
    if progress.trouble:
        output.console.print(progress.trouble, markup=False)
    if progress.ended:
        raise SystemExit(1)


def _watch(nodes: list[Any], done: threading.Event, console: Any) -> None:
    """Show how far it is; end the node when the recording ends by itself."""
    with console.status('waiting for the graph …') as status:
        while not done.wait(REFRESH):
            progress = nodes[0].progress if nodes else None
            if progress is None:
                continue
            status.update(f'recording {progress.folder}: {_line(progress)} (Ctrl-C ends it)')
            if progress.ended and nodes[0].fatal is None:
                nodes[0].die(BagError(progress.ended))
                return


def _line(progress: Progress) -> str:
    dropped = sum(progress.dropped.values())
    return (
        f'{progress.seconds:.0f} s, {progress.messages} messages, {progress.bytes / 1e6:.1f} MB, '
        f'{dropped} dropped'
    )
