"""The graph as data against the messages, the nodes' own code and every file under config/."""

from __future__ import annotations

import ast
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from vla_ros import config, graph, paths
from vla_ros.fit import check
from vla_ros.graph import ARGUMENTS, processes, Topic
from vla_ros.kinematics import Kinematics
from vla_ros.robot import Enable, load_robot, RobotSpec
from vla_ros.spec import PolicySpec

ROOT = Path(__file__).resolve().parents[1]
ROBOTS = sorted((paths.share() / 'config' / 'robots').glob('*.yaml'))
POLICIES = sorted((paths.share() / 'config' / 'policies').glob('*.yaml'))
# What a person or a perception of one's own sends; no process of the graph publishes it.
OPERATOR = {graph.INSTRUCTION, graph.ESTOP, graph.OVERRIDE}
TOPICS = {k: v for k, v in vars(graph).items() if isinstance(v, Topic)}


@pytest.fixture(params=ROBOTS, ids=lambda file: file.stem)
def robot(request) -> RobotSpec:
    return load_robot(request.param)


@pytest.mark.parametrize('simulated', [True, False])
def test_a_topic_name_has_one_type_and_one_quality(robot, simulated):
    used: dict[str, set[Topic]] = {}
    for process in processes(robot, simulated):
        for topic in (*process.subscribes, *process.publishes):
            used.setdefault(topic.name, set()).add(topic)
    assert {name: len(topics) for name, topics in used.items()} == dict.fromkeys(used, 1)


def test_in_simulation_everything_that_is_heard_is_said(robot):
    said = {t for p in processes(robot, True) for t in p.publishes}
    heard = {t for p in processes(robot, True) for t in p.subscribes}
    assert heard - said == OPERATOR


def test_on_hardware_only_sensors_and_people_speak_from_outside(robot):
    # A recorder also hears what only a simulator or a camera says.
    parts = [p for p in processes(robot, False) if p.node != 'recorder']
    outside = {t for p in parts for t in p.subscribes} - {t for p in parts for t in p.publishes}
    cameras = {graph.camera_topics(robot, c.name)[0] for c in robot.cameras}
    assert outside == {*OPERATOR, *cameras, graph.JOINT_STATES, graph.OBSTACLES, graph.TASK_STATE}


def test_a_recording_holds_every_topic_once_but_drawings(robot):
    said = {t.name for p in processes(robot, True) for t in (*p.subscribes, *p.publishes)}
    recorded = [topic.name for topic in graph.recorded(robot)]
    assert sorted(recorded) == sorted(said - {graph.MARKERS.name})


@pytest.mark.parametrize('simulated', [True, False])
def test_a_topic_a_service_and_a_node_have_one_owner(robot, simulated):
    parts = processes(robot, simulated)
    shared = {graph.DIAGNOSTICS, *graph.last_resort_topics(robot)}
    said = [t.name for p in parts for t in p.publishes if t not in shared]
    served = [name for p in parts for name, _ in (*p.services, *p.actions)]
    nodes = [p.node for p in parts]
    for names in (said, served, nodes):
        assert len(names) == len(set(names))


def test_one_process_commands_a_controller(robot):
    direct = graph.command_topics(robot)
    resort = graph.last_resort_topics(robot)
    assert bool(resort) == any(arm.driver.arm.runs_on for arm in robot.arms)
    for topic in graph.controller_topics(robot):
        owners = ['safety_filter' if topic in direct else 'forwarder']
        owners += ['safety_filter'] if topic in resort else []  # 0, once the forwarder is lost
        for simulated in (True, False):
            writers = [p.node for p in processes(robot, simulated) if topic in p.publishes]
            assert writers == owners


def test_a_controller_that_takes_another_kind_of_command_has_a_forwarder_between(robot):
    nodes = {p.node: p for p in processes(robot, False)}
    assert ('forwarder' in nodes) == robot.forwarded
    command = graph.command_topics(robot)
    assert set(command) <= set(nodes['safety_filter'].publishes)
    assert {topic.type for topic in command} == {'trajectory_msgs/msg/JointTrajectory'}
    if robot.forwarded:
        heard = (*graph.forwarded_topics(robot), *graph.feedback_topics(robot))
        assert nodes['forwarder'].subscribes == heard
        assert nodes['forwarder'].critical


