"""QoS profiles and message types, by the words of graph.py."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vla_ros.graph import Qos


def profile(qos: Qos) -> QoSProfile:
    """Return the rclpy profile of a QoS."""
    reliable, latched = qos.reliable, qos.transient_local
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=qos.depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def interface(name: str) -> Any:
    """Return the class of an interface such as 'std_msgs/msg/String'."""
    package, kind, cls = name.split('/')
    return getattr(import_module(f'{package}.{kind}'), cls)
