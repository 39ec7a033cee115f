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
PLUGINS = {  # kind of controller, of the arm or of the gripper -> the plugin that is one
    'joint_trajectory_controller': 'joint_trajectory_controller/JointTrajectoryController',
    'follow_joint_trajectory': 'joint_trajectory_controller/JointTrajectoryController',
    'forward_position_controller': 'forward_command_controller/ForwardCommandController',
    'forward_velocity_controller': 'forward_command_controller/ForwardCommandController',
    'gripper_command': 'position_controllers/GripperActionController',
}
ENDS = {  # of the topic or action that such a plugin offers, whatever it is asked for
    'joint_trajectory_controller': 'joint_trajectory',
    'follow_joint_trajectory': 'follow_joint_trajectory',
    'forward_position_controller': 'commands',
    'forward_velocity_controller': 'commands',
    'gripper_command': 'gripper_cmd',
}
TRAJECTORIES = {
    'command_interfaces': ['position'],
    'state_interfaces': ['position', 'velocity'],
    # A command replaces the one before from where that led, not from where the arm lags.
    'interpolate_from_desired_state': True,
    'open_loop_control': True,  # its name on Humble
}
SETTINGS: dict[str, dict[str, Any]] = {  # beside the joints
    'joint_trajectory_controller': TRAJECTORIES,
    'follow_joint_trajectory': TRAJECTORIES,
    'forward_position_controller': {'interface_name': 'position'},
    'forward_velocity_controller': {'interface_name': 'velocity'},
    'gripper_command': {'allow_stalling': True},  # to hold something is no failure
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
    for one in commanded(robot):
        single = one.kind == 'gripper_command'
        joints = {'joint': one.joints[0]} if single else {'joints': list(one.joints)}
        nodes[one.name] = {'type': PLUGINS[one.kind], **joints, **deepcopy(SETTINGS[one.kind])}
    # The manager reads the type from its own parameters, its spawner from the controller's.
    manager.update({name: {'type': nodes[name]['type']} for name in controller_names(robot)})
    return {f'{namespace}/{name}': {'ros__parameters': said} for name, said in nodes.items()}


def controller_names(robot: RobotSpec) -> tuple[str, ...]:
    """Return the controllers to start, the broadcaster first.

    Raises:
        ConfigError: A command topic is none of a controller that ros2_control has.
    """
    return BROADCASTER, *(one.name for one in commanded(robot))


def commanded(robot: RobotSpec) -> tuple[graph.Controller, ...]:
    """Return the controllers, each with a name in its topic or action.

    Raises:
        ConfigError: A command is none of a controller that ros2_control has.
    """
    found = graph.controllers(robot)
    for one in found:
        _, _, end = one.input.partition('/')
        if end != ENDS.get(one.kind):
            raise ConfigError(
                f"robot {robot.name}: '{one.input}' of kind {one.kind} is none of a controller in "
                'Gazebo, expected CONTROLLER/' + ', CONTROLLER/'.join(sorted(set(ENDS.values())))
                + ': take a robot file with such a driver.'
            )
    return found
