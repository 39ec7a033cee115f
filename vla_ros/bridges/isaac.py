"""An arm in Isaac Sim: the action graph of its ROS 2 bridge, as data.

Inputs and outputs are those of the nodes of Isaac Sim 4.5 to 6.0; the topics are those of
graph.py. `config/isaac/stage.py` builds it inside Isaac Sim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vla_ros import graph
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.robot import Camera, RobotSpec

COMMAND_TYPE = 'sensor_msgs/msg/JointState'
BRIDGE, CORE = 'isaacsim.ros2.bridge', 'isaacsim.core.nodes'  # whose nodes these are
READS_JOINTS = {'4.5': False, '5.0': False, '5.1': False, '6.0': True}  # release of Isaac Sim ->
# whether a node of its own reads the joints, which the publisher is handed
TICKS = 60.0  # [Hz] frames a second of simulated time
QUEUE = 1  # [messages] newest only, as graph.py asks


@dataclass(frozen=True)
class Prims:
    """Prims of the stage that an input names."""

    paths: tuple[str, ...]


Value = str | int | float | bool | Prims


@dataclass(frozen=True)
class ActionGraph:
    """What `omni.graph.core.Controller.edit` is given."""

    nodes: tuple[tuple[str, str], ...]  # name, type
    connections: tuple[tuple[str, str], ...]  # 'node.outputs:x', 'node.inputs:y'
    values: tuple[tuple[str, Value], ...]  # 'node.inputs:y'


def action_graph(
    robot: RobotSpec, namespace: str, release: str, articulation: str, cameras: Mapping[str, str]
) -> ActionGraph:
    """Return the graph that publishes clock, joints and cameras and takes joint commands.

    Args:
        robot: The arm; its driver takes joint states as commands.
        namespace: Prefix of every relative topic, such as '/left'.
        release: Of Isaac Sim, such as '5.1'.
        articulation: Path of the arm's root prim.
        cameras: Path of each camera's prim, by its name.

    Raises:
        UnknownNameError: The nodes of that release are not known.
        ConfigError: The arm's driver does not take joint states.
    """
    if release not in READS_JOINTS:
        raise UnknownNameError('release', release, READS_JOINTS, 'Isaac Sim')
    commands = [t for t in graph.controller_topics(robot) if t.type == COMMAND_TYPE]
    if not commands:
        kinds = ', '.join(arm.driver.kind for arm in robot.arms)
        raise ConfigError(
            f'robot {robot.name}: no command of its driver {kinds} is {COMMAND_TYPE}, '
            'which Isaac Sim takes; use a robot file with driver kind isaac.'
        )
    arm = Prims((articulation,))
    nodes = [
        ('tick', 'omni.graph.action.OnPlaybackTick'),
        ('time', f'{CORE}.IsaacReadSimulationTime'),
        ('context', f'{BRIDGE}.ROS2Context'),
        ('clock', f'{BRIDGE}.ROS2PublishClock'),
        ('joints', f'{BRIDGE}.ROS2PublishJointState'),
        ('command', f'{BRIDGE}.ROS2SubscribeJointState'),
        ('controller', f'{CORE}.IsaacArticulationController'),
    ]
    wires = [
        ('tick.outputs:tick', 'clock.inputs:execIn'),
        ('tick.outputs:tick', 'command.inputs:execIn'),
        ('tick.outputs:tick', 'controller.inputs:execIn'),
        ('time.outputs:simulationTime', 'clock.inputs:timeStamp'),
        ('time.outputs:simulationTime', 'joints.inputs:timeStamp'),
        ('command.outputs:jointNames', 'controller.inputs:jointNames'),
        ('command.outputs:positionCommand', 'controller.inputs:positionCommand'),
        ('command.outputs:velocityCommand', 'controller.inputs:velocityCommand'),
        *(('context.outputs:context', f'{n}.inputs:context') for n in _SPEAKERS),
    ]
    values: list[tuple[str, Value]] = [
        # Else time would go back to 0 when the simulation is stopped, and the arm would stop.
        ('time.inputs:resetOnStop', False),
        ('controller.inputs:targetPrim', arm),
        ('controller.inputs:robotPath', articulation),
        *_topic('clock', graph.full_name(graph.CLOCK)),
        *_topic('joints', graph.full_name(graph.JOINT_STATES, namespace)),
        *_topic('command', graph.full_name(commands[0], namespace)),
    ]
    if not READS_JOINTS[release]:
        wires.append(('tick.outputs:tick', 'joints.inputs:execIn'))
        values.append(('joints.inputs:targetPrim', arm))
    else:
        nodes.append(('read', 'isaacsim.sensors.physics.IsaacReadJointState'))
        wires += [
            ('tick.outputs:tick', 'read.inputs:execIn'),
            ('read.outputs:execOut', 'joints.inputs:execIn'),
            *((f'read.outputs:{word}', f'joints.inputs:{word}') for word in _JOINTS),
        ]
        values.append(('read.inputs:prim', arm))
    for camera in robot.cameras:
        part = _camera(robot, camera, namespace, cameras[camera.name])
        nodes += part.nodes
        wires += part.connections
        values += part.values
    return ActionGraph(tuple(nodes), tuple(wires), tuple(values))


_SPEAKERS = ('clock', 'joints', 'command')
_JOINTS = (
    'jointNames', 'jointPositions', 'jointVelocities', 'jointEfforts', 'jointDofTypes',
    'stageMetersPerUnit', 'sensorTime',
)  # fmt: skip


def _camera(robot: RobotSpec, camera: Camera, namespace: str, prim: str) -> ActionGraph:
    """Return the part that publishes one camera, at its rate."""
    shot, picture, lens = (f'{camera.name}_{what}' for what in ('render', 'image', 'info'))
    wires = [('tick.outputs:tick', f'{shot}.inputs:execIn')]
    values: list[tuple[str, Value]] = [
        (f'{shot}.inputs:cameraPrim', Prims((prim,))),
        (f'{shot}.inputs:width', camera.width),
        (f'{shot}.inputs:height', camera.height),
        (f'{picture}.inputs:type', 'rgb'),
    ]
    for node, topic in zip((picture, lens), graph.camera_topics(robot, camera.name)):
        wires += [
            (f'{shot}.outputs:execOut', f'{node}.inputs:execIn'),
            (f'{shot}.outputs:renderProductPath', f'{node}.inputs:renderProductPath'),
            ('context.outputs:context', f'{node}.inputs:context'),
        ]
        values += [
            *_topic(node, graph.full_name(topic, namespace)),
            (f'{node}.inputs:frameId', camera.optical_frame),
            (f'{node}.inputs:frameSkipCount', max(0, round(TICKS / camera.rate) - 1)),
            (f'{node}.inputs:resetSimulationTimeOnStop', False),
        ]
    nodes = (
        (shot, f'{CORE}.IsaacCreateRenderProduct'),
        (picture, f'{BRIDGE}.ROS2CameraHelper'),
        (lens, f'{BRIDGE}.ROS2CameraInfoHelper'),
    )
    return ActionGraph(nodes, tuple(wires), tuple(values))


def _topic(node: str, name: str) -> list[tuple[str, Value]]:
    return [(f'{node}.inputs:topicName', name), (f'{node}.inputs:queueSize', QUEUE)]
