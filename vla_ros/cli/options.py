"""Options that verbs share: the launch arguments of graph.py, and `--json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from vla_ros import graph, paths
from vla_ros.cli.output import Output

F = TypeVar('F', bound=Callable[..., Any])

FOLDERS = {noun.split()[0]: kind for kind, noun in paths.NOUNS.items()}  # argument -> in config/


class Named(click.ParamType):
    """The name of a file in config/, or the path of one; completes with Tab."""

    def __init__(self, kind: str) -> None:
        """Take a folder of config/, such as 'robots'."""
        self.kind = kind
        self.name = paths.NOUNS[kind].split()[0]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return the names that begin as the incomplete word does."""
        known = sorted(file.stem for file in (paths.share() / 'config' / self.kind).glob('*.yaml'))
        return [CompletionItem(name) for name in known if name.startswith(incomplete)]


def launch_options(*names: str) -> Callable[[F], F]:
    """Add launch arguments of graph.py as options, with their defaults and descriptions."""

    def decorate(function: F) -> F:
        for name in reversed(names):
            argument = graph.ARGUMENTS[name]
            kind = Named(FOLDERS[name]) if name in FOLDERS else type(argument.default)
            function = click.option(
                f'--{name.replace("_", "-")}',
                type=None if kind is bool else kind,
                is_flag=kind is bool,
                default=argument.default,
                help=argument.description,
            )(function)
        return function

    return decorate


def json_option(function: F) -> F:
    """Add `--json PATH`, which the verb receives as `output`."""
    return click.option(
        '--json',
        'output',
        metavar='PATH',
        type=Output,
        default=None,
        callback=lambda _context, _option, value: value or Output(None),
        help='Write the result as JSON to PATH; - for standard output, and nothing else there.',
    )(function)
