"""A description that was published before anybody listened."""

from __future__ import annotations

import random

import pytest

pytest.importorskip('rclpy')

import rclpy
from rclpy.context import Context
from std_msgs.msg import String

from vla_ros.cli.session import free_domain
from vla_ros.errors import NodeError
from vla_ros.graph import LATCHED
from vla_ros.nodes.latched import read_text
from vla_ros.ros.qos import profile


@pytest.fixture(autouse=True)
def domain(monkeypatch):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')


def test_a_late_listener_gets_the_whole_description():
    text = f'<robot name="r">{"<link/>" * 20_000}</robot>'
    context = Context()
    rclpy.init(context=context)
    node = rclpy.create_node('robot_state_publisher', context=context)
    try:
        node.create_publisher(String, 'here/robot_description', profile(LATCHED)).publish(
            String(data=text)
        )
        assert read_text('here/robot_description', 20.0) == text
    finally:
        node.destroy_node()
        context.shutdown()


def test_silence_says_what_to_look_at():
    with pytest.raises(NodeError, match="topic 'nothing' brought no text in 0.5 s.*ROS_DOMAIN_ID"):
        read_text('nothing', 0.5)