def test_every_controller_is_there_in_the_simulator(robot):
    sim = next(p for p in processes(robot, True) if p.node == 'sim')
    offered = {(t.name, t.type) for t in sim.subscribes} | set(sim.actions)
    assert offered == {(c.input, c.type) for c in graph.controllers(robot)}


def test_a_dead_man_switch_is_heard_where_the_robot_file_has_one(robot):
    with_switch = replace(robot, enable=Enable(0.2))
    heard = {t for p in processes(with_switch, False) for t in p.subscribes}
    (topic,) = graph.enable_topics(with_switch)
    assert topic in heard and not topic.qos.transient_local
    assert graph.enable_topics(replace(robot, enable=None)) == ()


def test_every_topic_of_the_graph_is_used(robot):
    used = {t for p in processes(robot, True) for t in (*p.publishes, *p.subscribes)}
    assert set(TOPICS.values()) <= used


def test_only_clock_and_diagnostics_ignore_the_namespace(robot):
    absolute = {
        t
        for p in processes(robot, True)
        for t in (*p.publishes, *p.subscribes)
        if t.name.startswith('/')
    }
    assert absolute == {graph.CLOCK, graph.DIAGNOSTICS}


def test_a_camera_publishes_its_info_beside_its_picture(robot):
    pairs = [graph.camera_topics(robot, c.name) for c in robot.cameras]
    for image, info in pairs:
        assert info.name == str(Path(image.name).parent / 'camera_info')
    names = [t.name for pair in pairs for t in pair]
    assert len(set(names)) == len(names)


def test_an_image_topic_at_the_root_has_its_info_at_the_root(robot):
    camera = replace(robot.cameras[0], topic='image_raw')
    alone = replace(robot, cameras=(camera,))
    assert graph.camera_topics(alone, camera.name)[1].name == 'camera_info'


def test_a_compressed_camera_has_the_topic_of_image_transport_and_the_same_info(robot):
    raw = robot.cameras[0]
    packed = replace(robot, cameras=(replace(raw, transport='compressed'), *robot.cameras[1:]))
    image, info = graph.camera_topics(packed, raw.name)
    assert (image.name, image.type) == (
        f'{raw.topic}/compressed', 'sensor_msgs/msg/CompressedImage',
    )  # fmt: skip
    assert info == graph.camera_topics(robot, raw.name)[1]
    for simulated in (True, False):
        heard = {t for p in processes(packed, simulated) for t in p.subscribes}
        assert image in heard and graph.camera_topics(robot, raw.name)[0] not in heard


def test_every_type_exists(robot):
    pytest.importorskip('rclpy')
    from vla_ros.ros.qos import interface

    for process in processes(robot, True):
        for topic in (*process.subscribes, *process.publishes):
            assert interface(topic.type).get_fields_and_field_types()
        for _, kind in (*process.services, *process.actions):
            assert isinstance(interface(kind), type)


def test_drivers_and_controllers_of_others_can_be_joined(robot):
    qos = pytest.importorskip('rclpy.qos')
    from vla_ros.ros.qos import profile

    def match(publisher, subscription):
        return qos.qos_check_compatible(publisher, subscription)[0] != qos.QoSCompatibility.ERROR

    default, sensor = qos.QoSProfile(depth=10), qos.qos_profile_sensor_data
    assert not match(sensor, default)  # the check itself can fail
    images = [graph.camera_topics(robot, c.name)[0] for c in robot.cameras]
    for topic in (graph.JOINT_STATES, *images):
        for driver in (default, sensor):
            assert match(driver, profile(topic.qos)), topic
    for topic in graph.controller_topics(robot):
        for controller in (default, sensor):
            assert match(profile(topic.qos), controller), topic
    for topic in {t for p in processes(robot, True) for t in (*p.publishes, *p.subscribes)}:
        assert match(profile(topic.qos), profile(topic.qos)), topic


def test_processes_take_arguments_that_exist_and_have_a_program(robot):
    scripts = (ROOT / 'setup.py').read_text(encoding='utf-8')
    for process in processes(robot, True):
        assert set(process.parameters) <= set(ARGUMENTS)
        assert find_spec(process.module) is not None
        assert f"'{process.executable} = {process.module}:main'" in scripts


