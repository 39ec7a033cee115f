"""`vla serve`: a policy for clients on other machines."""

from __future__ import annotations

import logging

import click

from vla_ros import config, paths
from vla_ros.cli.options import json_option, launch_options, Named
from vla_ros.cli.output import Output
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec

LOOPBACK = ('127.0.0.1', 'localhost', '::1')


@click.command()
@click.argument('policy', type=Named('policies'))
@click.option('--host', default=LOOPBACK[0], help='Address to listen at.')
@click.option('--port', type=click.IntRange(0, 65535), default=8000, help='0 takes a free one.')
@click.option(
    '--images',
    default='',
    help='Keys of the pictures, in order, with commas; else observation/CAMERA for each.',
)
@launch_options('robot')
@click.option('--seed', type=click.IntRange(min=0), default=0, help='Of the noise.')
@json_option
def verb(
    policy: str, host: str, port: int, images: str, robot: str, seed: int, output: Output
) -> None:
    """Serve POLICY over openpi's websocket protocol, without ROS, until Ctrl-C.

    One client at a time. There is no password: whoever reaches the port can use the policy.
    """
    from vla_ros.policies.registry import create
    from vla_ros.policies.rehearsal import rehearse
    from vla_ros.serving.server import PolicyServer
    from vla_ros.serving.session import slots_of

    logging.basicConfig(format='%(message)s', level=logging.INFO)
    logging.getLogger('websockets').setLevel(logging.CRITICAL)  # strangers' garbage is no event
    arm = load_robot(paths.find('robots', robot))
    loaded = create(config.load(paths.find('policies', policy), PolicySpec), arm)
    slots = slots_of(loaded, [key for key in images.split(',') if key])
    rehearse(loaded, arm)
    server = PolicyServer(loaded, arm, slots, seed)

    def ready(url: str) -> None:
        output.console.print(
            f'serving policy {loaded.spec.name} for {arm.name} at {url}, openpi protocol; '
            'Ctrl-C ends it',
            soft_wrap=True,
        )
        if host not in LOOPBACK:
            output.console.print(f'anyone who reaches {host} can use it: there is no password')

    try:
        server.run(host, port, ready)
    except KeyboardInterrupt:
        output.console.print(f'stopped; requests answered: {server.answers}')
    output.write({'ok': True, 'sessions': server.sessions, 'answers': server.answers})
