"""A policy without weights that holds the first pose it sees: smoke test and test double."""

from __future__ import annotations

import numpy as np

from vla_ros.policies.double import Double
from vla_ros.robot import RobotSpec
from vla_ros.spec import NoOptions, PolicySpec
from vla_ros.types import Array, Observation


class HoldPolicy(Double):
    """Answers each observation with the pose of the first one after `reset`.

    Holding the newest measurement instead would let the arm creep by its tracking error.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Take any action space; there are no options."""
        super().__init__(spec, robot)
        spec.read_options(NoOptions)

    def chunk(self, obs: Observation, first: Observation) -> Array:
        """Return the held pose, `horizon` times."""
        held = self.codec.action(first.joints.position)
        return self.codec.relative(np.tile(held, (self.spec.horizon, 1)), obs.joints)
