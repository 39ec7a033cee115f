"""A recording played beside policy and safety filter, which moves nothing (dry run).

ros2 launch vla_ros replay.launch.py bag:=my_bag policy:=tiny_pi0
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from vla_ros import graph, paths
from vla_ros.robot import load_robot


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which processes and topics there are."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    a.name, default_value=str(a.default).lower(), description=a.description
                )
                for a in graph.replay_arguments()
            ),
            OpaqueFunction(function=player),
        ]
    )


def player(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the player, with whose end the launch ends, and the nodes that listen to it."""
    robot = load_robot(paths.find('robots', LaunchConfiguration('robot').perform(context)))
    topics = [graph.full_name(topic) for topic in graph.replayed(robot)]
    command = ['ros2', 'bag', 'play', LaunchConfiguration('bag'), '--clock', '200']
    return [
        *(
            Node(
                package='vla_ros',
                executable=process.executable,
                name=process.node,
                parameters=[{name: parameter(name) for name in process.parameters}],
                output='screen',
            )
            for process in graph.replay_processes(robot)
        ),
        ExecuteProcess(
            cmd=[*command, '--topics', *topics],
            output='screen',
            on_exit=Shutdown(reason='the recording is over'),
        ),
    ]


def parameter(name: str) -> ParameterValue:
    """Return a launch argument as a parameter of its own type; nothing is commanded."""
    fixed = graph.REPLAY_PARAMETERS.get(name)
    kind = type(graph.ARGUMENTS[name].default)
    return ParameterValue(LaunchConfiguration(name) if fixed is None else fixed, value_type=kind)
