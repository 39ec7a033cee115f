"""The safety filter: limits, distances, a program, a verified stop, a fault table. No ROS."""

from vla_ros.obstacle import Obstacle
from vla_ros.safety.config import Fault, load_safety, SafetyConfig
from vla_ros.safety.filter import SafetyFilter
from vla_ros.safety.result import Level, SafetyResult
from vla_ros.safety.watchdog import Watchdog
from vla_ros.safety.world import World

__all__ = [
    'Fault',
    'Level',
    'Obstacle',
    'SafetyConfig',
    'SafetyFilter',
    'SafetyResult',
    'Watchdog',
    'World',
    'load_safety',
]  # fmt: skip
