"""The control: the same filter without its verified stop, which must fail."""

from __future__ import annotations

from vla_ros.robot import RobotSpec
from vla_ros.safety import SafetyConfig, SafetyFilter


def without_stop(robot: RobotSpec, config: SafetyConfig) -> SafetyFilter:
    """Return a filter that applies the program's answer without a verified stop."""
    safety = SafetyFilter(robot, config)
    safety.scene.tune(safety.scene.knobs._replace(verified=False))
    return safety
