"""`vla check ROBOT POLICY`: does the policy fit the robot, before anything is loaded."""

from __future__ import annotations

import click

from vla_ros import paths
from vla_ros.cli.options import json_option, launch_options, Named
from vla_ros.cli.output import Output
from vla_ros.config import load
from vla_ros.errors import VlaError
from vla_ros.fit import check, check_rates, check_statistics, notes
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec


@click.command()
@click.argument('robot', type=Named('robots'))
@click.argument('policy', type=Named('policies'))
@launch_options('safety')
@json_option
def verb(robot: str, policy: str, safety: str, output: Output) -> None:
    """Tell whether POLICY fits ROBOT, and what keeps it from it.

    Cameras, slices of state and action, rates, the reach of home by inverse kinematics, and
    the statistics of the checkpoint; no weights are loaded.
    """
    from vla_ros.policies.registry import statistics
    from vla_ros.safety.config import load_safety

    robot_spec = load_robot(paths.find('robots', robot))
    policy_spec = load(paths.find('policies', policy), PolicySpec)
    period = load_safety(paths.find('safety', safety)).period
    misfits = check(robot_spec, policy_spec)
    findings = misfits + check_rates(robot_spec, policy_spec, period)
    stats = None
    folder = paths.share() / (policy_spec.checkpoint or '')
    if not folder.is_dir():
        findings.append(f'checkpoint {folder} is missing: download it, or `vla train`.')
    else:
        try:
            stats = statistics(policy_spec)
        except VlaError as error:
            findings.append(str(error))
    if stats is not None:
        wrong = check_statistics(robot_spec, policy_spec, *stats)
        findings += wrong
        stats = None if wrong else stats
    hints = []
    if not misfits:
        hints = notes(robot_spec, policy_spec, None if stats is None else stats[1])
    for finding in findings:
        output.console.print(f'[red]✗[/] {finding}')
    if not findings:
        output.console.print(f'[green]✓[/] policy {policy_spec.name} fits {robot_spec.name}')
    for hint in hints:
        output.console.print(f'[yellow]![/] {hint}')
    output.write({'ok': not findings, 'findings': findings, 'notes': hints})
    if findings:
        raise SystemExit(1)
