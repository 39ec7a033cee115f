"""The files for an arm that another process moves: robot, gazebo, isaac, description."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from vla_ros import graph, paths
from vla_ros.robot import load_robot

ROBOT = load_robot(paths.find('robots', 'panda'))
STREAMING = load_robot(paths.find('robots', 'panda_streaming'))
DEFAULTS = {  # file -> what it sets otherwise than `vla up` does
    'robot': {'dry_run': 'true'},
    'gazebo': {'use_sim_time': 'true'},
    'isaac': {'use_sim_time': 'true'},
}
OWN = {'robot': set(), 'gazebo': {'world'}, 'isaac': {'isaac'}}


def executables(actions, context) -> list[tuple[str, str]]:
    """Return package and executable of the nodes that would start."""
    from launch_ros.actions import Node

    nodes = [action for action in actions if isinstance(action, Node)]
    wanted = [n for n in nodes if n.condition is None or n.condition.evaluate(context)]
    return [(n.node_package, n.node_executable) for n in wanted]


def ours(robot, simulated: bool = False) -> list[tuple[str, str]]:
    """Return the processes that start without being asked for."""
    processes = graph.processes(robot, simulated)
    return [('vla_ros', p.executable) for p in processes if not p.wanted]


@pytest.mark.parametrize('name', DEFAULTS)
def test_the_arguments_are_those_of_the_graph_without_the_simulator(described, name):
    _, description, context = described(name)
    declared = {a.name for a in description.get_launch_arguments()}
    assert declared - OWN[name] - {'namespace'} == graph.ARGUMENTS.keys() - {'suite', 'task'}
    for argument in graph.ARGUMENTS.values():
        if argument.name in declared and argument.name not in DEFAULTS[name]:
            value = context.launch_configurations[argument.name]
            assert value == str(argument.default).lower()
    for argument, value in DEFAULTS[name].items():
        assert context.launch_configurations[argument] == value
    for argument in description.get_launch_arguments():
        assert argument.description.endswith('.')


def test_a_physical_arm_is_dry_until_it_is_asked_for(described):
    from vla_ros.ros import launching

    _, _, context = described('robot')
    assert launching.parameter('dry_run', {}).evaluate(context) is True
    _, _, context = described('robot', dry_run='false')
    assert launching.parameter('dry_run', {}).evaluate(context) is False


@pytest.mark.parametrize('robot', [ROBOT, STREAMING], ids=lambda r: r.name)
def test_a_physical_arm_has_the_processes_of_the_graph(described, robot):
    module, _, context = described('robot', robot=robot.name)
    assert executables(module.nodes(context), context) == ours(robot)


def test_the_policy_alone_may_have_a_python_of_its_own(described, words):
    module, _, context = described('robot', policy_python='/opt/torch/bin/python')
    prefixes = {}
    for node in module.nodes(context):
        prefix = node.process_description.prefix
        prefixes[node.node_executable] = ''.join(part.perform(context) for part in prefix)
    assert prefixes.pop('policy_node') == '/opt/torch/bin/python'
    assert set(prefixes.values()) == {''}


@pytest.mark.parametrize('robot', [ROBOT, STREAMING], ids=lambda r: r.name)
def test_gazebo_gets_an_arm_a_bridge_and_controllers(described, words, robot):
    from launch.actions import IncludeLaunchDescription, RegisterEventHandler

    module, _, context = described('gazebo', robot=robot.name, namespace='/left')
    actions = module.everything(context)
    assert executables(actions, context) == [
        ('robot_state_publisher', 'robot_state_publisher'),
        ('ros_gz_sim', 'create'),
        ('ros_gz_bridge', 'parameter_bridge'),
        *ours(robot),
    ]
    (included,) = (a for a in actions if isinstance(a, IncludeLaunchDescription))
    said = dict(included.launch_arguments)
    options = ''.join(
        part if isinstance(part, str) else part.perform(context) for part in said['gz_args']
    )
    start, _, world = options.partition(' ')
    assert start == '-r'
    assert Path(world).is_file()
    (later,) = (a for a in actions if isinstance(a, RegisterEventHandler))
    spawned = later.event_handler.handle(None, context)
    assert [(n.node_package, n.node_executable) for n in spawned] == [
        ('controller_manager', 'spawner')
    ]
    command = words(spawned[0], context)
    parameters = yaml.safe_load(Path(command[command.index('--param-file') + 1]).read_text())
    controllers = command[: command.index('--param-file')]
    assert {f'/left/{name}' for name in controllers} < parameters.keys()


def test_isaac_starts_only_where_it_is_named(described, words):
    from launch.actions import ExecuteProcess
    from launch_ros.actions import Node

    module, _, context = described('isaac', isaac='/opt/isaac/python.sh', namespace='/left')
    first, *nodes = module.everything(context)
    assert type(first) is ExecuteProcess
    assert first.condition.evaluate(context)
    assert words(first, context) == [
        '/opt/isaac/python.sh',
        str(paths.share() / 'config' / 'isaac' / 'stage.py'),
        '--robot=panda',
        '--namespace=/left',
    ]
    assert all(isinstance(node, Node) for node in nodes)
    module, _, context = described('isaac')
    first, *nodes = module.everything(context)
    assert not first.condition.evaluate(context)
    assert executables(nodes, context) == ours(ROBOT)


@pytest.mark.parametrize('gui', [False, True])
def test_the_description_shows_arm_and_capsules(described, words, gui):
    module, _, context = described('description', namespace='/left', gui=str(gui).lower())
    actions = module.shown(context)
    sliders = [('joint_state_publisher_gui', 'joint_state_publisher_gui')]
    assert executables(actions, context) == [
        ('robot_state_publisher', 'robot_state_publisher'),
        ('vla_ros', 'markers_node'),
        *(sliders if gui else []),
        ('rviz2', 'rviz2'),
    ]
    said = words(actions[-1], context)
    assert said[said.index('-f') + 1] == ROBOT.base_frame
    config = yaml.safe_load(Path(said[said.index('-d') + 1]).read_text())
    shows = config['Visualization Manager']['Displays']
    topics = {
        (display.get('Topic') or display.get('Description Topic') or {}).get('Value')
        for display in shows
    } - {None}
    assert topics <= {f'/{name}' for name in graph.shown(ROBOT)}, 'each has a namespace'
    assert 'rviz_default_plugins/RobotModel' in {display['Class'] for display in shows}
