"""Predicted points beside what the arm did at the same times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vla_ros.evaluation.replay.open_loop import Prediction
from vla_ros.evaluation.replay.track import Track
from vla_ros.types import Array


@dataclass(frozen=True)
class Pairs:
    """Every predicted point beside what was executed then; NaN past the recording's end."""

    predicted: Array  # (P, T, n) [rad] or [m]
    executed: Array  # (P, T, n)
    origin: Array  # (P, n) joints that the policy saw
    dof: int  # of the n columns the first are arm joints, the rest grippers

    @property
    def error(self) -> Array:
        """Predicted less executed (P, T, n)."""
        return self.predicted - self.executed


def pairs(track: Track, predictions: Sequence[Prediction]) -> Pairs:
    """Return the points of all usable predictions, as many as the longest has."""
    good = [(p.observation, p.trajectory) for p in predictions if p.trajectory is not None]
    n = len(track.robot.joint_names)
    longest = max((len(t.times) for _, t in good), default=0)
    predicted = np.full((len(good), longest, n), np.nan)
    times = np.full((len(good), longest), np.nan)
    for row, (_, trajectory) in enumerate(good):
        predicted[row, : len(trajectory.times)] = trajectory.positions
        times[row, : len(trajectory.times)] = trajectory.stamp + trajectory.times
    origin = np.array([obs.joints.position for obs, _ in good]).reshape(-1, n)
    return Pairs(predicted, track.joints.at(times), origin, track.robot.dof)
