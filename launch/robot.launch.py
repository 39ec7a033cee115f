"""A physical arm whose driver and cameras run already: safety filter, policy, forwarder.

ros2 launch vla_ros robot.launch.py robot:=panda    # commands nothing
ros2 launch vla_ros robot.launch.py robot:=panda dry_run:=false speed_scale:=0.25
"""

from __future__ import annotations

from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from vla_ros import graph
from vla_ros.ros import launching


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: nothing reaches the controllers until dry_run is false."""
    arguments = launching.declare(graph.arm_arguments(dry_run=True))
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """Return the processes of the chosen robot, without a simulator."""
    robot = launching.chosen_robot(context)
    return launching.nodes(graph.processes(robot, simulated=False))
