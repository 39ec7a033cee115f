"""Whether the controllers that a robot file names are there, active and of its kind."""

from __future__ import annotations

from collections.abc import Iterator

from vla_ros import graph
from vla_ros.preflight.facts import Facts, Wanted
from vla_ros.preflight.finding import bad, Finding, gather, unseen

MANAGER = 'controller_manager'
# What a controller's type ends with -> kinds of driver that speak to it.
TRAJECTORY = 'joint_trajectory_controller/JointTrajectoryController'
TYPES = {
    'joint_trajectory_controller': (TRAJECTORY,),
    'forward_position_controller': (
        'forward_command_controller/ForwardCommandController',
        'position_controllers/JointGroupPositionController',
    ),
}


def names(wanted: Wanted) -> tuple[str, ...]:
    """Return the controllers whose command topics the robot file names."""
    return tuple(t.name.rpartition('/')[0] for t in graph.controller_topics(wanted.robot))


def judge_controllers(facts: Facts, wanted: Wanted) -> list[Finding]:
    """Return what is wrong with the controllers, where a controller_manager answers."""
    if facts.controllers is None:
        return [unseen('controllers', facts.no_controllers)]
    told = ', '.join(f'{c.name} {c.state}' for c in facts.controllers)
    return gather('controllers', _controllers(facts, wanted), told)


def _controllers(facts: Facts, wanted: Wanted) -> Iterator[Finding]:
    known = {controller.name: controller for controller in facts.controllers or ()}
    arm, *_ = names(wanted)
    for name in names(wanted):
        controller = known.get(name)
        if controller is None:
            cure = f'ros2 control load_controller --set-state active {name}, or correct driver:'
            listed = ', '.join(known) or 'none'
            yield bad('controllers', f'{name} is not loaded, but {listed}', name, cure)
        elif controller.state != 'active':
            cure = f'ros2 control set_controller_state {name} active'
            yield bad('controllers', f'{name} is {controller.state}', 'active', cure)
        elif name == arm:
            types = TYPES.get(wanted.robot.driver.kind, ())
            if types and controller.type not in types:
                cure = 'let driver.kind in the robot file name the kind of the controller'
                yield bad('controllers', f'{name} is a {controller.type}', types[0], cure)
