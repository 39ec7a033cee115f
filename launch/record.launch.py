"""Record every topic of a robot's graph with `ros2 bag record`, into an MCAP bag.

ros2 launch vla_ros record.launch.py robot:=panda bag:=my_bag
"""

from __future__ import annotations

from launch.actions import ExecuteProcess, OpaqueFunction
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from vla_ros import graph
from vla_ros.ros import launching


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which topics there are."""
    arguments = launching.declare(graph.record_arguments())
    return LaunchDescription([*arguments, OpaqueFunction(function=recorder)])


def recorder(context: LaunchContext) -> list[ExecuteProcess]:
    """Return the one process: it writes chunks that a killed recorder leaves readable."""
    robot = launching.chosen_robot(context)
    namespace = launching.given(context, 'namespace')
    topics = [graph.full_name(topic, namespace) for topic in graph.recorded(robot)]
    preset = ['--storage', 'mcap', '--storage-preset-profile', 'zstd_fast']
    output = ['--output', LaunchConfiguration('bag')]
    command = ['ros2', 'bag', 'record', *preset, *output, '--topics', *topics]
    return [ExecuteProcess(cmd=command, output='screen')]
