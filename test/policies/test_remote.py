"""Policies on other machines: what is sent and read, and that no server can hold up the arm."""

from __future__ import annotations

import base64
from dataclasses import replace
import hashlib
from pathlib import Path
import re
import socket
import subprocess
import sys
import threading
import time

import numpy as np
from PIL import Image
import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.importorskip('grpc')
pytest.importorskip('zmq')

from server_doubles import Gr00t, Lerobot, Openpi

from vla_ros import config, paths
from vla_ros.errors import ConfigError, PolicyError, UnknownNameError, VlaError
from vla_ros.policies.registry import create
from vla_ros.policies.remote import columns
from vla_ros.robot import load_robot
from vla_ros.spec import PolicySpec, StateSlice
from vla_ros.types import Frame, JointState, Observation

ROBOT = load_robot(paths.find('robots', 'panda'))
HORIZON = 6
TIMEOUT = 0.4  # [s]
SLACK = 1.0  # [s] that a busy machine may add
PICTURES = {
    name: np.random.default_rng(k).integers(0, 256, (480, 640, 3), np.uint8)
    for k, name in enumerate(('scene', 'wrist'))
}
POSITION = np.append(ROBOT.home, 0.03)  # 3/4 open


def spec_of(adapter: str, options: dict, **changes) -> PolicySpec:
    file = {
        'name': 'far', 'adapter': adapter, 'step': 0.05, 'horizon': HORIZON, 'replan_steps': 3,
        'images': [{'camera': 'scene', 'size': 224}, {'camera': 'wrist', 'size': 224}],
        'state': [
            {'kind': 'joint_position', 'unit': 'rad'}, {'kind': 'gripper', 'unit': 'open_fraction'}
        ],
        'action': [
            {'kind': 'joint_position', 'unit': 'rad'}, {'kind': 'gripper', 'unit': 'open_fraction'}
        ],
        'options': {'timeout': TIMEOUT, 'start_timeout': 2.0, **options},
    }  # fmt: skip
    return config.build(PolicySpec, {**file, **changes}, 'far.yaml')


def observed(instruction: str = 'lift it', stamp: float = 3.0) -> Observation:
    frames = {name: Frame(stamp, picture) for name, picture in PICTURES.items()}
    return Observation(stamp, frames, JointState(stamp, POSITION, 0.0 * POSITION), instruction)


def ramp(state) -> np.ndarray:
    """Return more rows than the horizon: row k is the state plus k / 100."""
    state = np.asarray(state, dtype=np.float64).reshape(-1)
    return (state + 0.01 * np.arange(HORIZON + 2)[:, None]).astype(np.float32)


KINDS = {'arm': ['joint_position'], 'hand': ['gripper']}
LEROBOT = {'policy_type': 'smolvla', 'pretrained': 'me/policy'}


def openpi(**options):
    def actions(obs):
        keys = ('observation/joint_position', 'observation/gripper_position')
        return ramp(np.concatenate([obs[key] for key in keys]))

    server = Openpi(actions)
    options = {'url': server.address, 'layout': 'droid', 'resize': 'none', **options}
    return server, spec_of('remote_openpi', options)


def gr00t(version: str, **options):
    def old(obs):
        arm, hand = ramp(obs['state.arm']), ramp(obs['state.hand'])
        return {'action.arm': arm, 'action.hand': np.squeeze(hand)}

    def new(obs):
        return [{k: ramp(v)[None] for k, v in obs['state'].items()}, {}]

    server = Gr00t(old if version == 'n1.5' else new, version)
    known = {'address': server.address, 'version': version, 'state': KINDS, 'actions': KINDS}
    return server, spec_of('remote_gr00t', {**known, **options})


def lerobot(**options):
    server = Lerobot(lambda obs: ramp(obs['observation.state']))
    return server, spec_of('remote_lerobot', {'address': server.address, **LEROBOT, **options})


SERVERS = {
    'openpi': openpi,
    'gr00t n1.5': lambda **o: gr00t('n1.5', **o),
    'gr00t n1.6': lambda **o: gr00t('n1.6', **o),
    'lerobot': lerobot,
}


