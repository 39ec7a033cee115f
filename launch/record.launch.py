"""Record every topic of a robot's graph with `ros2 bag record`, into an MCAP bag.

ros2 launch vla_ros record.launch.py robot:=panda bag:=my_bag
"""

from __future__ import annotations

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from vla_ros import graph, paths
from vla_ros.robot import load_robot


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which topics there are."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'robot',
                default_value=graph.ARGUMENTS['robot'].default,
                description=graph.ARGUMENTS['robot'].description,
            ),
            DeclareLaunchArgument('bag', default_value='bag', description='Folder of the bag.'),
            DeclareLaunchArgument(
                'namespace', default_value='', description='Prefix of the topics, such as /left.'
            ),
            OpaqueFunction(function=recorder),
        ]
    )


def recorder(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the one process: it writes chunks that a killed recorder leaves readable."""
    robot = load_robot(paths.find('robots', LaunchConfiguration('robot').perform(context)))
    namespace = LaunchConfiguration('namespace').perform(context)
    topics = [graph.full_name(topic, namespace) for topic in graph.recorded(robot)]
    preset = ['--storage', 'mcap', '--storage-preset-profile', 'zstd_fast']
    output = ['--output', LaunchConfiguration('bag')]
    command = ['ros2', 'bag', 'record', *preset, *output, '--topics', *topics]
    return [ExecuteProcess(cmd=command, output='screen')]
