"""An arm in Isaac Sim behind the safety filter: our processes, and Isaac Sim where it is named.

ros2 launch vla_ros isaac.launch.py robot:=my_arm isaac:=$HOME/isaacsim/python.sh
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import ExecuteProcess, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription
from vla_ros import graph, paths
from vla_ros.ros import launching

ISAAC = graph.Argument(
    'isaac', '', "Isaac Sim's python.sh, to start it with our stage; empty: it runs already."
)


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py says which topics Isaac Sim publishes and takes."""
    arguments = (ISAAC, *graph.arm_arguments(use_sim_time=True))
    return LaunchDescription([*launching.declare(arguments), OpaqueFunction(function=everything)])


def everything(context: LaunchContext) -> list[Action]:
    """Return Isaac Sim, if it is to be started, and our processes."""
    robot = launching.chosen_robot(context)
    stage = paths.share() / 'config' / 'isaac' / 'stage.py'
    named = [['--', name, '=', LaunchConfiguration(name)] for name in ('robot', 'namespace')]
    return [
        ExecuteProcess(
            cmd=[LaunchConfiguration('isaac'), str(stage), *named],
            condition=IfCondition(str(bool(launching.given(context, 'isaac')))),
            on_exit=Shutdown(reason='Isaac Sim ended'),
            output='screen',
        ),
        *launching.nodes(graph.processes(robot, simulated=False)),
    ]
