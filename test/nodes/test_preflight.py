"""Preflight over real processes: the gate holds the filter back, and seeded faults are heard.

Filter, policy and preflight node are processes; arm, controllers and cameras are played here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
import json
import os
from pathlib import Path
import random
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')

from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from vla_ros import config, graph, paths
from vla_ros.cli.session import free_domain
from vla_ros.errors import NodeError
from vla_ros.nodes.client import Client
from vla_ros.nodes.listener import listen, Listener
from vla_ros.nodes.pace import Pace
from vla_ros.preflight.facts import Facts, Wanted
from vla_ros.preflight.finding import Finding
from vla_ros.preflight.judge import judge
from vla_ros.robot import load_robot, RobotSpec
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.safety.config import load_safety
from vla_ros.spec import PolicySpec
from vla_ros.supervisor import commands, Supervisor
from vla_ros.types import Frame, JointState

LIMIT = 60.0  # bound of every wait [s]; the filter compiles in that time
LISTEN = 1.2  # [s]
WIDTH, HEIGHT, RATE = 160, 120, 20.0  # [px], [px], [Hz] of the cameras that are played
SAFETY = load_safety(paths.find('safety', 'default'))
LATE = 'control loop'  # of the filter's process: this machine is busy, which is no fault here
VLA = (sys.executable, '-c', 'from vla_ros.cli.main import main; main()')


@dataclass
class Lies:
    """What the cell says wrongly; as it stands: nothing."""

    joints: Any = lambda place: place
    names: Any = lambda names: names
    shift: Any = lambda count: 0.0  # [s] added to the stamps of joint states
    shape: tuple[int, int] = (HEIGHT, WIDTH)
    encoding: str = 'rgb8'
    light: int = 255
    late: float = 0.0  # [s] taken from the stamps of pictures
    every: int = 1  # picture that is sent
    mute: str = ''  # camera
    frozen: bool = False  # pictures


class Cell:
    """An arm at rest, its controllers and cameras, as topics."""

    def __init__(self, client: Client, robot: RobotSpec) -> None:
        self.client, self.robot = client, robot
        self.lies = Lies()
        self.failed: list[BaseException] = []
        self._rng = np.random.default_rng(1)
        self._count = 0
        self._place = np.array([*robot.home, robot.gripper.open])
        topics = [graph.JOINT_STATES]
        self._cameras = [(c, *graph.camera_topics(robot, c.name)) for c in robot.cameras]
        topics += [topic for _, *pair in self._cameras for topic in pair]
        self._out = {topic: self.advertise(client, topic) for topic in topics}
        for topic in graph.controller_topics(robot):
            client.listen(topic, lambda msg: None)
        self._paces = [
            Pace(100.0, self._on_joints, failed=self.failed.append, name='joints'),
            Pace(RATE, self._on_pictures, failed=self.failed.append, name='pictures'),
        ]
        for pace in self._paces:
            pace.start()

    @staticmethod
    def advertise(client: Client, topic: graph.Topic) -> Any:
        return client.node.create_publisher(interface(topic.type), topic.name, profile(topic.qos))

    def unplug(self) -> None:
        """End the driver of the first camera."""
        _, *ends = self._cameras.pop(0)
        time.sleep(2.0 / RATE)  # a picture may be on its way
        for topic in ends:
            publisher = self._out.pop(topic)
            self.client.between(partial(self.client.node.destroy_publisher, publisher))

    def close(self) -> None:
        for pace in self._paces:
            pace.stop()
        assert not self.failed

    def _on_joints(self, dt: float) -> None:
        lies = self.lies
        self._count += 1
        stamp = time.time() + lies.shift(self._count)
        place = lies.joints(self._place.copy())
        state = JointState(stamp, place, np.zeros_like(place))
        names = tuple(lies.names(list(self.robot.joint_names)))
        self._out[graph.JOINT_STATES].publish(convert.joint_state_to_msg(state, names))

    def _on_pictures(self, dt: float) -> None:
        lies = self.lies
        if self._paces[1].ticks % lies.every:
            return
        for camera, image, info in tuple(self._cameras):
            rng = np.random.default_rng(1) if lies.frozen else self._rng
            noise = rng.integers(0, lies.light + 1, (*lies.shape, 3), dtype=np.uint8)
            stamp = time.time() - lies.late
            message = convert.frame_to_msg(Frame(stamp, noise), camera.frame)
            message.encoding = lies.encoding
            if camera.name != lies.mute:
                self._out[info].publish(convert.camera_info_to_msg(camera, stamp))
                self._out[image].publish(message)


class System:
    """Filter, policy and gate in their processes, and the cell."""

    def __init__(self, client: Client, ears: Client, robot: Path, policy: Path) -> None:
        self.client, self.ears = client, ears
        self.lines: list[str] = []
        spec = config.load(policy, PolicySpec)
        self.wanted = Wanted(load_robot(robot), spec, SAFETY)
        self.cell = Cell(client, self.wanted.robot)
        arguments = {'robot': str(robot), 'policy': str(policy), 'preflight': True}
        started = commands(self.wanted.robot, arguments, simulated=False)
        self.processes = Supervisor(started, lambda name, line: self.lines.append(line))
        self.listener = Listener(ears.node, self.wanted)

    def until(self, condition: Any, what: str) -> Any:
        return self.client.until(condition, LIMIT, what)

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines)

    def hear(self) -> Facts:
        """Return the facts of the next LISTEN seconds."""
        heard: list[Facts] = []
        self.ears.between(self.listener.forget)
        for _ in range(3):
            self.ears.between(self.listener.ask)
            time.sleep(LISTEN / 3)
        self.ears.between(lambda: heard.append(self.listener.facts()))
        return heard[0]

    def recover(self) -> None:
        """Clear what is latched, once its cause is gone."""

        def cleared() -> bool:
            with suppress(NodeError):  # it says why not yet
                self.client.reset_safety()
            return not self.client.safety.latched

        self.until(cleared, 'the reset')

    def findings(self, **lies: Any) -> dict[str, list[Finding]]:
        """Return what is found, by name, while the cell lies."""
        self.cell.lies = replace(Lies(), **lies)
        time.sleep(0.1)
        try:
            found = [f for f in judge(self.hear(), self.wanted) if not f.ok and f.name != LATE]
        finally:
            self.cell.lies = Lies()
        return {name: [f for f in found if f.name == name] for name in {f.name for f in found}}


def write(folder: Path) -> tuple[Path, Path]:
    """Write a robot with small cameras, and a policy that looks through one of them."""
    panda = yaml.safe_load(paths.find('robots', 'panda').read_text())
    small = {'width': WIDTH, 'height': HEIGHT, 'rate': RATE}
    cameras = [{**camera, **small} for camera in panda['cameras']]
    hold = yaml.safe_load(paths.find('policies', 'hold').read_text())
    robot, policy = folder / 'small.yaml', folder / 'looking.yaml'
    robot.write_text(yaml.safe_dump({'extends': 'panda', 'name': 'small', 'cameras': cameras}))
    policy.write_text(yaml.safe_dump({**hold, 'images': [{'camera': 'scene', 'size': 96}]}))
    return robot, policy


@pytest.fixture(scope='module')
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Yield a system whose gate was shut while its joint states were in degrees, then opened."""
    files = write(tmp_path_factory.mktemp('preflight'))
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        client = stack.enter_context(Client('cell'))
        ears = stack.enter_context(Client('ears'))
        made = System(client, ears, *files)
        stack.callback(made.cell.close)
        made.cell.lies = Lies(joints=lambda q: np.append(np.rad2deg(q[:-1]), q[-1]))
        stack.enter_context(made.processes)
        made.until(lambda: made.said('look like degrees'), 'the gate to find degrees')
        made.shut = made.hear()  # type: ignore[attr-defined]
        made.reported = client.safety  # type: ignore[attr-defined]
        made.cell.lies = Lies()
        made.until(lambda: client.safety, 'the filter to be activated')
        made.until(lambda: made.said('nothing is bad'), 'the gate to say so')
        yield made


