"""`vla VERB`: the entry point, the list of verbs, and errors in one line."""

from __future__ import annotations

from importlib import import_module
import signal
import sys
from typing import Any

import click

from vla_ros.bootstrap import prepare_ros
from vla_ros.errors import UnknownNameError, VlaError

# In the order of a first day with the package. A verb is imported when it is named.
VERBS = {
    'demo': 'Run the whole chain once and record it.',
    'up': 'Start simulator, safety filter and policy; Ctrl-C ends them.',
    'serve': 'Serve a policy to clients on other machines, without ROS.',
    'say': 'Send an instruction to a running policy.',
    'record': 'Record a running graph into a bag; Ctrl-C ends it.',
    'eval': 'Measure a policy on a task suite.',
    'libero': 'Measure a policy on LIBERO or SafeLIBERO, where they are installed.',
    'replay': 'Judge a policy by recordings.',
    'export': 'Turn bags into a LeRobot data set, and back.',
    'train': 'Train the tiny VLA: from nothing, or on a data set.',
    'bench': 'Measure the chain.',
    'robot': 'Make a robot file from a URDF, a xacro file or a live description.',
    'show': 'Print the graph, a robot or a policy, or list all there are.',
    'check': 'Tell whether a policy fits a robot.',
    'doctor': 'Look for what is wrong with this machine or a running system.',
}


class Verbs(click.Group):
    """Loads a verb when it is used, so that `vla --help` and Tab stay fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in their own order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import `vla_ros.cli.NAME` and return its command `verb`."""
        if name not in VERBS:
            return None
        command: click.Command = import_module(f'vla_ros.cli.{name}').verb
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing one."""
        with formatter.section('Verbs'):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the closest verb where the given one is unknown."""
        if args and not args[0].startswith('-') and args[0] not in VERBS:
            raise click.UsageError(str(UnknownNameError('verb', args[0], VERBS)), ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Turn our own errors into one line on standard error and exit status 1."""
        try:
            return super().invoke(ctx)
        except VlaError as error:
            raise click.ClickException(str(error)) from error


@click.command(
    cls=Verbs,
    context_settings={'help_option_names': ['-h', '--help'], 'show_default': True},
    epilog='Tab completion: eval "$(_VLA_COMPLETE=bash_source vla)" (or zsh_source).',
)
def vla() -> None:
    """Run vision-language-action policies on a ROS 2 arm, behind a safety filter."""


def main() -> None:
    """Run the command line, ready for ROS and so are the processes that it starts."""
    prepare_ros()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # ends what we started
    vla(prog_name='vla')
