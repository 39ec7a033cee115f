"""`vla say`: an instruction to a running policy."""

from __future__ import annotations

import click

from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output


@click.command()
@click.argument('instruction')
@json_option
def verb(instruction: str, output: Output) -> None:
    """Send INSTRUCTION to the running policy; an empty one, "", stops the arm.

    It takes the place of the one in work. The policy follows it until the next one.
    """
    from vla_ros.nodes.client import Client

    with Client() as client:
        status = client.say(instruction)
    output.console.print(f'policy {status.phase.name.lower()}: {status.message}', markup=False)
    output.write(
        {
            'ok': True,
            'instruction': status.instruction,
            'instruction_id': status.instruction_id,
            'phase': status.phase.name,
            'message': status.message,
        }
    )
