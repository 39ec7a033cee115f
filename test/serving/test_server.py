"""`vla serve` in a process of its own, seen by clients that know openpi's protocol alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import json
import os
from pathlib import Path
import re
import select
import signal
import subprocess
import sys
import time
from urllib.request import urlopen

import msgpack
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from vla_ros import config, paths
from vla_ros.policies.base import chunk_seed
from vla_ros.policies.registry import create
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec
from vla_ros.types import Frame, JointState, Observation

ROOT = Path(__file__).resolve().parents[2]
ROBOT = load_robot(paths.find('robots', 'panda'))
SEEING = """
name: seeing_hold
adapter: ADAPTER
images: [{camera: scene, size: 96}, {camera: wrist, size: 96}]
state: []
action: [{kind: joint_position, unit: rad}, {kind: gripper, unit: open_fraction}]
step: 0.05
horizon: 4
replan_steps: 2
"""
START = 60.0  # [s] until a server is ready: weights are loaded
WAIT = 20.0  # [s] bound of every other wait
CLI = 'import sys; from vla_ros.cli.main import main; sys.argv[0] = "vla"; main()'


class Server:
    """A process of `vla serve`, its address and what it said."""

    def __init__(self, *arguments: str, program: str = CLI) -> None:
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        self.process = subprocess.Popen(
            [sys.executable, '-c', program, 'serve', *arguments, '--port', '0'],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        ready, _, _ = select.select([self.process.stdout], [], [], START)
        self.line = self.process.stdout.readline() if ready else ''
        found = re.search(r'ws://\S+:(\d+)', self.line)
        if found is None:
            self.process.kill()
            raise AssertionError(self.line + self.process.communicate()[1])
        self.port = int(found[1])
        self.url = f'ws://127.0.0.1:{self.port}'

    def end(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        """End it; return exit status, output and errors."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT)
        return self.process.returncode, out, err


