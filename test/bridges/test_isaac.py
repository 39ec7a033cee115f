"""Isaac Sim: the action graph, against the inputs and outputs that its nodes have."""

from __future__ import annotations

import ast

import pytest

from vla_ros import graph, paths
from vla_ros.bridges import isaac
from vla_ros.bridges.isaac import action_graph, Prims
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.robot import load_robot, RobotSpec

ROBOT = load_robot(paths.find('robots', 'panda_isaac'))
COMMAND = graph.controller_topics(ROBOT)[0]
CAMERAS = {camera.name: f'/arm/{camera.frame}/{camera.name}' for camera in ROBOT.cameras}
SPEAKER = {'execIn', 'context', 'nodeNamespace', 'topicName', 'qosProfile', 'queueSize'}
CAMERA = {*SPEAKER, 'enabled', 'renderProductPath', 'frameId', 'frameSkipCount'}
CAMERA |= {'resetSimulationTimeOnStop', 'useSystemTime'}
READ = {
    'jointNames', 'jointPositions', 'jointVelocities', 'jointEfforts', 'jointDofTypes',
    'stageMetersPerUnit', 'sensorTime',
}  # fmt: skip
# Inputs and outputs of each node, as the definitions of Isaac Sim 5.1 and 6.0 list them.
NODES = {
    'omni.graph.action.OnPlaybackTick': (set(), {'tick', 'time', 'frame'}),
    'isaacsim.core.nodes.IsaacReadSimulationTime': ({'resetOnStop'}, {'simulationTime'}),
    'isaacsim.core.nodes.IsaacArticulationController': (
        {'execIn', 'targetPrim', 'robotPath', 'jointNames', 'jointIndices', 'positionCommand',
         'velocityCommand', 'effortCommand'}, set(),
    ),
    'isaacsim.core.nodes.IsaacCreateRenderProduct': (
        {'execIn', 'width', 'height', 'cameraPrim', 'enabled'}, {'renderProductPath', 'execOut'},
    ),
    'isaacsim.ros2.bridge.ROS2Context': ({'domain_id', 'useDomainIDEnvVar'}, {'context'}),
    'isaacsim.ros2.bridge.ROS2PublishClock': ({*SPEAKER, 'timeStamp'}, set()),
    'isaacsim.ros2.bridge.ROS2SubscribeJointState': (
        SPEAKER, {'execOut', 'timeStamp', 'jointNames', 'positionCommand', 'velocityCommand',
                  'effortCommand'},
    ),
    'isaacsim.ros2.bridge.ROS2CameraHelper': ({*CAMERA, 'type'}, set()),
    'isaacsim.ros2.bridge.ROS2CameraInfoHelper': (CAMERA, set()),
    'isaacsim.sensors.physics.IsaacReadJointState': ({'execIn', 'prim'}, {*READ, 'execOut'}),
}  # fmt: skip
JOINTS = 'isaacsim.ros2.bridge.ROS2PublishJointState'
PUBLISHES = {False: {*SPEAKER, 'timeStamp', 'targetPrim'}}
PUBLISHES[True] = PUBLISHES[False] | READ


@pytest.fixture(params=isaac.READS_JOINTS)
def release(request):
    return request.param


def build(release: str, namespace: str = '/left', robot: RobotSpec = ROBOT):
    return action_graph(robot, namespace, release, '/arm', CAMERAS)


def test_every_wire_and_value_is_one_that_the_nodes_have(release):
    made = build(release)
    known = {**NODES, JOINTS: (PUBLISHES[isaac.READS_JOINTS[release]], set())}
    kinds = dict(made.nodes)
    assert len(kinds) == len(made.nodes), 'every node has a name of its own'

    def check(end: str, way: str, where: int) -> None:
        node, _, port = end.partition('.')
        sort, _, name = port.partition(':')
        assert sort == way
        assert name in known[kinds[node]][where], f'{kinds[node]} has no {way} {name}'

    for start, end in made.connections:
        check(start, 'outputs', 1)
        check(end, 'inputs', 0)
    for end, _ in made.values:
        check(end, 'inputs', 0)
    ends = [end for _, end in made.connections] + [end for end, _ in made.values]
    assert len(set(ends)) == len(ends), 'no input has two sources'


def test_every_node_that_acts_is_ticked(release):
    made = build(release)
    wired = {end for _, end in made.connections}
    for name, kind in made.nodes:
        inputs = NODES.get(kind, (PUBLISHES[False], set()))[0]
        if 'execIn' in inputs:
            assert f'{name}.inputs:execIn' in wired


def test_the_topics_are_those_of_the_graph(release):
    values = dict(build(release).values)
    kinds = {
        'clock': graph.CLOCK, 'joints': graph.JOINT_STATES, 'command': COMMAND,
        **{f'{c.name}_image': graph.camera_topics(ROBOT, c.name)[0] for c in ROBOT.cameras},
        **{f'{c.name}_info': graph.camera_topics(ROBOT, c.name)[1] for c in ROBOT.cameras},
    }  # fmt: skip
    said = {k.partition('.')[0]: v for k, v in values.items() if k.endswith(':topicName')}
    assert said == {node: graph.full_name(topic, '/left') for node, topic in kinds.items()}


def test_time_never_goes_back(release):
    """The simulation's stop would reset it, and the filter would latch a jump of the clock."""
    values = build(release).values
    resets = [value for name, value in values if 'reset' in name.lower()]
    assert len(resets) == 1 + 2 * len(ROBOT.cameras)
    assert not any(resets)


def test_cameras_keep_their_rate_and_place(release):
    values = dict(build(release).values)
    for camera in ROBOT.cameras:
        frames = 1 + values[f'{camera.name}_image.inputs:frameSkipCount']
        assert isaac.TICKS / frames == camera.rate
        assert values[f'{camera.name}_render.inputs:cameraPrim'] == Prims((CAMERAS[camera.name],))


def test_an_arm_of_another_driver_is_refused():
    with pytest.raises(ConfigError, match='driver kind isaac'):
        build('5.1', robot=load_robot(paths.find('robots', 'panda')))


def test_a_release_that_is_not_known_is_refused(release):
    with pytest.raises(UnknownNameError, match='6.0'):
        build('6.7')


def test_the_script_imports_isaac_sim_only_after_its_application():
    source = (paths.share() / 'config' / 'isaac' / 'stage.py').read_text()
    body = ast.parse(source).body
    started = next(k for k, node in enumerate(body) if 'SimulationApp(' in ast.unparse(node))
    early = [n for n in body[:started] if isinstance(n, (ast.Import, ast.ImportFrom))]
    modules = {(getattr(n, 'module', None) or n.names[0].name).split('.')[0] for n in early}
    assert modules == {'__future__', 'argparse', 'math', 'sys', 'isaacsim'}
