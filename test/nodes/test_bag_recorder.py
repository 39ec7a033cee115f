"""The recorder beside a running simulator, over real topics."""

from __future__ import annotations

import json
import os
from pathlib import Path
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rosbags.highlevel import AnyReader

from vla_ros import graph, paths, supervisor
from vla_ros.bags.reader import open_bag
from vla_ros.cli.session import free_domain
from vla_ros.messages import frame_from_msg, joint_state_from_msg, text_from_msg
from vla_ros.nodes.bag_recorder import Twice
from vla_ros.nodes.client import Client
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.ros.qos import interface, profile
from vla_ros.types import Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
LIMIT = 90.0  # bound of every wait [s]
FULL = 40 << 20  # [byte] after which the disk of one recorder takes no more
PICTURES = [graph.camera_topics(ROBOT, camera.name)[0].name for camera in ROBOT.cameras]
pytestmark = pytest.mark.timeout(400)  # seconds on an idle machine


@pytest.fixture(scope='module')
def domain():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
        patch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
        yield


@pytest.fixture(scope='module')
def running(domain, tmp_path_factory):
    """A simulator, a recorder of each kind of images, and an operator; then both bags."""
    folder = tmp_path_factory.mktemp('bags')
    lines: list[str] = []
    arguments = {'robot': 'panda', 'seed': 1, 'record': True, 'bag': str(folder / 'raw')}
    parts = supervisor.commands(ROBOT, arguments, without=('safety_filter', 'policy', 'markers'))
    vla = [sys.executable, '-c', 'from vla_ros.cli.main import main; main()']
    jpeg = [
        *vla, 'record', '--out', str(folder / 'jpeg'), '--images', 'jpeg',
        '--json', str(folder / 'jpeg.json'),
    ]  # fmt: skip
    full = [
        'bash', '-c', f'ulimit -f {FULL // 1024}; exec "$@"', 'full',
        *vla, 'record', '--out', str(folder / 'full'),
    ]  # fmt: skip
    sent = []  # instructions and stamps of trajectories, in order
    with supervisor.Supervisor(parts, lambda name, line: lines.append(f'[{name}] {line}')):
        second, third = (
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for command in (jpeg, full)
        )
        try:
            with Client('operator') as client:
                heard = []
                client.listen(graph.DIAGNOSTICS, heard.append)
                client.until(lambda: client.reports('task'), LIMIT, f'the simulator: {lines}')
                client.until(
                    lambda: busy(heard) >= {'raw', 'jpeg'}, LIMIT, f'both recorders: {lines}'
                )
                client.until(lambda: third.poll() is not None, LIMIT, 'the full disk to end one')
                words = client.node.create_publisher(
                    interface(graph.INSTRUCTION.type), graph.INSTRUCTION.name,
                    profile(graph.INSTRUCTION.qos),
                )  # fmt: skip
                plans = client.node.create_publisher(
                    interface(graph.OVERRIDE.type), graph.OVERRIDE.name,
                    profile(graph.OVERRIDE.qos),
                )  # fmt: skip
                client.until(
                    lambda: words.get_subscription_count() >= 4
                    and plans.get_subscription_count() >= 2,
                    LIMIT, 'the recorders to listen',
                )  # fmt: skip
                for k in range(5):
                    words.publish(convert.text_to_msg(f'sentence {k}'))
                    stamp = 1000.0 + k
                    plan = Trajectory(
                        stamp, np.array([0.1]), np.full((1, len(ROBOT.joint_names)), k)
                    )
                    plans.publish(convert.trajectory_to_msg(plan, ROBOT.joint_names))
                    sent.append((f'sentence {k}', stamp))
                    time.sleep(0.3)
                time.sleep(1.0)
        finally:
            second.send_signal(signal.SIGINT)
            try:
                output, _ = second.communicate(timeout=LIMIT)
                told, _ = third.communicate(timeout=LIMIT)  # it ended by itself
            finally:
                second.kill()
                third.kill()
    assert second.returncode == 0, output
    (folder / 'full.txt').write_text(f'{third.returncode}\n{told}')
    return folder, sent, lines, output


def busy(heard) -> set[str]:
    """Return the bags that hold some seconds by what their recorders say."""
    found = set()
    for report in (s for m in heard for s in m.status if s.name == 'recorder'):
        told = {pair.key: pair.value for pair in report.values}
        if int(told['messages']) > 800:
            found.add(Path(told['bag']).name)
    return found


