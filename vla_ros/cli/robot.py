"""`vla robot`: files that describe robots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

import click

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output

if TYPE_CHECKING:
    from vla_ros.importing.importer import Imported


@click.group()
def verb() -> None:
    """Make robot files."""


@verb.command('import')
@click.argument('source', type=click.Path(path_type=Path), required=False)
@click.argument('arguments', nargs=-1, metavar='[NAME:=VALUE]...')
@click.option('--topic', default=None, help='Read a live robot_description instead of a file.')
@click.option('--srdf', type=click.Path(path_type=Path), default=None, help='Pairs and poses.')
@click.option(
    '--out', type=click.Path(file_okay=False, path_type=Path), default=Path(),
    help='Folder for NAME.yaml, NAME.urdf and NAME.png.',
)  # fmt: skip
@click.option('--name', default=None, help='Of the robot.  [default: as the URDF says]')
@click.option('--base', default=None, help='Link that stands still.  [default: the root]')
@click.option('--tool', default=None, help='Link of the tool centre.  [default: found by name]')
@click.option('--gripper', default=None, help='Joint of the gripper.  [default: found]')
@click.option('--joints', default='', help='Joints of the arm, with commas.  [default: found]')
@click.option(
    '--package-dir', 'packages', type=click.Path(file_okay=False, path_type=Path), multiple=True,
    help='Where packages of meshes lie; may be given again.',
)  # fmt: skip
@click.option('--seed', type=click.IntRange(min=0), default=0, help='Of the sampled poses.')
@json_option
def import_(
    source: Path | None,
    arguments: tuple[str, ...],
    topic: str | None,
    srdf: Path | None,
    out: Path,
    packages: tuple[Path, ...],
    joints: str,
    output: Output,
    **asked: Any,
) -> None:
    """Make a robot file from SOURCE, a URDF or a xacro file (with NAME:=VALUE).

    Finds arm, tool and gripper, fits capsules and proves that they enclose every link, finds the
    pairs that need no check, and proposes limits and a home. The options overrule what is found.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from vla_ros.importing.description import folders_of
    from vla_ros.importing.importer import Asked, import_robot
    from vla_ros.importing.source import read_source
    from vla_ros.importing.srdf import read_srdf

    if (source is None) == (topic is None):
        raise click.UsageError('name a URDF or a xacro file, or --topic robot_description.')
    columns = SpinnerColumn(), TextColumn('{task.description}'), TimeElapsedColumn()
    with Progress(*columns, console=output.console, transient=True) as progress:
        bar = progress.add_task('description')
        if source is not None:
            text, where = read_source(source, arguments), source.name
        else:
            text, where = _listen(str(topic)), f'topic {topic}'
        done = import_robot(
            text,
            where,
            out,
            folders_of(source, packages),
            Asked(joints=tuple(name for name in joints.split(',') if name), **asked),
            None if srdf is None else read_srdf(srdf),
            lambda what: progress.update(bar, description=what),
        )
    findings = _findings(done)
    _tell(done, findings, output)
    output.write(_as_json(done, findings))
    if findings:
        raise SystemExit(1)


def _listen(topic: str) -> str:
    from vla_ros.nodes.latched import read_text

    return read_text(topic)


def _findings(done: Imported) -> list[str]:
    """Return what `vla check NAME hold` says; holding no gripper, where there is none."""
    from vla_ros import config, paths
    from vla_ros.fit import check
    from vla_ros.spec import PolicySpec

    hold = config.load(paths.find('policies', 'hold'), PolicySpec)
    if done.parts.gripper is None:
        hold = replace(hold, action=tuple(p for p in hold.action if p.kind != 'gripper'))
    return check(done.robot, hold)


def _tell(done: Imported, findings: list[str], output: Output) -> None:
    say = output.console.print
    parts = done.parts
    say(f'arm      {", ".join(joint.name for joint in parts.arm)}', markup=False)
    say(f'tool     {parts.tool}', markup=False)
    say(f'gripper  {parts.gripper.name if parts.gripper else "none"}', markup=False)
    ignored = ', '.join(f'{count} {reason}' for reason, count in done.ignored.items())
    say(f'pairs    {done.checked} checked; not: {ignored or "none"}', markup=False)
    say(f'capsules {len(done.robot.capsules)}, which enclose every link', markup=False)
    for note in (*findings, *done.notes):
        say(f'[{"red" if note in findings else "yellow"}]![/] ', end='')
        say(note, markup=False)
    for file in (done.file, done.urdf, done.picture):
        say(f'wrote    {file}', markup=False, soft_wrap=True)
    say(f'next     vla check {done.file} hold', markup=False, soft_wrap=True)


def _as_json(done: Imported, findings: list[str]) -> dict[str, Any]:
    parts, robot = done.parts, done.robot
    return {
        'ok': not findings,
        'findings': findings,
        'notes': list(done.notes),
        'file': str(done.file),
        'urdf': str(done.urdf),
        'picture': str(done.picture),
        'robot': robot.name,
        'base_frame': robot.base_frame,
        'tool_frame': parts.tool,
        'joints': [joint.name for joint in parts.arm],
        'gripper': parts.gripper.name if parts.gripper else None,
        'home': list(robot.home),
        'capsules': len(robot.capsules),
        'checked_pairs': done.checked,
        'ignored_pairs': done.ignored,
        'floor_height': robot.floor_height,
    }
