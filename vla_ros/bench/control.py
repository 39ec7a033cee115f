"""The control: the same filter without its verified stop, which must fail."""

from __future__ import annotations

from vla_ros.robot import RobotSpec
from vla_ros.safety import SafetyConfig, SafetyFilter
from vla_ros.safety.selection import Motion, Selector, Verdict, Walk
from vla_ros.safety.stop import Brake
from vla_ros.types import Array


class Careless(Selector):
    """Says yes to every step."""

    def verify(self, motion: Motion, walk: Walk, velocity: Array, rate: float) -> Verdict:
        """Look at nothing."""
        return Verdict(Brake(rate=rate), -1, 0)


def without_stop(robot: RobotSpec, config: SafetyConfig) -> SafetyFilter:
    """Return a filter that applies the program's answer without a verified stop."""
    safety = SafetyFilter(robot, config)
    safety.selector = Careless(robot, config, safety.scene)
    return safety
