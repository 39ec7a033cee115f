"""QoS profiles and message types, by the words of graph.py."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

from vla_ros.errors import MissingPackageError
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


@cache
def interface(name: str) -> Any:
    """Return the class of an interface such as 'std_msgs/msg/String'.

    Raises:
        MissingPackageError: Its package is not installed.
    """
    package, kind, cls = name.split('/')
    try:
        module = import_module(f'{package}.{kind}')
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        cure = f'install ros-$ROS_DISTRO-{package.replace("_", "-")}, or source its workspace'
        raise MissingPackageError(package, f'for {name}', cure) from error
    return getattr(module, cls)
