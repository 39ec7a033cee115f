"""`vla check ROBOT POLICY`: does the policy fit the robot, before anything is loaded."""

from __future__ import annotations

import click

from vla_ros import paths
from vla_ros.cli.options import json_option, Named
from vla_ros.cli.output import Output
from vla_ros.config import load
from vla_ros.fit import check
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec


@click.command()
@click.argument('robot', type=Named('robots'))
@click.argument('policy', type=Named('policies'))
@json_option
def verb(robot: str, policy: str, output: Output) -> None:
    """Tell whether POLICY fits ROBOT: cameras, state, actions and the URDF behind them."""
    robot_spec = load_robot(paths.find('robots', robot))
    policy_spec = load(paths.find('policies', policy), PolicySpec)
    findings = check(robot_spec, policy_spec)
    if policy_spec.checkpoint is not None:
        folder = paths.share() / policy_spec.checkpoint
        if not folder.is_dir():
            findings.append(f'checkpoint {folder} is missing: download it, or `vla train`.')
    for finding in findings:
        output.console.print(f'[red]✗[/] {finding}')
    if not findings:
        output.console.print(f'[green]✓[/] policy {policy_spec.name} fits {robot_spec.name}')
    output.write({'ok': not findings, 'findings': findings})
    if findings:
        raise SystemExit(1)