def test_the_gate_holds_the_filter_back_until_nothing_is_bad(system):
    peer = system.shut.peer('safety_filter')
    assert peer is not None and peer.state == 'inactive'
    assert system.reported is None, 'an inactive filter commands nothing and reports nothing'
    assert system.hear().peer('safety_filter').state == 'active'


def test_a_healthy_system_has_no_finding(system):
    assert system.findings() == {}


ROUNDS = {  # lies that do not hide each other -> the names under which they are found, with words
    'degrees, and a camera of another size': (
        {'joints': lambda q: np.append(np.rad2deg(q[:-1]), q[-1]), 'shape': (240, 320)},
        {'joint values': 'degrees', 'cameras': '320x240'}),
    'two joints exchanged, and another encoding': (
        {'joints': lambda q: q[[0, 1, 2, 5, 4, 3, 6, 7]], 'encoding': 'yuv422'},
        {'joint values': 'exchanged', 'cameras': 'yuv422'}),
    'millimetres, black pictures, half the rate': (
        {'joints': lambda q: np.append(q[:-1], 1e3 * q[-1]), 'light': 2, 'every': 2},
        {'joint values': 'millimetres', 'cameras': 'black', 'rates': '20 Hz'}),
    'another name, a mute camera, old pictures': (
        {'names': lambda n: ['panda_joint_1', *n[1:]], 'mute': 'scene', 'late': 0.8},
        {'joint names': 'panda_joint_1', 'topics': 'silent', 'clock skew': 'wrist'}),
    'joint states from the future, and frozen pictures': (
        {'shift': lambda n: 3.0, 'frozen': True}, {'clock skew': 'ahead', 'cameras': 'the same'}),
    'stamps that go back': ({'shift': lambda n: -0.05 * (n % 2)}, {'stamps': 'back in time'}),
}  # fmt: skip


