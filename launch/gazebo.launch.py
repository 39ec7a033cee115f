"""An arm in Gazebo behind the safety filter: world, arm, controllers, cameras, and our processes.

ros2 launch vla_ros gazebo.launch.py robot:=panda policy:=tiny_pi0
ros2 topic pub --once /vla/instruction std_msgs/msg/String "{data: pick up the red cube}"
"""

from __future__ import annotations

from launch.action import Action
from launch.actions import IncludeLaunchDescription, OpaqueFunction, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from launch import LaunchContext, LaunchDescription
from vla_ros import graph, paths
from vla_ros.bridges import gazebo
from vla_ros.bridges.controllers import controller_names
from vla_ros.ros import launching

WORLD = graph.Argument(
    'world',
    str(paths.share() / 'config' / 'gazebo' / 'table.sdf'),
    'World of Gazebo (SDF), and options of `gz sim`, such as -s for no window.',
)


def generate_launch_description() -> LaunchDescription:
    """Describe the launch: graph.py and the robot file say what Gazebo and its bridge do."""
    arguments = (WORLD, *graph.arm_arguments(use_sim_time=True))
    return LaunchDescription([*launching.declare(arguments), OpaqueFunction(function=everything)])


def everything(context: LaunchContext) -> list[Action]:
    """Return Gazebo, the arm in it, its bridge, its controllers and our processes."""
    robot = launching.chosen_robot(context)
    namespace = launching.given(context, 'namespace')
    files = gazebo.write(robot, namespace)
    spawn = Node(
        package='ros_gz_sim',
        executable='create',
        namespace=namespace,
        arguments=['-topic', 'robot_description', '-name', robot.name],
        output='screen',
    )
    controllers = Node(
        package='controller_manager',
        executable='spawner',
        namespace=namespace,
        arguments=[*controller_names(robot), '--param-file', str(files['controllers'])],
        output='screen',
    )
    return [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(
                [FindPackageShare('ros_gz_sim'), '/launch/gz_sim.launch.py']
            ),
            launch_arguments=[
                ('gz_args', ['-r ', LaunchConfiguration('world')]),
                ('on_exit_shutdown', 'true'),
            ],
        ),
        launching.description(robot, files['model'].read_text(encoding='utf-8')),
        spawn,
        RegisterEventHandler(OnProcessExit(target_action=spawn, on_exit=[controllers])),
        Node(
            package='ros_gz_bridge',
            executable='parameter_bridge',
            namespace=namespace,
            parameters=[{'config_file': str(files['bridge'])}],
            output='screen',
        ),
        *launching.nodes(graph.processes(robot, simulated=False)),
    ]
