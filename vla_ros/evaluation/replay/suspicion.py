"""Signs of a damaged policy: scales, orders of joints, of axes and of cameras."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from vla_ros.errors import PolicyError
from vla_ros.evaluation.replay.open_loop import Answers, Prediction
from vla_ros.evaluation.replay.pairs import Pairs, pairs
from vla_ros.evaluation.replay.track import Track
from vla_ros.nodes.loading import Loaded
from vla_ros.policies.base import chunk_seed
from vla_ros.types import Array, Observation

MOVES = 0.01  # [rad] root mean square of a joint's executed displacements; less is at rest
TINY = 1e-9  # [rad] or [m]: less is no error
SEED = 0  # of the answers that are compared with cameras exchanged


def scales(both: Pairs, names: Sequence[str]) -> dict[str, Any]:
    """Return how large predicted motion is beside the executed: slopes through the origin.

    slope = sum(d_predicted d_executed) / sum(d_executed^2), d from the joints that were seen;
    `position_scale` is the same of positions, which tells absolute joints in another unit.
    """
    arm = slice(0, both.dof)
    known = ~np.isnan(both.error).any(axis=-1)
    moved = (both.executed - both.origin[:, None])[known][:, arm]
    wanted = (both.predicted - both.origin[:, None])[known][:, arm]
    places, asked = both.executed[known][:, arm], both.predicted[known][:, arm]
    if not len(moved):
        return {'joint_scale': None, 'position_scale': None, 'joint_scales': {}}
    strong = np.sqrt((moved**2).mean(axis=0)) > MOVES
    each = {
        name: float((w * m).sum() / (m**2).sum())
        for name, w, m, counts in zip(names, wanted.T, moved.T, strong)
        if counts
    }
    whole = (moved[:, strong] ** 2).sum()
    return {
        'joint_scale': float((wanted * moved)[:, strong].sum() / whole) if whole else None,
        'position_scale': float((asked * places).sum() / (places**2).sum()),
        'joint_scales': each,
    }


def joint_order(both: Pairs, names: Sequence[str]) -> dict[str, Any]:
    """Return by how much another assignment of the predicted joints would fit better.

    `joint_order` is the error of the joints as they are over that of the best assignment, 1 where
    they are in order; judged by positions and by displacements, the worse counts.
    """
    arm = slice(0, both.dof)
    known = ~np.isnan(both.error).any(axis=-1)
    found, swapped = 1.0, {}
    for origin in (np.zeros_like(both.origin), both.origin):
        asked = (both.predicted - origin[:, None])[known][:, arm]
        done = (both.executed - origin[:, None])[known][:, arm]
        if not len(asked):
            return {'joint_order': None, 'joint_swaps': {}}
        cost = np.abs(asked[:, :, None] - done[:, None, :]).mean(axis=0)  # (asked, done)
        ratio, columns = _assigned(cost, np.trace(cost))
        if ratio > found:
            found = ratio
            swapped = {names[i]: names[j] for i, j in enumerate(columns) if i != j}
    return {'joint_order': found, 'joint_swaps': swapped}


def tool_order(asked: Array, done: Array) -> float:
    """Return by how much other axes would fit the tool's displacements (K, 3) [m] better."""
    straight = np.abs(asked[:, :, None] - done[:, None, :]).mean(axis=0)
    mirrored = np.abs(asked[:, :, None] + done[:, None, :]).mean(axis=0)
    return _assigned(np.minimum(straight, mirrored), np.trace(straight))[0]


def _assigned(cost: Array, now: float) -> tuple[float, Array]:
    """Return the cost of now over that of the best assignment of rows to columns, and that."""
    rows, columns = linear_sum_assignment(cost)
    best = float(cost[rows, columns].sum())
    return (float(now) + TINY) / (best + TINY), columns


def camera_order(track: Track, loaded: Loaded, answers: Answers) -> dict[str, Any]:
    """Return whether the policy would do better if its cameras were exchanged.

    `camera_order` is the error with the cameras as they are over that with the best other order,
    below 1 where they are in order and near 1 where the policy does not look at them.
    """
    cameras = [image.camera for image in loaded.policy.spec.images]
    if len(cameras) < 2 or not answers.kept:
        return {'camera_order': None, 'camera_swaps': {}}
    orders = list(permutations(cameras))
    costs = [_cost(track, loaded, answers.kept, dict(zip(cameras, o))) for o in orders]
    best = int(np.nanargmin(costs[1:])) + 1 if not np.isnan(costs[1:]).all() else None
    if best is None or np.isnan(costs[0]):
        return {'camera_order': None, 'camera_swaps': {}}
    ratio = float(costs[0] / costs[best]) if costs[best] > 0.0 else 1.0
    swaps = {a: b for a, b in zip(cameras, orders[best]) if a != b and ratio > 1.0}
    return {'camera_order': ratio, 'camera_swaps': swaps}


def _cost(
    track: Track, loaded: Loaded, kept: Sequence[Observation], order: dict[str, str]
) -> float:
    """Return the mean error [rad] of answers to observations with their cameras renamed."""
    policy, codec = loaded.policy, loaded.executor.codec
    predictions = []
    for number, obs in enumerate(kept):
        policy.reset(obs.instruction, seed=chunk_seed(SEED, number))
        frames = {name: obs.frames[other] for name, other in order.items()}
        seen = Observation(obs.stamp, frames, obs.joints, obs.instruction)
        try:
            trajectory = codec.decode(policy.infer(seen), seen.joints)
        except PolicyError:
            continue
        predictions.append(Prediction(obs, trajectory, None))
    error = pairs(track, predictions).error[..., : track.robot.dof]
    return float(np.nanmean(np.abs(error))) if error.size else np.nan