@pytest.mark.parametrize('lies', ROUNDS)
def test_a_lie_of_the_cell_is_found(system, lies):
    told, expected = ROUNDS[lies]
    found = system.findings(**told)
    for name, words in expected.items():
        assert name in found, found
        assert words in ' '.join(map(str, found[name]))
        assert all(finding.cure for finding in found[name])
    assert set(found) - set(expected) <= {'safety'}, found  # the filter stops for some


def test_strangers_on_the_topics_are_found(system):
    """A second commander, one that nobody hears, one of another type, a stop, another order."""
    system.recover()
    arm, _ = graph.controller_topics(system.wanted.robot)
    deaf = replace(graph.OVERRIDE, qos=graph.SENSOR)
    odd = replace(graph.OBSTACLES, type='std_msgs/msg/String')
    short = list(system.wanted.robot.arm_joints[:-1])
    with Client('stranger') as stranger, Client('panda_arm_controller') as controller:
        controller.between(lambda: controller.node.declare_parameter('joints', short))
        for topic in (arm, deaf, odd):
            Cell.advertise(stranger, topic)
        estop = Cell.advertise(stranger, graph.ESTOP)
        estop.publish(convert.flag_to_msg(True))
        system.until(lambda: system.client.safety.reason == 'estop', 'the stop')
        system.until(lambda: system.hear().controller_joints, 'the joints of the controller')
        found = system.findings()
        estop.publish(convert.flag_to_msg(False))
        system.recover()
    assert {name: f[0].verdict for name, f in found.items()} == {
        'publishers': 'bad', 'qos': 'bad', 'types': 'bad', 'operator': 'warn', 'safety': 'bad',
        'joint order': 'bad',
    }  # fmt: skip
    assert '/stranger' in str(found['publishers'][0])
    assert 'best effort is offered' in str(found['qos'][0])
    assert 'std_msgs/msg/String' in str(found['types'][0])


