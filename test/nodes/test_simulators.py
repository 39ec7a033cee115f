"""Our processes in the time of Gazebo and of Isaac Sim: as fast as the wall's, slow, paused."""

from __future__ import annotations

from collections import deque
from pathlib import Path
import random
import sys
import time

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')

from vla_ros import graph, paths
from vla_ros.cli.session import free_domain
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.supervisor import Command, commands, Supervisor

HERE = Path(__file__).parent
ROBOT = load_robot(paths.find('robots', 'panda'))
LIMIT = 150.0  # [s] bound of every wait: the first start compiles the safety core
MOVED = 0.02  # [rad] some joint, while the policy wanders
PAUSED = ('clock_paused', 'joint_state_stale')  # faults that go with the pause
SLACK = 1.1  # on the velocity limit: positions that come 4 ms apart are differenced

pytestmark = pytest.mark.timeout(400)


class Cell:
    """Simulator, safety filter and policy as processes, and what they say."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.joints: deque = deque(maxlen=2000)
        self.commands = 0
        self.faults: set[str] = set()
        self.latched = False
        self.fastest = 0.0  # share of the velocity limit, by simulated time
        told = graph.Topic('simulator/told', 'std_msgs/msg/String', graph.EVENTS)
        self._told = client.node.create_publisher(
            interface(told.type), told.name, profile(told.qos)
        )
        client.listen(graph.JOINT_STATES, self._on_joints)
        client.listen(graph.SAFETY_STATUS, self._on_status)
        client.listen(graph.command_topics(ROBOT)[0], self._on_command)

    def rate(self, rate: float) -> None:
        """Let simulated time pass at this rate; 0 pauses."""
        self._told.publish(convert.text_to_msg(str(rate)))

    def wander(self, what: str) -> None:
        """Wait until the arm has moved from here, and that nothing has latched."""
        self.client.until(lambda: self.joints, LIMIT, 'a joint state')
        start = self.joints[-1].position

        def moved() -> bool:
            return bool(np.abs(self.joints[-1].position - start).max() > MOVED)

        self.client.until(moved, LIMIT, what)
        assert not self.latched, self.faults

    def _on_joints(self, message) -> None:
        state = convert.joint_state_from_msg(message, ROBOT.joint_names)
        if self.joints and state.stamp > self.joints[-1].stamp:
            before = self.joints[-1]
            way = np.abs(state.position - before.position)[:-1]
            speed = way / (state.stamp - before.stamp)
            self.fastest = max(self.fastest, float((speed / ROBOT.limits('velocity')).max()))
        self.joints.append(state)

    def _on_status(self, message) -> None:
        status = convert.safety_status_from_msg(message)
        self.latched = self.latched or status.latched
        self.faults.add(status.reason)

    def _on_command(self, message) -> None:
        self.commands += 1


@pytest.fixture(params=['gazebo', 'isaac'])
def cell(request, monkeypatch, tmp_path):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
    policy = yaml.safe_load(paths.find('policies', 'noise').read_text())
    policy['images'] = [{'camera': camera.name, 'size': 32} for camera in ROBOT.cameras]
    file = tmp_path / 'seeing.yaml'
    file.write_text(yaml.safe_dump(policy))
    nodes = commands(
        ROBOT, {'policy': str(file), 'seed': 1, 'use_sim_time': True}, simulated=False
    )
    program = (sys.executable, str(HERE / 'simulator.py'), 'panda', request.param)
    lines: list[str] = []
    with (
        Supervisor(
            (Command('simulator', program), *nodes),
            lambda name, line: lines.append(f'{name} {line}'),
        ),
        Client('operator') as client,
    ):
        made = Cell(client)
        try:
            client.ready(LIMIT)
            yield made
        except BaseException:
            print('\n'.join(lines))
            raise


def test_the_arm_follows_simulated_time(cell):
    """It moves, rests through a pause without a fault that stays, goes on, and moves slowly."""
    client = cell.client
    client.say('wander', LIMIT)
    cell.wander('a motion in real time')

    cell.rate(0.0)
    client.until(
        lambda: client.safety.level == 2 and client.safety.reason in PAUSED, LIMIT, 'the pause'
    )
    place, stamp = cell.joints[-1].position, cell.joints[-1].stamp
    time.sleep(1.5)  # longer than every timeout of the safety file
    assert np.abs(cell.joints[-1].position - place).max() < 1e-9
    assert not cell.latched, cell.faults

    cell.rate(1.0)
    client.until(lambda: cell.joints[-1].stamp > stamp + 0.1, LIMIT, 'the time after the pause')
    cell.wander('a motion after the pause, without a reset')

    cell.rate(0.25)
    began, wall = cell.joints[-1].stamp, time.monotonic()
    cell.wander('a motion in slow time')
    passed = (cell.joints[-1].stamp - began) / (time.monotonic() - wall)
    assert passed < 0.5, 'the simulator was slow'
    assert cell.fastest < SLACK, 'the limits hold in simulated time'
    assert 'tracking_lost' not in cell.faults
