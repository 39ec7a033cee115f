"""Bags of other stacks: what is missing is made up for, what is wrong is told."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy')

from rclpy.serialization import serialize_message

from vla_ros import graph, paths
from vla_ros.bags.writer import BagWriter
from vla_ros.errors import BagError, ReplayError
from vla_ros.evaluation.replay.episode import load_track
from vla_ros.evaluation.replay.open_loop import answer
from vla_ros.robot import load_robot
from vla_ros.ros import convert
from vla_ros.types import Frame, JointState

ROBOT = load_robot(paths.find('robots', 'panda'))
AHEAD = 5000.0  # [s] of the log's clock before that of the stamps
IMAGE = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)


def way(t):
    return np.sin(t + np.arange(8))


def write(folder, spoil=lambda k, msg: msg):
    """Joint states without velocities and one compressed camera, in a namespace."""
    names = ROBOT.joint_names
    camera = f'/left/{ROBOT.cameras[0].topic}/compressed'
    with BagWriter(folder, {}) as writer:
        for k in range(200):
            stamp = 10.0 + 0.01 * k
            msg = convert.joint_state_to_msg(JointState(stamp, way(stamp), np.zeros(8)), names)
            del msg.velocity[:]
            time = round((stamp + AHEAD + 0.002) * 1e9)
            data = serialize_message(spoil(k, msg))
            writer.write('/left/joint_states', graph.JOINT_STATES.type, graph.SENSOR, time, data)
            if k % 10 == 0:
                picture = convert.frame_to_msg(Frame(stamp, IMAGE), 'c', 'compressed')
                data = serialize_message(picture)
                writer.write(camera, 'sensor_msgs/msg/CompressedImage', graph.CAMERA, time, data)


def test_a_foreign_bag_becomes_a_track(tmp_path):
    write(tmp_path / 'bag')
    track = load_track(tmp_path / 'bag', ROBOT, 'lift it')
    stamps = track.joints.stamps
    assert np.allclose(track.joints.positions, way(stamps[:, None]), atol=1e-9)
    inner = slice(1, -1)  # second order inside: h^2 / 6
    true = np.cos(stamps[:, None] + np.arange(8))
    assert np.abs(track.joints.velocities - true)[inner].max() < 2e-5
    assert track.instruction(track.start + 1.0) == 'lift it'
    assert np.abs(track.joints.arrived - stamps).max() < 0.01
    assert any('shifted' in note for note in track.notes)
    pictures = list(track.pictures([ROBOT.cameras[0].name]))
    assert len(pictures) == 20
    assert all(abs(p.arrived - p.stamp) < 0.01 for p in pictures)
    assert track.read(pictures[0].message).image.shape == IMAGE.shape


def test_messages_that_cannot_be_used_are_counted_and_passed_over(tmp_path):
    def spoil(k, msg):
        if k == 50:
            msg.position[3] = float('nan')
        if k == 51:
            msg.name = ['other'] * 8
        if k == 52:
            msg.header.stamp.sec = 3  # the clock jumped back for one message
        return msg

    write(tmp_path / 'bag', spoil)
    track = load_track(tmp_path / 'bag', ROBOT, 'lift it')
    assert len(track.joints.stamps) == 197
    assert any(note.startswith('2 messages') for note in track.notes)


def test_what_a_replay_lacks_is_told(tmp_path, kit):
    write(tmp_path / 'bag')
    track = load_track(tmp_path / 'bag', ROBOT, 'lift it')
    with pytest.raises(ReplayError, match='wrist'):
        answer(track, kit.loaded, None)
    with pytest.raises(ReplayError, match='--instruction'):
        answer(load_track(tmp_path / 'bag', ROBOT), kit.loaded, None)
    with pytest.raises(BagError, match='does not exist'):
        load_track(tmp_path / 'none', ROBOT)

    def rename(k, msg):
        msg.name = [f'other{j}' for j in range(8)]
        return msg

    write(tmp_path / 'other', rename)
    with pytest.raises(ReplayError, match='panda_joint1'):
        load_track(tmp_path / 'other', ROBOT)