def test_a_robot_in_a_namespace_is_heard_there(system):
    """By the function that the command calls, which joins and leaves."""
    left = replace(graph.JOINT_STATES, name='/left/joint_states')
    with Client('left_arm') as client:
        said = Cell.advertise(client, left)
        place = np.zeros(len(system.wanted.robot.joint_names))
        names = system.wanted.robot.joint_names
        failed: list[BaseException] = []

        def say(dt: float) -> None:
            said.publish(convert.joint_state_to_msg(JointState(time.time(), place, place), names))

        pace = Pace(50.0, say, failed=failed.append, name='left')
        pace.start()
        facts = listen(system.wanted, '/left', 1.0)
        pace.stop()
    assert not failed
    assert facts.namespace == '/left' and facts.joints.names == (names,)
    assert [end.node for end in facts.publishers(graph.JOINT_STATES)] == ['/left_arm']
    assert not facts.views['scene'].pictures, 'those of the arm without namespace'
    assert facts.peer('policy') is None


def test_a_node_that_follows_another_clock_is_found(system):
    client = system.client
    server = client.node.create_client(SetParameters, '/policy/set_parameters')
    client.until(server.service_is_ready, LIMIT, 'the parameters of the policy')

    def follow(clock: bool) -> None:
        value = Parameter('use_sim_time', value=clock).to_parameter_msg()
        answer = server.call_async(SetParameters.Request(parameters=[value]))
        assert client.wait(answer, LIMIT, 'the policy').results[0].successful

    follow(True)
    try:
        found = system.findings()
    finally:
        follow(False)
    words = ' '.join(map(str, found['sim time']))
    assert '/policy follow /clock' in words and '/clock is silent' in words
    assert set(found) <= {'sim time', 'policy', 'safety'}


def test_a_camera_without_driver_and_a_policy_that_is_gone_are_found(system):
    """Last: it ends the policy."""
    system.cell.unplug()
    system.processes.signal('policy', 2)
    system.until(lambda: any(e.name == 'policy' for e in system.processes.poll()), 'its end')
    time.sleep(1.0)
    found = system.findings()
    assert '/policy is not there' in str(found['nodes'][0])
    assert 'not published' in str(found['topics'][0])


@pytest.mark.timeout(200)
def test_the_doctor_finds_a_simulated_system_healthy_behind_its_gate(tmp_path):
    """`vla up --preflight` and `vla doctor --live`, as a user runs them, on a busy machine too."""
    environment = {
        **os.environ,
        'ROS_DOMAIN_ID': str(free_domain(random.Random())),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
    }
    log = tmp_path / 'up.log'
    with log.open('w') as file:
        up = subprocess.Popen(
            [*VLA, 'up', '--policy', 'hold', '--preflight'],
            env=environment, stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    busy = subprocess.Popen([sys.executable, '-c', 'while True: pass'])
    try:
        deadline = time.monotonic() + LIMIT
        while 'nothing is bad' not in log.read_text() and time.monotonic() < deadline:
            assert up.poll() is None, log.read_text()
            time.sleep(0.2)
        assert 'nothing is bad' in log.read_text(), log.read_text()
        done = subprocess.run(
            [*VLA, 'doctor', '--live', '--policy', 'hold', '--seconds', '3', '--json', '-'],
            env=environment, capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    finally:
        busy.kill()
        busy.wait()
        up.send_signal(2)
        up.wait(LIMIT)
    report = json.loads(done.stdout)
    assert done.returncode == 0 and report['ok'] and report['live'], done.stderr
    machine = {'socket buffers', 'shared memory', 'processor', 'disk', 'dds profile', 'domain'}
    machine |= {'control loop', 'rates'}  # a loaded one ticks late and draws fewer pictures
    wrong = [f for f in report['findings'] if not f['ok'] and f['name'] not in machine]
    assert not wrong, wrong
    seen = {f['name'] for f in report['findings'] if f['verdict'] == 'ok'}
    assert {'nodes', 'topics', 'types', 'qos', 'stamps', 'clock skew', 'cameras'} <= seen
    slow = [f for f in report['findings'] if f['name'] == 'rates' and not f['ok']]
    assert all('comes at' in f['found'] for f in slow), slow
