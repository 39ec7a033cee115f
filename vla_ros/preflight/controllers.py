"""Whether the controllers that a robot file names are there, active and of its kind."""

from __future__ import annotations

from collections.abc import Iterator

from vla_ros import graph
from vla_ros.preflight.facts import Facts, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, unseen

MANAGER = 'controller_manager'
TRAJECTORIES = (
    'joint_trajectory_controller/JointTrajectoryController',
    'ur_controllers/ScaledJointTrajectoryController',
)
STREAM = 'forward_command_controller/ForwardCommandController'
TYPES = {  # kind of driver -> types of controllers in ros2_control that are such; others are none
    'joint_trajectory_controller': TRAJECTORIES,
    'follow_joint_trajectory': TRAJECTORIES,
    'forward_position_controller': (STREAM, 'position_controllers/JointGroupPositionController'),
    'forward_velocity_controller': (STREAM, 'velocity_controllers/JointGroupVelocityController'),
}


def named(wanted: Wanted) -> tuple[graph.Controller, ...]:
    """Return the controllers of ros2_control that the robot file means."""
    return tuple(one for one in graph.controllers(wanted.robot) if one.kind in TYPES)


def judge_controllers(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with the controllers, where a controller_manager answers."""
    if facts.controllers is None:
        return [unseen('controllers', facts.no_controllers)]
    told = ', '.join(f'{c.name} {c.state}' for c in facts.controllers)
    return gather('controllers', _controllers(facts, wanted), told)


def _controllers(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    known = {controller.name: controller for controller in facts.controllers or ()}
    for one in named(wanted):
        name, types = one.name, TYPES[one.kind]
        controller = known.get(name)
        if controller is None:
            cure = f'ros2 control load_controller --set-state active {name}, or correct driver:'
            listed = ', '.join(known) or 'none'
            yield bad('controllers', f'{name} is not loaded, but {listed}', name, cure)
        elif controller.state != 'active':
            cure = f'ros2 control set_controller_state {name} active'
            yield bad('controllers', f'{name} is {controller.state}', 'active', cure)
        elif controller.type not in types:
            cure = 'let driver: in the robot file name the kind of the controller'
            yield bad('controllers', f'{name} is a {controller.type}', types[0], cure)
