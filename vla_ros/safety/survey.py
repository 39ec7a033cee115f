"""Clearances of an arm at many places at once, compiled: which pairs can meet at all."""

from __future__ import annotations

import numpy as np

from vla_ros.safety.chain import forward, Pose
from vla_ros.safety.compiled import compiled
from vla_ros.safety.distance import clearance, row_count
from vla_ros.safety.model import CollisionModel
from vla_ros.safety.world import solids
from vla_ros.types import Array


@compiled
def fill(arm, bodies, places, pose, n, point, out):
    """Fill the clearance of every row at every place (N, n) [rad] into (N, K) [m]."""
    for i in range(len(places)):
        forward(arm, places[i], pose)
        for row in range(row_count(arm, bodies)):
            out[i, row] = clearance(arm, bodies, pose, row, n, point)[0]


def survey(model: CollisionModel, places: Array) -> Array:
    """Return the clearance of every pair and floor row of a robot at joints (N, n), (N, K) [m]."""
    arm, bodies = model.arm, solids(())
    count, capsules = len(arm.axis), len(arm.capsule_joint)
    pose = Pose(
        np.zeros((count, 3, 3)),
        np.zeros((count, 3)),
        np.zeros((count, 3)),
        np.zeros((capsules, 2, 3)),
    )
    out = np.zeros((len(places), len(model.names)))
    fill(arm, bodies, np.ascontiguousarray(places), pose, np.zeros(3), np.zeros(3), out)
    return out
