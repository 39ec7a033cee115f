"""`vla doctor`: what is missing on this machine, or wrong with a running system."""

from __future__ import annotations

import click
from click.core import ParameterSource
from rich.markup import escape

from vla_ros import paths
from vla_ros.cli.options import json_option, launch_options
from vla_ros.cli.output import Output
from vla_ros.config import load
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec

LIVE = ('robot', 'policy', 'safety', 'namespace', 'seconds')  # options that ask for a live system


@click.command()
@click.option('--live', is_flag=True, help='Listen to a running system; so does any option below.')
@launch_options('robot', 'policy', 'safety')
@click.option('--namespace', default='', help="Of the robot, such as '/left'.")
@click.option('--seconds', default=5.0, type=click.FloatRange(1.0), help='How long to listen [s].')
@json_option
def verb(
    live: bool,
    robot: str,
    policy: str,
    safety: str,
    namespace: str,
    seconds: float,
    output: Output,
) -> None:
    """Say what is wrong and how to cure it.

    Alone, it looks at the machine: versions, rendering, ROS, files, transport, memory, priority.
    With --live it also joins a running system, without touching it, and judges topics, types, QoS,
    rates, stamps, clocks, joints, cameras, controllers and the time from picture to command.
    """
    from vla_ros.preflight.doctor import examine
    from vla_ros.preflight.facts import Wanted
    from vla_ros.preflight.finding import MARKS, passed
    from vla_ros.preflight.inspect import inspect_machine
    from vla_ros.preflight.judge import judge
    from vla_ros.preflight.machine import judge_machine
    from vla_ros.safety.config import load_safety

    source = click.get_current_context().get_parameter_source
    live = live or any(source(name) is not ParameterSource.DEFAULT for name in LIVE)
    arm = load_robot(paths.find('robots', robot))
    spec = load(paths.find('policies', policy), PolicySpec)
    machine = inspect_machine(spec)
    if live:
        from vla_ros.nodes.listener import listen

        wanted = Wanted(arm, spec, load_safety(paths.find('safety', safety)))
        findings = judge(listen(wanted, namespace, seconds), wanted, machine)
    else:
        findings = examine() + judge_machine(machine, arm, spec)
    for finding in findings:
        text = f'{MARKS[finding.verdict]} {finding.name:18} {escape(str(finding))}'
        output.console.print(text, soft_wrap=True)
    ok = passed(findings)
    output.write({'ok': ok, 'live': live, 'findings': [f.plain() for f in findings]})
    if not ok:
        raise SystemExit(1)
