"""`vla up`: the graph as supervised processes."""

from __future__ import annotations

import click
from rich.markup import escape

from vla_ros import paths
from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output
from vla_ros.robot import load_robot
from vla_ros.supervisor import commands, Supervisor

COLOURS = {  # by node
    'sim': 'cyan',
    'forwarder': 'yellow',
    'safety_filter': 'magenta',
    'policy': 'green',
    'preflight': 'bright_red',
    'markers': 'blue',
    'recorder': 'white',
}


@click.command()
@launch_options(
    'robot',
    'policy',
    'safety',
    'scene',
    'suite',
    'task',
    'seed',
    'preflight',
    'markers',
    'record',
    'bag',
    'images',
    'dry_run',
    'speed_scale',
    'use_sim_time',
    'policy_python',
)
@json_option
def verb(robot: str, output: Output, **arguments: str | int | bool) -> None:
    """Start simulator, safety filter and policy, and keep them until Ctrl-C or until one dies.

    Then `vla say "reach the red cube"` in another terminal moves the arm.
    """
    arm = load_robot(paths.find('robots', robot))

    def write(name: str, line: str) -> None:
        prefix = f'[{COLOURS.get(name, "white")}]{name:>13}[/] │ '
        output.console.print(prefix + escape(line), soft_wrap=True)

    supervisor = Supervisor(commands(arm, {'robot': robot, **arguments}), write)
    ended = None
    try:
        with supervisor:
            ended = supervisor.wait()
    except KeyboardInterrupt:
        output.console.print('stopped')
    output.write({'ok': ended is None, 'ended': None if ended is None else str(ended)})
    if ended is not None:
        raise SystemExit(1)
