"""The base of the nodes: when it takes priority for its messages, and when it gives it back."""

from __future__ import annotations

import random

import pytest

pytest.importorskip('rclpy')

import rclpy
from rclpy.context import Context

from vla_ros.cli.session import free_domain
from vla_ros.errors import NodeError
from vla_ros.ros import node as module
from vla_ros.ros.node import Node


class Chatty(Node):
    hastened = True
    broken = False

    def activate(self):
        if self.broken:
            raise NodeError('it has no voice')


@pytest.fixture
def taken(monkeypatch):
    """Return what was done about priority, in order."""
    monkeypatch.setenv('ROS_DOMAIN_ID', str(free_domain(random.Random())))
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    done: list[str] = []
    monkeypatch.setattr(module, 'hasten', lambda: done.append('hasten'))
    monkeypatch.setattr(module, 'relax', lambda: done.append('relax'))
    return done


@pytest.fixture
def node(taken):
    context = Context()
    rclpy.init(context=context)
    one = Chatty('chatty', context=context)
    yield one
    one.destroy_node()
    context.shutdown()


def test_messages_go_first_while_the_node_is_active(node, taken):
    node.trigger_configure()
    assert taken == []
    node.trigger_activate()
    assert taken == ['hasten']
    node.trigger_deactivate()
    assert taken == ['hasten', 'relax']
    node.trigger_activate()
    node.trigger_shutdown()
    assert taken == ['hasten', 'relax'] * 2


def test_a_node_that_did_not_activate_takes_nothing(node, taken):
    node.broken = True
    node.trigger_configure()
    node.trigger_activate()
    assert taken == []


def test_a_node_that_does_not_ask_for_it_takes_nothing(node, taken):
    node.hastened = False
    node.start()
    node.trigger_shutdown()
    assert taken == []


def test_the_nodes_of_the_chain_ask_for_it_and_those_that_give_way_do_not():
    from vla_ros.nodes.bag_recorder import BagRecorder
    from vla_ros.nodes.forwarder_node import ForwarderNode
    from vla_ros.nodes.markers_node import MarkersNode
    from vla_ros.nodes.policy_node import PolicyNode
    from vla_ros.nodes.safety_filter_node import SafetyFilterNode
    from vla_ros.nodes.sim_node import SimNode

    chain = (SafetyFilterNode, ForwarderNode, PolicyNode, SimNode)
    assert all(kind.hastened for kind in chain)
    assert not BagRecorder.hastened and not MarkersNode.hastened