@pytest.fixture(params=SERVERS)
def pair(request):
    """Yield a server of each kind, and its client that has been answered once."""
    server, spec = SERVERS[request.param]()
    with server:
        policy = create(spec, ROBOT)
        policy.reset('lift it', seed=0)
        policy.infer(observed())
        server.seen.clear()
        yield server, policy


def fails(policy, within: float) -> str:
    """Return the reason for which there is no answer, after at most that time [s]."""
    begin = time.monotonic()
    with pytest.raises(PolicyError) as caught:
        policy.infer(observed())
    assert time.monotonic() - begin < within
    return str(caught.value)


def test_the_chunk_is_what_the_server_answers_cut_to_the_horizon(pair):
    _, policy = pair
    chunk = policy.infer(observed(stamp=7.5))
    expected = np.append(ROBOT.home, 0.75) + 0.01 * np.arange(HORIZON)[:, None]
    np.testing.assert_allclose(chunk.actions, expected, atol=1e-6)
    assert (chunk.stamp, chunk.step) == (7.5, 0.05)
    assert set(chunk.timings) == {'preprocess', 'inference'}


def test_a_dead_server_is_told_in_time_and_it_recovers_when_it_returns(pair):
    server, policy = pair
    server.stop()
    for _ in range(2):
        assert server.address in fails(policy, TIMEOUT + SLACK)
    server.start()
    deadline = time.monotonic() + 10.0
    while True:  # a channel may take a moment to find out
        try:
            policy.infer(observed())
            break
        except PolicyError:
            assert time.monotonic() < deadline
    server.seen.clear()
    policy.infer(observed())
    assert len(server.seen) == 1


def test_a_server_that_comes_back_within_the_deadline_is_found(pair):
    server, policy = pair
    server.stop()
    policy._options = type(policy._options)(**{**vars(policy._options), 'timeout': 5.0,
                                               'start_timeout': 10.0})  # fmt: skip
    threading.Timer(0.3, server.start).start()
    policy.infer(observed())


def test_a_deaf_server_is_told_in_time_and_its_late_answer_is_not_taken(pair):
    server, policy = pair
    server.mood = 'deaf'
    reason = fails(policy, TIMEOUT + SLACK)
    assert 'no answer within 0.4 s' in reason and server.address in reason
    server.mood = 'well'  # now the late answer goes out
    server.actions, honest = (lambda obs: ramp(np.full(8, 9.0))), server.actions
    time.sleep(0.1)
    server.actions = honest
    for stamp in (8.0, 9.0):
        for _ in range(5):
            try:
                chunk = policy.infer(observed(stamp=stamp))
                break
            except PolicyError:
                continue
        np.testing.assert_allclose(chunk.actions[0, :-1], ROBOT.home, atol=1e-6)


def test_a_garbling_server_is_told_and_it_recovers(pair):
    server, policy = pair
    server.mood = 'garbled'
    for _ in range(2):
        assert f'policy server {server.address} sent' in fails(policy, TIMEOUT + SLACK)
    server.mood = 'well'
    policy.infer(observed())


def test_a_failing_server_is_quoted(pair):
    server, policy = pair
    server.mood = 'failing'
    reason = fails(policy, TIMEOUT + SLACK)
    if isinstance(server, Lerobot):  # which says nothing
        assert 'without actions; its log says why' in reason
    else:
        assert 'CUDA out of memory' in reason and 'Traceback' not in reason
    server.mood = 'well'
    policy.infer(observed())


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda a: a[:, :3], 'shape'),
        (lambda a: a[: HORIZON - 1], 'shape'),
        (lambda a: np.full_like(a, np.nan), 'not finite'),
    ],
)
def test_answers_that_are_no_chunk_are_told(pair, change, reason):
    server, policy = pair
    honest = server.actions

    def changed(value):
        if isinstance(value, list):
            return [changed(value[0]), {}]
        if isinstance(value, dict):
            return {k: change(v.reshape(HORIZON + 2, -1)) for k, v in value.items()}
        return change(value)

    server.actions = lambda obs: changed(honest(obs))
    assert reason in fails(policy, TIMEOUT + SLACK)
    server.actions = honest
    policy.infer(observed())


