"""`vla doctor`: what is missing on this machine."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.markup import escape

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output


@click.command()
@json_option
def verb(output: Output) -> None:
    """Look at versions, rendering, ROS, messages and files; say how to cure what is missing."""
    from vla_ros.preflight.doctor import examine

    findings = examine()
    for finding in findings:
        mark = '[green]✓[/]' if finding.ok else '[red]✗[/]'
        cure = '' if finding.ok or not finding.cure else f'  → {finding.cure}'
        output.console.print(f'{mark} {finding.name:18} {escape(finding.detail + cure)}')
    ok = all(finding.ok for finding in findings)
    output.write({'ok': ok, 'findings': [asdict(finding) for finding in findings]})
    if not ok:
        raise SystemExit(1)