def test_defaults_of_the_arguments_name_files_that_exist():
    for name, kind in (
        ('robot', 'robots'), ('policy', 'policies'), ('safety', 'safety'), ('suite', 'suites'),
    ):  # fmt: skip
        assert paths.find(kind, str(ARGUMENTS[name].default)).is_file()


def _calls(module: str, method: str) -> set[str]:
    """Return the constants X of every call `self.method(graph.X, ...)` in a module."""
    tree = ast.parse(Path(find_spec(module).origin).read_text(encoding='utf-8'))
    return {
        node.args[0].attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == method
        and node.args
        and isinstance(node.args[0], ast.Attribute)
        and getattr(node.args[0].value, 'id', '') == 'graph'
    }


def test_the_nodes_do_what_the_graph_declares(robot):
    names = {topic: name for name, topic in TOPICS.items()}
    services = {v: k for k, v in vars(graph).items() if k.endswith('_SERVICE')}
    for process in processes(robot, True):
        declared = {
            'advertise': {names[t] for t in process.publishes if t in names},
            'listen': {names[t] for t in process.subscribes if t in names},
            'serve': {services[s] for s in process.services},
        }
        if process.node == 'recorder':
            declared['listen'] = set()  # it goes through graph.recorded, and names none
        if process.node == 'forwarder':
            declared['listen'] = set()  # likewise through graph.feedback_topics
        found = {method: _calls(process.module, method) for method in declared}
        assert found == declared, process.node


def test_a_robot_file_fits_its_robot_description(robot):
    for arm in robot.arms:
        model = Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame)
        for what in ('lower', 'upper'):
            planned, built = arm.limits(what), getattr(model, what)
            inside = (planned >= model.lower) & (planned <= model.upper)
            assert inside.all(), (what, planned, built)
        ends = zip(arm.limits('lower'), arm.home, arm.limits('upper'))
        assert all(low < q < high for low, q, high in ends)
        links = {f.name for f in model.model.frames}
        assert {robot.base_frame, *(c.link for c in robot.capsules)} <= links
        assert {c.frame for c in robot.cameras} <= links
    assert all(gripper.open != gripper.closed for gripper in robot.grippers)
    assert len({c.name for c in robot.cameras}) == len(robot.cameras)
    assert len({c.name for c in robot.capsules}) == len(robot.capsules)


@pytest.mark.parametrize('file', POLICIES, ids=lambda file: file.stem)
def test_a_policy_file_fits_every_robot_of_its_arms(robot, file):
    """An arm of five joints cannot turn its tool at will, so policies of the tool do not fit."""
    spec = config.load(file, PolicySpec)
    assert spec.name == file.stem
    findings = check(robot, spec)
    if any(arm.dof < 6 for arm in robot.arms):
        findings = [text for text in findings if 'tool cannot' not in text]
    wanted = {part.arm for part in spec.action} - {None} or {''}
    if wanted == {arm.name for arm in robot.arms}:
        assert findings == []
    elif len(robot.arms) == 1:
        assert any('unknown arm' in found for found in findings)


@pytest.mark.parametrize('file', POLICIES, ids=lambda file: file.stem)
def test_a_policy_file_names_an_adapter_that_exists(file):
    adapters = import_module('vla_ros.policies.registry').ADAPTERS
    assert config.load(file, PolicySpec).adapter in adapters


@pytest.mark.parametrize('name', ['panda', 'panda_streaming'])
def test_a_recording_that_is_played_says_nothing_that_the_nodes_say(name):
    robot = load_robot(paths.find('robots', name))
    played = {topic.name for topic in graph.replayed(robot)}
    said = {t.name for p in graph.replay_processes(robot) for t in p.publishes}
    assert not played & said
    cameras = {graph.camera_topics(robot, c.name)[0].name for c in robot.cameras}
    assert cameras | {graph.JOINT_STATES.name, graph.INSTRUCTION.name} <= played
    assert {p.node for p in graph.replay_processes(robot)} == {'safety_filter', 'policy'}
