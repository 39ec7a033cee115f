"""Images larger than Fast DDS's own shared-memory segment reach another process, every one."""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
import time

import pytest

rclpy = pytest.importorskip('rclpy')

from sensor_msgs.msg import Image  # noqa: E402

from vla_ros.bootstrap import prepare_ros  # noqa: E402

DOMAIN = 92  # of this test alone
FRAMES = 60  # two seconds at 30 Hz; without the profile at most a few of them arrive
LIMIT = 20.0  # bound of every wait [s]


def test_every_large_image_arrives(monkeypatch):
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(DOMAIN))
    prepare_ros()
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    node = rclpy.create_node('transport_test', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    quality = rclpy.qos.QoSProfile(
        depth=10, reliability=rclpy.qos.ReliabilityPolicy.BEST_EFFORT
    )  # deeper than the nodes', so that a busy machine is not taken for a lossy transport
    numbers, ages = [], []

    def receive(message):
        numbers.append(int(message.header.frame_id))
        stamp = rclpy.time.Time.from_msg(message.header.stamp)
        ages.append((node.get_clock().now() - stamp).nanoseconds * 1e-9)

    node.create_subscription(Image, 'image', receive, quality)
    script = Path(__file__).with_name('image_peer.py')
    peer = subprocess.Popen([sys.executable, str(script), str(FRAMES)], env=dict(os.environ))
    try:
        deadline = time.monotonic() + LIMIT
        while len(numbers) < FRAMES and peer.poll() is None and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
        try:
            assert peer.wait(timeout=LIMIT) == 0
        finally:
            peer.kill()
    assert numbers == list(range(FRAMES))
    print(f'median latency {1e3 * sorted(ages)[FRAMES // 2]:.1f} ms')
