"""The generated interfaces travel between two processes over real DDS."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

rclpy = pytest.importorskip('rclpy')

DOMAIN = 91  # of this test alone
LIMIT = 30.0  # bound of every wait [s]


@pytest.fixture
def node(monkeypatch):
    """Yield a node in this process, with the peer running in another."""
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    script = Path(__file__).with_name('interface_peer.py')
    peer = subprocess.Popen([sys.executable, str(script)], env=dict(os.environ))
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    made = rclpy.create_node('interface_test', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(made)
    made.spin_until = lambda done: spin_until(executor, done)
    try:
        yield made
    finally:
        executor.shutdown()
        made.destroy_node()
        rclpy.shutdown(context=context)
        peer.send_signal(signal.SIGINT)
        try:
            peer.wait(timeout=LIMIT)
        except subprocess.TimeoutExpired:  # a signal in the midst of rclpy's start may be lost
            peer.kill()
            peer.wait()


def spin_until(executor, done) -> None:
    """Spin until `done()` or fail at the limit."""
    deadline = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < deadline, 'nothing came back from the other process'
        executor.spin_once(timeout_sec=0.05)


def test_message_returns_unchanged(node):
    """Every kind of field survives the way to another process and back."""
    from vla_ros_msgs.msg import ChunkInfo

    sent = ChunkInfo(
        instruction='reach the red cube',
        input_names=['scene', 'wrist'],
        input_ages=[0.01, 0.02],
        seed=2**63 + 1,
        delay_steps=3,
        step_s=0.05,
        horizon=16,
    )
    received = []
    publisher = node.create_publisher(ChunkInfo, 'chunk', 1)
    node.create_subscription(ChunkInfo, 'chunk_back', received.append, 1)

    def exchanged():
        publisher.publish(sent)
        return received

    node.spin_until(exchanged)
    assert received[0] == sent


def test_action_goal_completes_with_feedback(node):
    """A goal is accepted, feeds back in order and ends with its result."""
    from rclpy.action import ActionClient
    from vla_ros_msgs.action import RunInstruction

    client = ActionClient(node, RunInstruction, 'run')
    node.spin_until(client.server_is_ready)
    feedback = []
    sending = client.send_goal_async(
        RunInstruction.Goal(instruction='push the ball'),
        feedback_callback=lambda message: feedback.append(message.feedback.chunks),
    )
    node.spin_until(sending.done)
    assert sending.result().accepted
    # Before the result is asked for: it travels separately and ends what listens to feedback.
    node.spin_until(lambda: len(feedback) >= 3)
    assert feedback == [1, 2, 3]
    result = sending.result().get_result_async()
    node.spin_until(result.done)
    assert result.result().result.code == RunInstruction.Result.SUCCEEDED
    assert result.result().result.message == 'push the ball'
    client.destroy()
