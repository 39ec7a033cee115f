"""`vla show`: the graph, a robot or a policy, or a list of all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem
import yaml

from vla_ros import paths
from vla_ros.cli import show_graph, show_policy, show_robot
from vla_ros.cli.options import json_option, Named
from vla_ros.cli.output import Output, plain
from vla_ros.graph import ARGUMENTS
from vla_ros.robot import load_robot

LISTS: dict[str, Callable[[str], dict[str, Any]]] = {  # folders of config/ -> one of its files
    'robots': show_robot.describe,
    'policies': show_policy.describe,
    'suites': show_policy.describe_suite,
}
ONE = {'graph': 'robots', 'robot': 'robots', 'policy': 'policies'}  # what NAME is a file of


class OneName(click.ParamType):
    """The name that goes with the kind before it; completes with Tab."""

    name = 'name'

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names of that kind that begin as the incomplete word does."""
        kind = ONE.get(ctx.params.get('kind', ''))
        return Named(kind).shell_complete(ctx, param, incomplete) if kind else []


@click.command()
@click.argument('kind', type=click.Choice((*LISTS, *ONE)))
@click.argument('name', type=OneName(), required=False)
@click.option('--hardware', is_flag=True, help='The graph without the simulator.')
@click.option('--dot', is_flag=True, help='The graph as text for Graphviz.')
@click.option('--mermaid', is_flag=True, help='The graph as text for Mermaid.')
@click.option('--picture', metavar='FILE', type=Path, help="Draw a robot's capsules at home.")
@json_option
def verb(
    kind: str,
    name: str | None,
    hardware: bool,
    dot: bool,
    mermaid: bool,
    picture: Path | None,
    output: Output,
) -> None:
    """Print the graph of a robot, a robot, or a policy; or list robots, policies or suites.

    `vla show graph [ROBOT]`, `vla show robot [NAME]` and `vla show policy [NAME]` show one, by
    default that of `vla up`.
    """
    if kind in LISTS:
        if name is not None:
            singular = paths.NOUNS[kind]
            raise click.UsageError(f"'{kind}' lists all; for one: vla show {singular} {name}")
        files = sorted((paths.share() / 'config' / kind).glob('*.yaml'))
        entries = {file.stem: LISTS[kind](file.stem) for file in files}
        text = yaml.safe_dump(plain(entries), sort_keys=False, default_flow_style=None, width=100)
        output.console.print(text, end='', markup=False, soft_wrap=True)
        output.write({kind: entries})
        return
    argument = 'policy' if kind == 'policy' else 'robot'
    named = name or str(ARGUMENTS[argument].default)
    entry: dict[str, Any]
    if kind == 'graph':
        robot = load_robot(paths.find('robots', named))
        entry = show_graph.describe(robot, not hardware)
        draw = show_graph.dot if dot else show_graph.mermaid if mermaid else show_graph.tree
        output.console.print(draw(entry), markup=False, soft_wrap=True)
    elif kind == 'robot':
        entry = show_robot.describe_fully(named)
        output.console.print(show_robot.table(entry))
        if picture is not None:
            from vla_ros.cli.show_picture import draw_robot

            draw_robot(load_robot(paths.find('robots', named)), picture)
            output.console.print(f'drawn: {picture}')
    else:
        entry = show_policy.describe_fully(named)
        text = yaml.safe_dump(plain(entry), sort_keys=False, default_flow_style=None, width=100)
        output.console.print(text, end='', markup=False, soft_wrap=True)
    output.write({kind: entry})