def test_an_interrupt_ends_a_long_wait_at_once(pair):
    server, policy = pair
    policy._options = type(policy._options)(**{**vars(policy._options), 'timeout': 60.0,
                                               'start_timeout': 60.0})  # fmt: skip
    server.mood = 'deaf'
    threading.Timer(0.2, policy.interrupt).start()
    assert 'interrupted' in fails(policy, SLACK + 0.2)
    server.mood = 'well'
    policy.infer(observed())


def test_the_first_answer_may_take_longer(pair):
    server, policy = pair
    slow = create(policy.spec, ROBOT)
    server.mood = 'deaf'
    threading.Timer(2.0 * TIMEOUT, lambda: setattr(server, 'mood', 'well')).start()
    slow.infer(observed())


def test_an_observation_without_a_picture_is_no_request(pair):
    server, policy = pair
    obs = observed()
    with pytest.raises(PolicyError, match="no picture of camera 'wrist'"):
        policy.infer(Observation(obs.stamp, {'scene': obs.frames['scene']}, obs.joints, ''))
    assert server.seen == []


@pytest.mark.parametrize(
    ('limit', 'interrupted', 'reason'),
    [(TIMEOUT, False, 'no answer within'), (60.0, True, 'interrupted')],
)
def test_a_server_that_reads_nothing_more_is_told_in_time(limit, interrupted, reason):
    """Its socket fills up, and who sends would wait for ever."""
    ready = threading.Event()

    def shake_hands() -> None:
        line, _ = server.accept()
        head = line.recv(65536).decode()
        key = re.search('Sec-WebSocket-Key: (.*)\r', head)[1]
        digest = hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()
        line.sendall(
            b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: ' + base64.b64encode(digest) + b'\r\n\r\n\x82\x01\x80'
        )
        ready.wait(30.0)
        line.close()

    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(('127.0.0.1', 0))
        server.listen()
        thread = threading.Thread(target=shake_hands)
        thread.start()
        options = {'url': f'ws://127.0.0.1:{server.getsockname()[1]}', 'layout': 'droid'}
        options |= {'resize': 'none', 'start_timeout': limit}
        policy = create(spec_of('remote_openpi', options), ROBOT)
        big = {name: Frame(1.0, np.zeros((1500, 1500, 3), np.uint8)) for name in PICTURES}
        if interrupted:
            threading.Timer(TIMEOUT, policy.interrupt).start()
        begin = time.monotonic()
        with pytest.raises(PolicyError, match=reason):
            policy.infer(Observation(1.0, big, observed().joints, ''))
        assert time.monotonic() - begin < TIMEOUT + SLACK
        ready.set()
        thread.join(10.0)


def test_openpi_gets_the_keys_of_its_layouts():
    server, spec = openpi()
    with server:
        create(spec, ROBOT).infer(observed('lift it'))
    (obs,) = server.seen
    assert obs['prompt'] == 'lift it'
    np.testing.assert_array_equal(obs['observation/exterior_image_1_left'], PICTURES['scene'])
    np.testing.assert_array_equal(obs['observation/wrist_image_left'], PICTURES['wrist'])
    np.testing.assert_allclose(obs['observation/joint_position'], ROBOT.home)
    np.testing.assert_allclose(obs['observation/gripper_position'], [0.75])
    assert len(obs) == 5


def test_aloha_pictures_are_in_a_dictionary_channels_first():
    server = Openpi(lambda obs: ramp(obs['state']))
    options = {'url': server.address, 'layout': 'aloha', 'resize': 'none'}
    with server:
        create(spec_of('remote_openpi', options), ROBOT).infer(observed())
    (obs,) = server.seen
    assert set(obs) == {'images', 'state', 'prompt'} and obs['state'].shape == (8,)
    seen = obs['images']['cam_left_wrist']
    np.testing.assert_array_equal(seen, np.moveaxis(PICTURES['wrist'], 2, 0))