@contextmanager
def serving(*arguments: str, **options: str) -> Iterator[Server]:
    server = Server(*arguments, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate(timeout=WAIT)


@pytest.fixture(scope='module')
def policy_file(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('policies') / 'seeing_hold.yaml'
    path.write_text(SEEING.replace('ADAPTER', 'hold'))
    return str(path)


@pytest.fixture(scope='module')
def server(policy_file) -> Iterator[Server]:
    with serving(policy_file) as server:
        yield server


def array(value) -> dict:
    value = np.asarray(value)
    return {b'__ndarray__': True, b'data': value.tobytes(), b'dtype': value.dtype.str,
            b'shape': value.shape}  # fmt: skip


def plain(table):
    if b'__ndarray__' in table:
        return np.frombuffer(table[b'data'], table[b'dtype']).reshape(table[b'shape'])
    return table


class Client:
    """A client of the protocol, from its description."""

    def __init__(self, server: Server) -> None:
        deadline = time.monotonic() + WAIT
        while True:
            try:
                self.line = connect(server.url, compression=None).__enter__()
                break
            except InvalidStatus:  # the one before has not left yet
                assert time.monotonic() < deadline
                time.sleep(0.02)
        self.metadata = msgpack.unpackb(self.line.recv(timeout=WAIT), object_hook=plain)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_) -> None:
        self.line.close()

    def ask(self, request) -> dict | str:
        data = request if isinstance(request, bytes) else msgpack.packb(request, default=array)
        self.line.send(data)
        answer = self.line.recv(timeout=WAIT)
        return answer if isinstance(answer, str) else msgpack.unpackb(answer, object_hook=plain)


def request(position=None, closed: float = 0.25, **changes) -> dict:
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    arm = np.array(ROBOT.home if position is None else position)
    whole = {
        'observation/scene': picture,
        'observation/wrist': picture[::-1],
        'observation/joint_position': arm,
        'observation/gripper_position': np.array([closed]),
        'prompt': 'lift it',
    }
    return {**whole, **changes}


def test_the_metadata_come_first_and_tell_what_is_wanted_and_given(server):
    with Client(server) as client:
        said = client.metadata
    assert (said['policy'], said['robot'], said['horizon'], said['step']) == (
        'seeing_hold', 'panda', 4, 0.05
    )  # fmt: skip
    assert set(said['observation']) == set(request())
    assert [part['kind'] for part in said['action']] == ['joint_position', 'gripper']


def test_the_answer_is_the_policys_chunk_with_timings(server):
    with Client(server) as client:
        answer = client.ask(request())
        expected = np.tile([*ROBOT.home, 0.75], (4, 1))  # closed 0.25 is open 0.75
        np.testing.assert_allclose(answer['actions'], expected, atol=1e-12)
        assert answer['server_timing']['infer_ms'] >= answer['policy_timing']['infer_ms'] >= 0.0
        assert 'prev_total_ms' not in answer['server_timing']
        assert client.ask(request())['server_timing']['prev_total_ms'] > 0.0


def test_a_session_has_a_memory_that_ends_with_it_and_with_the_prompt(server):
    moved = np.array(ROBOT.home) + 0.1
    with Client(server) as client:
        client.ask(request())
        np.testing.assert_allclose(client.ask(request(moved))['actions'][0, :-1], ROBOT.home)
        answer = client.ask(request(moved, prompt='push it'))
        np.testing.assert_allclose(answer['actions'][0, :-1], moved)
    with Client(server) as client:
        np.testing.assert_allclose(client.ask(request())['actions'][0, :-1], ROBOT.home)


def test_pictures_may_have_channels_first_and_floats_and_lists_are_read(server):
    picture = np.zeros((3, 120, 160), np.float32)
    changes = {'observation/scene': picture, 'observation/gripper_position': 0.0,
               'observation/joint_position': list(ROBOT.home)}  # fmt: skip
    with Client(server) as client:
        assert client.ask(request(**changes))['actions'].shape == (4, 8)


@pytest.mark.parametrize(
    ('bad', 'reason'),
    [
        ({'observation/scene': None}, "'observation/scene' is no picture"),
        ({'observation/scene': np.zeros((4, 4, 4), np.uint8)}, r'uint8\(4, 4, 4\)'),
        ({'observation/scene': np.full((4, 4, 3), 200.0)}, 'outside of 0 to 1'),
        ({'observation/joint_position': np.zeros(6)}, 'is not 7 finite numbers'),
        ({'observation/joint_position': np.full(7, np.nan)}, 'is not 7 finite numbers'),
        ({'observation/gripper_position': {}}, 'is not 1 finite numbers'),
        ({'prompt': 7}, "'prompt' is a int"),
        ([1, 2], 'the request is a list'),
        (b'\xc1', 'not msgpack'),
        ('missing', r'lacks observation/joint_position; expected observation/scene'),
    ],
)
def test_an_error_is_one_line_of_text_and_the_connection_closes_with_1011(server, bad, reason):
    message = {**request(), **bad} if isinstance(bad, dict) else bad
    if bad == 'missing':
        message = request()
        del message['observation/joint_position']
    with Client(server) as client:
        said = client.ask(message)
        assert isinstance(said, str) and re.search(reason, said)
        assert '\n' not in said and 'File' not in said
        with pytest.raises(ConnectionClosed) as closed:
            client.line.recv(timeout=WAIT)
        assert closed.value.rcvd.code == 1011
    with Client(server) as client:
        assert client.ask(request())['actions'].shape == (4, 8), 'and the next one is served'


def test_a_second_client_is_told_to_come_again(server):
    with Client(server):
        with pytest.raises(InvalidStatus) as refused:
            connect(server.url).__enter__()
        assert refused.value.response.status_code == 503
        assert urlopen(f'http://127.0.0.1:{server.port}/healthz', timeout=WAIT).read() == b'OK\n'
    Client(server).line.close()


def test_a_page_in_a_browser_is_refused(server):
    with pytest.raises(InvalidStatus) as refused:
        connect(server.url, origin='http://example.com').__enter__()
    assert refused.value.response.status_code == 403


def test_too_large_a_request_ends_the_connection_only(server):
    with Client(server) as client, pytest.raises(ConnectionClosed) as closed:
        client.ask(bytes(65 * 2**20))
    assert (closed.value.rcvd or closed.value.sent).code == 1009
    with Client(server) as client:
        client.ask(request())


def test_keys_of_the_pictures_can_be_named(policy_file):
    keys = 'observation/exterior_image_1_left,observation/wrist_image_left'
    with serving(policy_file, '--images', keys) as server, Client(server) as client:
        assert set(keys.split(',')) < set(client.metadata['observation'])


def test_it_says_where_it_listens_and_ends_cleanly_with_a_client_there(policy_file, tmp_path):
    report = tmp_path / 'serve.json'
    with serving(policy_file, '--json', str(report)) as server:
        with Client(server) as client:
            client.ask(request())
            status, out, err = server.end()
        assert status == 0 and 'requests answered: 1' in out and 'Traceback' not in err
        assert 'serving policy seeing_hold for panda at ws://127.0.0.1:' in server.line
        assert json.loads(report.read_text()) == {'ok': True, 'sessions': 1, 'answers': 1}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_at_once_also_without_a_client(policy_file, number):
    with serving(policy_file) as server:
        begin = time.monotonic()
        _, _, err = server.end(number)
        assert time.monotonic() - begin < 5.0 and 'Traceback' not in err


def test_a_port_in_use_and_a_wrong_number_of_keys_are_one_line(server, policy_file):
    for arguments, match in (
        ((policy_file, '--port', str(server.port)), 'cannot listen at 127.0.0.1'),
        ((policy_file, '--images', 'a'), '1 keys for 2 pictures'),
        (('hodl',), "Did you mean 'hold'"),
    ):
        answer = subprocess.run(
            [sys.executable, '-c', CLI, 'serve', *arguments], capture_output=True, text=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=START, check=False,
        )  # fmt: skip
        assert answer.returncode == 1 and 'Traceback' not in answer.stderr
        assert match in answer.stderr


BROKEN = """
import sys
from vla_ros.policies import hold, registry
class Broken(hold.HoldPolicy):
    def infer(self, obs, prefix=None):
        if obs.instruction == 'break':
            raise RuntimeError('a secret path')
        return super().infer(obs)
hold.Broken = Broken
registry.ADAPTERS['broken'] = 'vla_ros.policies.hold:Broken'
"""


def test_what_breaks_inside_stays_in_the_log_of_the_server(tmp_path):
    path = tmp_path / 'broken.yaml'
    path.write_text(SEEING.replace('ADAPTER', 'broken'))
    with serving(str(path), program=BROKEN + CLI) as server:
        with Client(server) as client:
            said = client.ask(request(prompt='break'))
        assert said == 'RuntimeError in the policy; the log of the server has more.'
        with Client(server) as client:
            client.ask(request())
        _, _, err = server.end()
        assert 'a secret path' in err and 'Traceback' in err


def test_the_learned_policy_answers_as_it_does_here():
    """The same observation and seed give the same chunk to the bit, drawn in another process."""
    spec = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)
    policy = create(spec, ROBOT)
    with serving('tiny_pi0', '--seed', '5') as server:
        for number in (1, 2):
            policy.reset('lift it', seed=chunk_seed(5, number))
            with Client(server) as client:
                for _ in range(2):
                    sent = request()
                    answer = client.ask(sent)
                    position = np.append(ROBOT.home, 0.75 * ROBOT.gripper.open)
                    frames = {
                        name: Frame(0.0, np.ascontiguousarray(sent[f'observation/{name}']))
                        for name in ('scene', 'wrist')
                    }
                    joints = JointState(0.0, position, 0.0 * position)
                    chunk = policy.infer(Observation(0.0, frames, joints, 'lift it'))
                    np.testing.assert_allclose(answer['actions'], chunk.actions, atol=1e-9)
