"""The forwarder as a process, between the filter's place and a controller that the test plays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import yaml

pytest.importorskip('rclpy')

from vla_ros import graph, paths, supervisor
from vla_ros.cli.session import free_domain
from vla_ros.errors import ConfigError
from vla_ros.nodes.client import Client
from vla_ros.nodes.forwarder_node import period_of
from vla_ros.nodes.pace import Pace
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.types import JointCommand

ROBOT = load_robot(paths.find('robots', 'panda_streaming'))
HOME = np.array(ROBOT.home)
ACCEL = ROBOT.limits('acceleration')
PERIOD = period_of(paths.find('safety', 'default'))
LATE = 0.2  # [s]
LIMIT = 30.0  # bound of every wait [s]
FAST = 0.6  # [rad/s]
DOMAIN = str(free_domain(random.Random()))
ENV = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_DOMAIN_ID': DOMAIN}


class Stream:
    """Commands one joint as the filter does, and keeps what the controller gets."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.got: list[tuple[float, np.ndarray]] = []  # monotonic time [s], positions [rad]
        self.held: np.ndarray | None = None
        self.reports = 0
        self.q, self.v = HOME.copy(), np.zeros(ROBOT.dof)
        self.wanted = 0.0  # [rad/s] of the first joint
        self.speaks = False
        self._lock = threading.Lock()
        arm, command = graph.controller_topics(ROBOT)[0], graph.command_topics(ROBOT)[0]
        self._writer = convert.CommandWriter(ROBOT.arm_joints, slice(0, ROBOT.dof))
        self._out = client.node.create_publisher(
            interface(command.type), command.name, profile(command.qos)
        )
        client.listen(arm, self._on_positions)
        client.listen(graph.hold_topics(ROBOT)[0], self._on_report)
        self._reset = client.node.create_client(
            interface(graph.FORWARDER_RESET_SERVICE[1]), graph.FORWARDER_RESET_SERVICE[0]
        )
        self.errors: list[BaseException] = []
        self.pace = Pace(1.0 / PERIOD, self._tick, failed=self.errors.append, name='filter')

    def begin(self, place: np.ndarray) -> None:
        """Command a place at rest."""
        with self._lock:
            self.q, self.v, self.wanted = place.copy(), np.zeros(ROBOT.dof), 0.0
        self.speaks = True

    def move(self) -> None:
        """Speed up, and wait until the controller has gone some way."""
        start = self.got[-1][1][0]
        self.wanted = FAST
        self.until(lambda: self.got[-1][1][0] > start + 0.1, 'motion')

    def until(self, condition, what: str):
        return self.client.until(condition, LIMIT, what)

    def reset(self) -> tuple[bool, str]:
        answer = self._reset.call_async(convert.trigger_request())
        return convert.trigger_from_msg(self.client.wait(answer, LIMIT, 'the reset'))

    def rests(self) -> np.ndarray:
        """Wait until the controller gets nothing new and return where the arm is."""
        while True:
            count = len(self.got)
            time.sleep(0.3)
            if len(self.got) == count or np.ptp([p[0] for _, p in self.got[count:]]) == 0.0:
                return self.got[-1][1]

    def _tick(self, dt: float) -> None:
        if not self.speaks:
            return
        with self._lock:
            rise = ACCEL[0] * PERIOD
            self.v[0] += np.clip(self.wanted - self.v[0], -rise, rise)
            self.q = self.q + PERIOD * self.v
            command = with_straight_stop(self.q, self.v)
        self._out.publish(self._writer.write(command))

    def _on_positions(self, msg) -> None:
        self.got.append((time.monotonic(), convert.positions_from_msg(msg)))

    def _on_report(self, msg) -> None:
        self.reports += 1
        self.held = convert.hold_from_msg(msg, ROBOT.arm_joints).place


def with_straight_stop(q: np.ndarray, v: np.ndarray) -> JointCommand:
    """Return a next point and the stop after it, in which all joints slow by the same share."""
    stop = max(float((np.abs(v) / ACCEL).max()), 1e-6)
    share = np.array([0.0, 0.5, 1.0] if v.any() else [0.0])[:, None]
    positions, velocities = q + stop * share * (1.0 - 0.5 * share) * v, (1.0 - share) * v
    return JointCommand(time.time(), PERIOD + stop * share[:, 0], positions, velocities)


