"""What the files in launch/ share: arguments and processes of graph.py as launch actions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from vla_ros import graph, paths
from vla_ros.robot import load_robot, RobotSpec

Value = str | int | float | bool


def declare(arguments: Iterable[graph.Argument]) -> list[DeclareLaunchArgument]:
    """Return the declarations of launch arguments, and of the namespace, which all files have."""
    namespace = graph.Argument('namespace', graph.NAMESPACE, 'Prefix of every relative name.')
    return [
        DeclareLaunchArgument(
            argument.name,
            default_value=text(argument.default),
            description=argument.description,
        )
        for argument in (namespace, *arguments)
    ]


def text(value: Value) -> str:
    """Return a value as `ros2 launch` writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def given(context: LaunchContext, name: str) -> str:
    """Return what a launch argument was set to."""
    return LaunchConfiguration(name).perform(context)


def chosen_robot(context: LaunchContext) -> RobotSpec:
    """Return the robot that the arguments name.

    Raises:
        VlaError: There is no such file, or it cannot be used.
    """
    return load_robot(paths.find('robots', given(context, 'robot')))


def nodes(
    processes: Iterable[graph.Process], fixed: Mapping[str, Value] | None = None
) -> list[Node]:
    """Return a node for each process; the end of a critical one ends the launch.

    Args:
        processes: Of graph.py.
        fixed: Parameters that no argument sets.
    """
    return [
        Node(
            package='vla_ros',
            executable=process.executable,
            name=process.node,
            namespace=LaunchConfiguration('namespace'),
            parameters=[{n: parameter(n, fixed or {}) for n in process.parameters}],
            prefix=LaunchConfiguration(process.interpreter) if process.interpreter else None,
            output='screen',
            condition=IfCondition(LaunchConfiguration(process.wanted)) if process.wanted else None,
            on_exit=Shutdown(reason=f'{process.node} ended') if process.critical else None,
        )
        for process in processes
    ]


def parameter(name: str, fixed: Mapping[str, Value]) -> ParameterValue:
    """Return a parameter of the type of its launch argument, which sets it unless it is fixed."""
    value = fixed.get(name, LaunchConfiguration(name))
    return ParameterValue(value, value_type=type(graph.ARGUMENTS[name].default))


def description(robot: RobotSpec, urdf: str) -> Node:
    """Return what publishes robot_description, and where each link is.

    Args:
        robot: The arm.
        urdf: Its description as XML.
    """
    return Node(
        package='robot_state_publisher',
        executable='robot_state_publisher',
        name=f'{robot.name}_state_publisher',
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            {
                'robot_description': ParameterValue(urdf, value_type=str),
                'use_sim_time': parameter('use_sim_time', {}),
            }
        ],
        output='screen',
    )
