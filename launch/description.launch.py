"""A robot file in RViz: the arm, its capsules and the obstacles; a Foxglove layout shows the same.

ros2 launch vla_ros description.launch.py robot:=panda gui:=true    # sliders move it
ros2 launch vla_ros description.launch.py robot:=panda              # a robot that runs
"""

from __future__ import annotations

from launch.actions import OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from vla_ros import graph, paths
from vla_ros.bridges.description import describe, text
from vla_ros.ros import launching

SWITCHES = (
    graph.Argument('rviz', True, 'Open RViz.'),
    graph.Argument('gui', False, 'Open sliders for the joints of an arm that does not run.'),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says what the markers need."""
    arguments = launching.declare((*graph.description_arguments(), *SWITCHES))
    return LaunchDescription([*arguments, OpaqueFunction(function=shown)])


def shown(context: LaunchContext) -> list[Node]:
    """Return what publishes the arm and its capsules, and what shows them."""
    robot = launching.chosen_robot(context)
    namespace = launching.given(context, 'namespace')
    rviz = paths.share() / 'config' / 'rviz' / 'vla.rviz'
    return [
        launching.description(robot, text(describe(robot))),
        *launching.nodes(graph.description_processes(robot)),
        Node(
            package='joint_state_publisher_gui',
            executable='joint_state_publisher_gui',
            namespace=namespace,
            condition=IfCondition(LaunchConfiguration('gui')),
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            arguments=['-d', str(rviz), '-f', robot.base_frame],
            remappings=[(f'/{name}', f'{namespace}/{name}') for name in graph.shown(robot)],
            condition=IfCondition(LaunchConfiguration('rviz')),
            output='screen',
        ),
    ]
