"""Gazebo: model, controllers and bridge say what graph.py and the robot file say."""

from __future__ import annotations

from dataclasses import replace
import math
from xml.etree import ElementTree

import pytest
import yaml

from vla_ros import graph, paths
from vla_ros.bridges import gazebo
from vla_ros.bridges.controllers import BROADCASTER, controller_names, PLUGINS
from vla_ros.errors import ConfigError
from vla_ros.robot import load_robot

ROBOTS = [load_robot(p) for p in sorted((paths.share() / 'config' / 'robots').glob('*.yaml'))]
ROBOTS = [r for r in ROBOTS if {c.kind for c in graph.controllers(r)} <= PLUGINS.keys()]
PHYSICAL = [r for r in ROBOTS if r.name.endswith('_physical')]  # behind the vendor's own nodes
ROBOTS = [r for r in ROBOTS if r not in PHYSICAL]
# The keys of ros_gz_bridge's file, as its documentation lists them.
KEYS = {
    'ros_topic_name', 'gz_topic_name', 'ros_type_name', 'gz_type_name', 'direction',
    'publisher_queue', 'subscriber_queue',
}  # fmt: skip


@pytest.fixture(params=ROBOTS, ids=lambda r: r.name)
def robot(request):
    return request.param


@pytest.fixture(params=['', '/left'], ids=['root', 'namespace'])
def namespace(request):
    return request.param


def test_the_bridge_carries_all_that_no_process_of_ours_publishes(robot, namespace):
    """Every topic that our processes hear comes from one of them, the bridge or a controller."""
    carried = {entry['ros_topic_name']: entry for entry in gazebo.bridge(robot, namespace)}
    assert all(entry.keys() == KEYS for entry in carried.values())
    ours = graph.processes(robot, simulated=False)
    said = {topic.name for process in ours for topic in process.publishes}
    operator = {graph.INSTRUCTION, graph.ESTOP, graph.OVERRIDE, graph.OBSTACLES, graph.TASK_STATE}
    controllers = {graph.JOINT_STATES}  # the broadcaster's
    for process in ours:
        if process.node == 'recorder':
            continue
        for topic in process.subscribes:
            name = graph.full_name(topic, namespace)
            elsewhere = topic.name in said or topic in operator | controllers
            assert elsewhere or name in carried or topic in graph.enable_topics(robot), name
            if name in carried:
                assert carried[name]['ros_type_name'] == topic.type
    assert '/clock' in carried


def test_the_controllers_take_every_command_and_joint(robot, namespace):
    files = gazebo.write(robot, namespace)
    said = files['controllers'].read_text()
    assert '&' not in said and '*' not in said, 'the parser of parameter files knows no aliases'
    nodes = {name: node['ros__parameters'] for name, node in yaml.safe_load(said).items()}
    manager = nodes.pop(f'{namespace}/controller_manager')
    assert [f'{namespace}/{name}' for name in controller_names(robot)] == [*nodes]
    for name in controller_names(robot):  # the manager and its spawner look at different places
        assert manager[name]['type'] == nodes[f'{namespace}/{name}']['type']
    assert nodes.pop(f'{namespace}/{BROADCASTER}').keys() == {'type'}
    moved = [j for node in nodes.values() for j in node.get('joints') or [node['joint']]]
    assert sorted(moved) == sorted(robot.joint_names)
    assert [j for j in moved if j in robot.arm_joints] == list(robot.arm_joints)
    for arm in robot.arms:
        driver = arm.driver
        kinds = {driver.arm_topic: driver.kind, driver.gripper_topic: driver.gripper}
        for topic, kind in kinds.items():
            if topic:
                assert manager[topic.rpartition('/')[0]]['type'] == PLUGINS[kind]
    assert manager['update_rate'] >= 2.0 * 200.0, 'the filter commands at 200 Hz'


def test_the_model_has_an_interface_for_every_joint(robot, namespace):
    root = ElementTree.fromstring(gazebo.write(robot, namespace)['model'].read_text())
    hardware = root.find('ros2_control')
    joints = {joint.get('name'): joint for joint in hardware.findall('joint')}
    commanded = [
        name for name, joint in joints.items() if joint.find('command_interface') is not None
    ]
    assert commanded == list(robot.joint_names)
    faces = {n: joints[n].find('command_interface').get('name') for n in commanded}
    for arm in robot.arms:
        face = 'velocity' if arm.driver.arm.velocity else 'position'
        assert {faces[name] for name in arm.joint_names} == {face}
        assert arm.gripper is None or faces[arm.gripper.joint] == 'position'
    in_urdf = {joint.get('name') for joint in root.findall('joint')}
    assert joints.keys() <= in_urdf
    followers = {j.get('name') for j in root.findall('joint') if j.find('mimic') is not None}
    assert joints.keys() == {*robot.joint_names, *followers}
    start = [float(joints[n].findtext('state_interface/param')) for n in robot.joint_names]
    assert start == pytest.approx(robot.ready)


def test_the_model_has_every_camera_on_the_bridge(robot, namespace):
    files = gazebo.write(robot, namespace)
    root = ElementTree.fromstring(files['model'].read_text())
    bridged = {e['gz_topic_name'] for e in yaml.safe_load(files['bridge'].read_text())}
    for camera in robot.cameras:
        (sensor,) = (s for s in root.iter('sensor') if s.get('name') == camera.name)
        topic = sensor.findtext('topic')
        assert topic in bridged
        assert topic.rpartition('/')[0] + '/camera_info' in bridged  # where Gazebo puts it
        wide = float(sensor.findtext('camera/horizontal_fov'))
        focal = 0.5 * camera.width / math.tan(0.5 * wide)
        assert focal == pytest.approx(0.5 * camera.height / math.tan(0.5 * camera.fovy))


def test_the_model_points_at_its_parameters(robot, namespace):
    files = gazebo.write(robot, namespace)
    plugin = ElementTree.fromstring(files['model'].read_text()).find('gazebo/plugin')
    assert plugin.findtext('parameters') == str(files['controllers'])
    assert (plugin.findtext('ros/namespace') or '') == namespace


def test_what_gazebo_has_not_is_refused():
    robot = ROBOTS[0]
    camera = replace(robot.cameras[0], transport='compressed')
    with pytest.raises(ConfigError, match='transport: raw'):
        gazebo.bridge(replace(robot, cameras=(camera,)), '')


@pytest.mark.parametrize('robot', PHYSICAL, ids=lambda r: r.name)
def test_an_action_that_no_controller_of_gazebo_offers_is_refused(robot):
    """GripperActionController calls its action gripper_cmd: goals elsewhere reach nobody."""
    with pytest.raises(ConfigError, match='gripper_action.*expected.*CONTROLLER/gripper_cmd'):
        controller_names(robot)


def test_the_world_stands_and_has_what_cameras_need():
    world = (
        ElementTree.parse(paths.share() / 'config' / 'gazebo' / 'table.sdf')
        .getroot()
        .find('world')
    )
    systems = {plugin.get('name') for plugin in world.findall('plugin')}
    assert {'gz::sim::systems::Physics', 'gz::sim::systems::Sensors'} <= systems
    table = next(m for m in world.findall('model') if m.get('name') == 'table')
    height = float(table.findtext('pose').split()[2])
    size = float(table.findtext('link/collision/geometry/box/size').split()[2])
    assert height + 0.5 * size == pytest.approx(ROBOTS[0].floor_height)
