"""The controllers of ros2_control that a robot file expects, as their parameters."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from vla_ros import graph
from vla_ros.errors import ConfigError
from vla_ros.robot import RobotSpec

UPDATE_RATE = 500  # [Hz] at least twice the filter's, so that its commands are not late
BROADCASTER = 'joint_state_broadcaster'  # joint states come from it, not from a bridge
PLUGIN = 'joint_state_broadcaster/JointStateBroadcaster'
PLUGINS = {  # what a command topic takes -> the controller that listens to it
    'trajectory_msgs/msg/JointTrajectory': 'joint_trajectory_controller/JointTrajectoryController',
    'std_msgs/msg/Float64MultiArray': 'forward_command_controller/ForwardCommandController',
}
SETTINGS: dict[str, dict[str, Any]] = {  # beside the joints
    'trajectory_msgs/msg/JointTrajectory': {
        'command_interfaces': ['position'],
        'state_interfaces': ['position', 'velocity'],
        # A command replaces the one before from where that led, not from where the arm lags.
        'interpolate_from_desired_state': True,
        'open_loop_control': True,  # its name on Humble
    },
    'std_msgs/msg/Float64MultiArray': {'interface_name': 'position'},
}


def controllers(robot: RobotSpec, namespace: str) -> dict[str, Any]:
    """Return the parameter file of a simulated controller manager and of its controllers.

    Args:
        robot: The arm; the topics of its driver name the controllers.
        namespace: Of the controller manager, such as '/left'.

    Raises:
        ConfigError: A command topic is none of a controller that ros2_control has.
    """
    manager: dict[str, Any] = {'update_rate': UPDATE_RATE, 'use_sim_time': True}
    nodes = {'controller_manager': manager, BROADCASTER: {'type': PLUGIN}}
    for topic, joints in commanded(robot):
        said = {'joints': list(joints), **deepcopy(SETTINGS[topic.type])}
        nodes[controller_of(robot, topic)] = {'type': PLUGINS[topic.type], **said}
    # The manager reads the type from its own parameters, its spawner from the controller's.
    manager.update({name: {'type': nodes[name]['type']} for name in controller_names(robot)})
    return {f'{namespace}/{name}': {'ros__parameters': said} for name, said in nodes.items()}


def controller_names(robot: RobotSpec) -> tuple[str, ...]:
    """Return the controllers to start, the broadcaster first.

    Raises:
        ConfigError: A command topic is none of a controller that ros2_control has.
    """
    return BROADCASTER, *(controller_of(robot, topic) for topic, _ in commanded(robot))


def commanded(robot: RobotSpec) -> list[tuple[graph.Topic, tuple[str, ...]]]:
    """Return each command topic with the joints that its controller moves."""
    arm, gripper = graph.controller_topics(robot)
    return [(arm, robot.arm_joints), (gripper, (robot.gripper.joint,))]


def controller_of(robot: RobotSpec, topic: graph.Topic) -> str:
    """Return the controller that listens to a topic, by the topic's name.

    Raises:
        ConfigError: It is none of a controller that ros2_control has.
    """
    name = topic.name.rpartition('/')[0]
    if not name or topic.type not in PLUGINS:
        raise ConfigError(
            f"robot {robot.name}: command topic '{topic.name}' ({topic.type}) is none of "
            f'ros2_control, expected CONTROLLER/TOPIC of {" or ".join(PLUGINS)}: take a robot '
            'file with such a driver.'
        )
    return name