def test_padded_pictures_are_those_of_openpis_own_client():
    """Its image_tools in words: Pillow's bilinear to the size that fits, black bars, centred."""
    server, spec = openpi(resize='pad')
    with server:
        create(spec, ROBOT).infer(observed())
    seen = server.seen[0]['observation/wrist_image_left']
    inner = Image.fromarray(PICTURES['wrist']).resize((224, 168), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(seen[28:196], np.asarray(inner))
    assert seen.shape == (224, 224, 3) and not seen[:28].any() and not seen[196:].any()


def test_a_client_needs_no_torch():
    """The arm's Python may lack it: the server has it."""
    program = (
        'import sys; sys.modules["torch"] = None\n'
        'from vla_ros.policies import remote_gr00t, remote_lerobot, remote_openpi'
    )
    subprocess.run([sys.executable, '-c', program], check=True, timeout=60)


def test_slots_of_the_policy_file_come_before_those_of_the_layout():
    images = [
        {'camera': 'scene', 'size': 64, 'slot': 'a'}, {'camera': 'wrist', 'size': 64, 'slot': 'b'}
    ]  # fmt: skip
    server = Openpi(lambda obs: ramp(obs['s']))
    state = {'s': ['gripper', 'joint_position']}
    options = {'url': server.address, 'state': state, 'prompt': 'say', 'resize': 'none'}
    with server:
        create(spec_of('remote_openpi', options, images=images), ROBOT).infer(observed())
    (obs,) = server.seen
    assert set(obs) == {'a', 'b', 's', 'say'}
    np.testing.assert_allclose(obs['s'], [0.75, *ROBOT.home])


@pytest.mark.parametrize('version', ['n1.5', 'n1.7'])
def test_gr00t_gets_the_shapes_and_types_of_its_version(version):
    server, spec = gr00t(version)
    with server:
        policy = create(spec, ROBOT)
        policy.reset('', seed=0)
        policy.infer(observed('lift it'))
        policy.reset('', seed=0)
        policy.infer(observed('lift it'))
    obs = server.seen[-1]
    language = 'annotation.human.action.task_description'
    if version == 'n1.5':
        assert set(obs) == {'video.scene', 'video.wrist', 'state.arm', 'state.hand', language}
        assert obs['video.scene'].shape == (1, 480, 640, 3) and obs['state.arm'].shape == (1, 7)
        assert obs[language] == ['lift it'] and server.sessions == 0
    else:
        assert obs['video']['wrist'].shape == (1, 1, 480, 640, 3)
        assert obs['video']['wrist'].dtype == np.uint8
        assert obs['state']['hand'].shape == (1, 1, 1) and obs['state']['arm'].dtype == np.float32
        assert obs['language'] == {language: [['lift it']]} and server.sessions == 2


def test_the_wrong_version_of_gr00t_is_told():
    server, _ = gr00t('n1.5')
    known = {'address': server.address, 'version': 'n1.6', 'state': KINDS, 'actions': KINDS}
    with server:
        reason = fails(create(spec_of('remote_gr00t', known), ROBOT), 5.0)
    assert 'Unknown endpoint' in reason


def test_lerobot_gets_its_instructions_once_and_after_a_restart():
    server, spec = lerobot(device='cuda')
    with server:
        policy = create(spec, ROBOT)
        for _ in range(2):
            policy.reset('lift it', seed=0)
            policy.infer(observed('lift it'))
        (asked,) = server.asked
        assert (asked.policy_type, asked.pretrained_name_or_path) == ('smolvla', 'me/policy')
        assert (asked.actions_per_chunk, asked.device, asked.rename_map) == (HORIZON, 'cuda', {})
        image = asked.lerobot_features['observation.images.wrist']
        assert image == {'dtype': 'image', 'shape': (480, 640, 3),
                         'names': ['height', 'width', 'channels']}  # fmt: skip
        seen = server.seen[-1]
        np.testing.assert_array_equal(seen['observation.images.wrist'], PICTURES['wrist'])
        np.testing.assert_allclose(seen['observation.state'], [*ROBOT.home, 0.75], rtol=1e-6)
        assert seen['task'] == 'lift it'
        server.stop()
        fails(policy, TIMEOUT + SLACK)
        server.start()
        policy._options = type(policy._options)(**{**vars(policy._options), 'timeout': 5.0,
                                                   'start_timeout': 10.0})  # fmt: skip
        policy.infer(observed())
        assert len(server.asked) == 2


def test_lerobot_may_load_for_longer_than_an_answer_takes():
    server, spec = lerobot()
    server.loading = 2.0 * TIMEOUT
    with server:
        create(spec, ROBOT).infer(observed())


@pytest.mark.parametrize(
    ('adapter', 'options', 'changes', 'match'),
    [
        ('remote_openpi', {'url': 'ws://h', 'layout': 'driod'}, {}, "Did you mean 'droid'"),
        ('remote_openpi', {'url': 'ws://h', 'tiemout': 1.0}, {}, "Did you mean 'timeout'"),
        ('remote_openpi', {'layout': 'droid'}, {}, 'missing url'),
        ('remote_openpi', {'url': 'ws://h'}, {}, 'name each slice once'),
        ('remote_openpi', {'url': 'ws://h', 'layout': 'libero'}, {}, 'name each slice once'),
        ('remote_openpi', {'url': 'ws://h', 'layout': 'droid', 'timeout': 0.0}, {}, 'timeout'),
        ('remote_openpi', {'url': 'ws://h', 'layout': 'droid', 'resize': 'crop'}, {}, 'resize'),
        ('remote_gr00t', {'address': 'tcp://h:1', 'version': 'n2', 'state': KINDS,
                          'actions': KINDS}, {}, "version 'n2'"),
        ('remote_gr00t', {'address': 'tcp://h:1', 'version': 'n1.5', 'state': KINDS,
                          'actions': {'arm': ['joint_position']}}, {}, 'name each slice once'),
        ('remote_lerobot', {'address': 'h:1', **LEROBOT}, {'state': []}, 'wants a state'),
    ],
)  # fmt: skip
def test_a_policy_file_that_cannot_be_right_is_refused_before_anything_is_connected(
    adapter, options, changes, match
):
    with pytest.raises(VlaError, match=match):
        create(spec_of(adapter, options, **changes), ROBOT)


@pytest.mark.parametrize('name', ['remote_openpi', 'remote_gr00t', 'remote_lerobot'])
def test_the_example_files_ask_their_servers(name):
    def numbers(obs) -> np.ndarray:
        return np.zeros((spec.horizon, 8), np.float32)

    def parts(obs) -> list:
        sizes = {'arm': 7, 'gripper': 1}
        return [{k: np.zeros((1, spec.horizon, n), np.float32) for k, n in sizes.items()}, {}]

    spec = config.load(paths.find('policies', name), PolicySpec)
    server = {
        'remote_openpi': lambda: Openpi(numbers),
        'remote_gr00t': lambda: Gr00t(parts, 'n1.6'),
        'remote_lerobot': lambda: Lerobot(numbers),
    }[name]()
    where = 'url' if name == 'remote_openpi' else 'address'
    with server:
        spec = replace(spec, options={**spec.options, where: server.address})
        policy = create(spec, ROBOT)
        policy.reset('lift it', seed=0)
        assert not policy.infer(observed()).actions.any()
    (seen,) = server.seen
    if name == 'remote_openpi':
        np.testing.assert_allclose(seen['observation/gripper_position'], [0.25])


def test_columns_follow_the_keys():
    slices = [StateSlice('gripper', 'open_fraction'), StateSlice('joint_position', 'rad'),
              StateSlice('gripper', 'range', closed=0.0, open=-0.04)]  # fmt: skip
    robot = ROBOT.with_arm(joints=ROBOT.joints[:3], home=ROBOT.home[:3])
    found = columns({'a': ['joint_position'], 'b': ['gripper', 'gripper']}, slices, robot, 'here')
    assert {key: list(value) for key, value in found.items()} == {'a': [1, 2, 3], 'b': [0, 4]}
    with pytest.raises(ConfigError, match='here'):
        columns({'a': ['joint_position']}, slices, robot, 'here')


def test_an_unknown_adapter_name_is_close_to_a_remote_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'remote_openpi'"):
        create(spec_of('remote_openpy', {}), ROBOT)
