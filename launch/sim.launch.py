"""The whole chain with a simulated arm: sim, safety filter, policy.

ros2 launch vla_ros sim.launch.py policy:=tiny_pi0 task:=pick
ros2 topic pub --once /vla/instruction std_msgs/msg/String "{data: pick up the red cube}"
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from vla_ros import graph, paths
from vla_ros.robot import load_robot


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which processes there are and what they take."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'namespace', default_value='', description='Prefix of every name.'
            ),
            *(
                DeclareLaunchArgument(
                    a.name, default_value=str(a.default).lower(), description=a.description
                )
                for a in graph.ARGUMENTS.values()
            ),
            OpaqueFunction(function=nodes),
        ]
    )


def nodes(context: LaunchContext) -> list[Node]:
    """Return a node for each process of the chosen robot; a critical one ends the launch."""
    robot = load_robot(paths.find('robots', LaunchConfiguration('robot').perform(context)))
    return [
        Node(
            package='vla_ros',
            executable=process.executable,
            name=process.node,
            namespace=LaunchConfiguration('namespace'),
            parameters=[{name: parameter(name) for name in process.parameters}],
            output='screen',
            condition=IfCondition(LaunchConfiguration(process.wanted)) if process.wanted else None,
            on_exit=Shutdown(reason=f'{process.node} ended') if process.critical else None,
        )
        for process in graph.processes(robot, simulated=True)
    ]


def parameter(name: str) -> ParameterValue:
    """Return a launch argument as a parameter of its own type."""
    kind = type(graph.ARGUMENTS[name].default)
    return ParameterValue(LaunchConfiguration(name), value_type=kind)