@pytest.fixture(scope='module')
def patient(tmp_path_factory) -> Path:
    """A robot file whose forwarder does not take a busy machine for a dead filter."""
    driver = {**asdict(ROBOT.driver), 'late': LATE}
    file = tmp_path_factory.mktemp('robots') / 'patient.yaml'
    file.write_text(yaml.safe_dump({'extends': 'panda', 'name': 'patient', 'driver': driver}))
    return file


@pytest.fixture
def forwarder(patient) -> Iterator[tuple[Stream, supervisor.Supervisor]]:
    """Yield a stream and the forwarder's process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENV.items():
            patch.setenv(name, value)
        others = ('sim', 'safety_filter', 'policy', 'markers')
        only = supervisor.commands(ROBOT, {'robot': str(patient)}, without=others)
        assert [command.name for command in only] == ['forwarder']
        lines: list[str] = []
        with (
            supervisor.Supervisor(only, lambda name, line: lines.append(line)) as process,
            Client('stream') as client,
        ):
            stream = Stream(client)
            stream.pace.start()
            stream.until(lambda: stream.reports, f'the forwarder: {lines}')
            stream.begin(HOME)
            stream.until(lambda: len(stream.got) > 20, f'the stream: {stream.errors}')
            yield stream, process
            stream.speaks = False
            stream.pace.stop()
            assert not stream.errors


def stopping_way(speed: float) -> float:
    return 0.5 * speed**2 / ACCEL[0]


def test_silence_in_motion_is_stopped_and_one_reset_resumes(forwarder):
    stream, _ = forwarder
    stream.move()
    with stream._lock:
        stream.speaks, last = False, stream.q.copy()
    stream.until(lambda: stream.held is not None, 'the end of the stream')
    place = stream.rests()
    assert place[0] == pytest.approx(last[0] + stopping_way(FAST), abs=2e-3)
    np.testing.assert_array_equal(stream.held, place)
    path = np.array([p[0] for _, p in stream.got[-60:]])
    assert (np.diff(path) >= -1e-9).all()

    count = len(stream.got)  # what comes back, even at rest and at the right place, moves nothing
    stream.begin(place)
    time.sleep(0.2)
    assert len(stream.got) == count
    done, message = stream.reset()
    assert done, message
    stream.until(lambda: stream.held is None, 'the stream to resume')
    stream.move()


def test_a_forwarder_that_was_frozen_leaves_the_arm_where_it_stood(forwarder):
    stream, process = forwarder
    stream.move()
    process.signal('forwarder', signal.SIGSTOP)
    time.sleep(2.0 * LATE)
    place = stream.got[-1][1]
    process.signal('forwarder', signal.SIGCONT)
    stream.until(lambda: stream.held is not None, 'the forwarder to notice')
    np.testing.assert_allclose(stream.rests(), place, atol=1e-9)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_an_ending_forwarder_plays_the_stop_first(forwarder, number):
    stream, process = forwarder
    stream.move()
    process.signal('forwarder', number)
    stream.until(lambda: process.poll() or process._reported, 'the end of the process')
    path = np.array([p[0] for _, p in stream.got])
    steps = np.diff(path[-40:])
    assert steps[-1] < 0.3 * PERIOD * FAST  # it came to rest, and did not just end
    assert (steps >= -1e-9).all()
    assert process.stop()['forwarder'] == 0


def test_a_driver_that_plays_stops_itself_needs_no_forwarder():
    argv = [
        sys.executable,
        '-m',
        'vla_ros.nodes.forwarder_node',
        '--ros-args',
        '-p',
        'robot:=panda',
    ]
    done = subprocess.run(
        argv, env={**os.environ, **ENV}, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 1
    assert 'start no forwarder' in done.stderr
    assert 'Traceback' not in done.stderr


def test_the_rate_is_that_of_the_safety_file(tmp_path):
    assert period_of(paths.find('safety', 'fast')) == 0.002
    file = tmp_path / 'none.yaml'
    for text in ('mode: path', 'period: soon', 'period: -1.0', '[]'):
        file.write_text(text)
        with pytest.raises(ConfigError, match='period'):
            period_of(file)
