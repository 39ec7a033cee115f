"""A recording played beside policy and safety filter, which moves nothing (dry run).

ros2 launch vla_ros replay.launch.py bag:=my_bag policy:=tiny_pi0
"""

from __future__ import annotations

from launch.actions import ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from vla_ros import graph
from vla_ros.ros import launching


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which processes and topics there are."""
    arguments = launching.declare(graph.replay_arguments())
    return LaunchDescription([*arguments, OpaqueFunction(function=player)])


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the nodes that listen to the player, and it, with whose end the launch ends."""
    robot = launching.chosen_robot(context)
    namespace = launching.given(context, 'namespace')
    topics = [graph.full_name(topic, namespace) for topic in graph.replayed(robot)]
    command = ['ros2', 'bag', 'play', LaunchConfiguration('bag'), '--clock', '200']
    return [
        *launching.nodes(graph.replay_processes(robot), graph.REPLAY_PARAMETERS),
        ExecuteProcess(
            cmd=[*command, '--topics', *topics],
            output='screen',
            on_exit=Shutdown(reason='the recording is over'),
        ),
    ]