@pytest.mark.parametrize('kind', ['raw', 'jpeg'])
def test_everything_that_was_sent_is_there_once(running, kind):
    folder, sent, lines, _ = running
    with open_bag(folder / kind) as bag:
        words = [text_from_msg(r.message) for r in bag.messages({'/vla/instruction'})]
        plans = [r.message.header.stamp.sec for r in bag.messages({'/vla/override'})]
        states = [
            joint_state_from_msg(r.message, ROBOT.joint_names).stamp
            for r in bag.messages({'/joint_states'})
        ]
        assert bag.notes == (), lines
        assert {'/clock', '/vla/task_state', '/diagnostics', '/joint_states'} <= bag.topics.keys()
    assert words == [sentence for sentence, _ in sent]
    assert plans == [int(stamp) for _, stamp in sent]
    steps = np.diff(states)
    assert len(states) > 50 and (steps > 0.0).all()
    # Best effort may lose some; most of them follow each other as the simulator sends them.
    assert np.median(steps) == pytest.approx(1.0 / graph.JOINT_STATE_RATE, rel=0.2)


def test_pictures_are_those_of_the_simulator_or_close_to_them(running):
    """JPEG of a picture that is in the other bag without loss."""
    folder, _, lines, output = running
    if 'too slow: dropped' in output + ''.join(lines):
        pytest.skip('the machine is too busy to record two cameras twice')
    for name in (f'/{topic}' for topic in PICTURES):
        with open_bag(folder / 'raw') as raw, open_bag(folder / 'jpeg') as jpeg:
            exact = {f.stamp: f.image for f in map(frame_of, raw.messages({name}))}
            close = {
                f.stamp: f.image for f in map(frame_of, jpeg.messages({name + '/compressed'}))
            }
            assert name not in jpeg.topics
        both = exact.keys() & close.keys()
        assert len(both) > 5, (sorted(exact), sorted(close))
        for stamp in both:
            difference = exact[stamp].astype(float) - close[stamp]
            assert exact[stamp].std() > 5.0, 'a picture of something'
            assert np.abs(difference).mean() < 6.0


def frame_of(recorded):
    return frame_from_msg(recorded.message)


def test_the_bag_explains_itself(running):
    folder, *_ = running
    with open_bag(folder / 'raw') as bag:
        assert bag.metadata['robot'] == paths.find('robots', 'panda').read_text()
        assert bag.metadata['policy'] == paths.find('policies', 'tiny_pi0').read_text()
        assert bag.metadata['safety'] == paths.find('safety', 'default').read_text()
        assert json.loads(bag.metadata['arguments'])['robot'] == 'panda'
        assert json.loads(bag.metadata['versions'])['numpy'] == np.__version__


def test_another_reader_decodes_every_message(running):
    folder, *_ = running
    for kind in ('raw', 'jpeg'):
        with AnyReader([folder / kind]) as reader:
            count = 0
            for connection, _, data in reader.messages():
                assert reader.deserialize(data, connection.msgtype) is not None
                count += 1
            assert count == reader.message_count > 100


def test_the_command_says_what_it_did(running):
    folder, _, _, output = running
    told = json.loads((folder / 'jpeg.json').read_text())
    assert told['ok'] and told['refused'] == {}
    assert told['dropped'].keys() <= {f'/{name}' for name in PICTURES}, 'pictures go first'
    with open_bag(folder / 'jpeg') as bag:
        assert told['messages'] == sum(topic.count for topic in bag.topics.values())
    assert told['bytes'] == sum(f.stat().st_size for f in (folder / 'jpeg').glob('*.mcap'))
    assert f'{sum(told["dropped"].values())} dropped' in output and 'jpeg' in output


def test_a_disk_that_takes_no_more_ends_the_recording_and_keeps_what_was_written(running):
    folder, *_ = running
    code, told = (folder / 'full.txt').read_text().split('\n', 1)
    assert code == '1', told
    assert 'kept free; the recording ends here' in told
    assert (folder / 'full' / 'full_0.mcap').stat().st_size <= FULL
    with open_bag(folder / 'full') as bag:
        states = [
            joint_state_from_msg(r.message, ROBOT.joint_names).stamp
            for r in bag.messages({'/joint_states'})
        ]
        pictures = [frame_of(r) for r in bag.messages({f'/{PICTURES[0]}'})]
    assert states and pictures and (np.diff(states) > 0.0).all()


def test_a_name_that_is_none_says_so(domain, tmp_path):
    command = [
        sys.executable, '-m', 'vla_ros.nodes.bag_recorder', '--ros-args', '-p', 'images:=webp',
        '-p', f'bag:={tmp_path / "bag"}',
    ]  # fmt: skip
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT, check=False, env=dict(os.environ)
    )
    assert answer.returncode == 1
    assert "unknown kind of images 'webp'" in answer.stdout + answer.stderr
    assert not Path(tmp_path / 'bag').exists()


def test_what_comes_by_two_ways_is_heard_once():
    """A latched publisher reaches both subscriptions, another one the second only."""
    twice = Twice()
    rng = random.Random(0)
    sent = [(rng.choice(['stop', 'go', '']).encode(), rng.random() < 0.5) for _ in range(200)]
    heard = []
    for data, latched in sent:
        ways = [True, False] if latched else [False]
        rng.shuffle(ways)
        heard += [data for way in ways if twice.first(way, data)]
    assert heard == [data for data, _ in sent]
