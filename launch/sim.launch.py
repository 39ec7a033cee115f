"""The whole chain with a simulated arm: sim, safety filter, policy.

ros2 launch vla_ros sim.launch.py policy:=tiny_pi0 task:=pick
ros2 topic pub --once /vla/instruction std_msgs/msg/String "{data: pick up the red cube}"
"""

from __future__ import annotations

from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from vla_ros import graph
from vla_ros.ros import launching


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which processes there are and what they take."""
    arguments = launching.declare(graph.ARGUMENTS.values())
    return LaunchDescription([*arguments, OpaqueFunction(function=nodes)])


def nodes(context: LaunchContext) -> list[Node]:
    """Return the processes of the chosen robot."""
    robot = launching.chosen_robot(context)
    return launching.nodes(graph.processes(robot, simulated=True))
