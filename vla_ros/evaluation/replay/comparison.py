"""Predicted chunks against what the arm did: errors, scales, orders. Plain mathematics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from vla_ros.evaluation.replay.open_loop import Answers, Prediction
from vla_ros.evaluation.replay.track import Track
from vla_ros.kinematics import Kinematics
from vla_ros.nodes.loading import Loaded
from vla_ros.policies.base import chunk_seed
from vla_ros.types import Array, Observation

MOVES = 0.01  # [rad] root mean square of a joint's executed displacements; less is at rest
SHUFFLE_SEED = 0  # of the answers that are compared with cameras exchanged


@dataclass(frozen=True)
class Pairs:
    """Every predicted point beside what was executed then; NaN past the recording's end."""

    predicted: Array  # (P, T, n) [rad] or [m]
    executed: Array  # (P, T, n)
    origin: Array  # (P, n) joints that the policy saw

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
    return Pairs(predicted, track.joints.at(times), origin)


def errors(both: Pairs, names: Sequence[str]) -> dict[str, Any]:
    """Return mean absolute and squared errors: of all arm joints, of each, of each step."""
    error = both.error
    known = ~np.isnan(error)
    if not known.any():
        return {'points': 0, 'action_mae': None, 'action_mse': None, 'per_joint': {},
                'per_step': []}  # fmt: skip
    arm = error[..., :-1]
    return {
        'points': int(known[..., 0].sum()),
        'action_mae': float(np.nanmean(np.abs(arm))),
        'action_mse': float(np.nanmean(arm**2)),
        'per_joint': {
            name: {'mae': float(np.nanmean(np.abs(e))), 'mse': float(np.nanmean(e**2))}
            for name, e in zip(names, np.moveaxis(error, -1, 0))
        },
        'per_step': [
            {'mae': float(np.nanmean(np.abs(e))), 'mse': float(np.nanmean(e**2))}
            for e in np.moveaxis(arm, 1, 0)
            if not np.isnan(e).all()
        ],
    }


def tool_errors(both: Pairs, kinematics: Kinematics) -> dict[str, float | None]:
    """Return the mean and the 95th percentile of the tool's error, in [mm] and degrees."""
    known = ~np.isnan(both.error).any(axis=-1)
    lengths, angles = [], []
    for predicted, executed in zip(both.predicted[known], both.executed[known]):
        turn, place = kinematics.fk(predicted[:-1])
        truth, there = kinematics.fk(executed[:-1])
        lengths.append(1e3 * float(np.linalg.norm(place - there)))
        cosine = 0.5 * (float(np.trace(turn.T @ truth)) - 1.0)
        angles.append(float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))
    if not lengths:
        return dict.fromkeys(('tool_mm', 'tool_p95_mm', 'tool_deg', 'tool_p95_deg'))
    return {
        'tool_mm': float(np.mean(lengths)), 'tool_p95_mm': float(np.percentile(lengths, 95)),
        'tool_deg': float(np.mean(angles)), 'tool_p95_deg': float(np.percentile(angles, 95)),
    }  # fmt: skip


def gripper_accuracy(track: Track, both: Pairs, predictions: Sequence[Prediction]) -> float | None:
    """Return the share of points at which the gripper is asked to be open, or closed, as it was.

    What it was told counts where the recording has it, for a thing in its hand keeps it open.
    """
    gripper = track.robot.gripper
    predicted, executed = both.predicted[..., -1], both.executed[..., -1]
    if track.gripper:
        times, goals = np.array(track.gripper).T
        stamps = [p.trajectory.stamp + p.trajectory.times for p in predictions if p.trajectory]
        executed = executed.copy()
        for row, at in enumerate(stamps):
            index = np.searchsorted(times, at, side='right') - 1
            told = np.where(index >= 0, goals[np.maximum(index, 0)], np.nan)
            known = ~np.isnan(executed[row, : len(at)])
            executed[row, : len(at)] = np.where(known, told, np.nan)
    middle = 0.5 * (gripper.open + gripper.closed)
    known = ~np.isnan(predicted) & ~np.isnan(executed)
    if not known.any():
        return None
    return float(((predicted > middle) == (executed > middle))[known].mean())


def scales(both: Pairs, names: Sequence[str]) -> dict[str, Any]:
    """Return how large predicted motion is beside the executed: slopes through the origin.

    slope = sum(d_predicted d_executed) / sum(d_executed^2), d from the joints that were seen;
    `position_scale` is the same of positions, which tells absolute joints in another unit.
    """
    arm = slice(0, -1)
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


def order(both: Pairs, names: Sequence[str]) -> dict[str, Any]:
    """Return by how much another assignment of the predicted joints would fit better.

    `joint_order` is the error of the joints as they are over that of the best assignment, 1 where
    they are in order; judged by positions and by displacements, the worse counts.
    """
    arm = slice(0, -1)
    known = ~np.isnan(both.error).any(axis=-1)
    found, swapped = 1.0, {}
    for origin in (np.zeros_like(both.origin), both.origin):
        asked = (both.predicted - origin[:, None])[known][:, arm]
        done = (both.executed - origin[:, None])[known][:, arm]
        if not len(asked):
            return {'joint_order': None, 'joint_swaps': {}}
        cost = np.abs(asked[:, :, None] - done[:, None, :]).mean(axis=0)  # (asked, done)
        rows, columns = linear_sum_assignment(cost)
        best = float(cost[rows, columns].sum())
        ratio = float(np.trace(cost)) / best if best > 0.0 else 1.0
        if ratio > found:
            found = ratio
            swapped = {names[i]: names[j] for i, j in zip(rows, columns) if i != j}
    return {'joint_order': found, 'joint_swaps': swapped}


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
        policy.reset(obs.instruction, seed=chunk_seed(SHUFFLE_SEED, number))
        frames = {name: obs.frames[other] for name, other in order.items()}
        seen = Observation(obs.stamp, frames, obs.joints, obs.instruction)
        trajectory = _decoded(lambda seen=seen: codec.decode(policy.infer(seen), seen.joints))
        predictions.append(Prediction(obs, trajectory, None))
    error = pairs(track, predictions).error[..., :-1]
    return float(np.nanmean(np.abs(error))) if error.size else np.nan


def _decoded(decode: Callable[[], Any]) -> Any:
    from vla_ros.errors import PolicyError

    try:
        return decode()
    except PolicyError:
        return None


def reproduction(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the largest difference [rad] from the recorded chunks, and how many there are."""
    differences = []
    for prediction in predictions:
        if prediction.chunk is None or prediction.trajectory is None:
            continue
        recorded, found = prediction.chunk.trajectory, prediction.trajectory
        if recorded.positions.shape == found.positions.shape:
            differences.append(float(np.abs(recorded.positions - found.positions).max()))
    return {
        'recorded_chunks': sum(p.chunk is not None for p in predictions),
        'compared_chunks': len(differences),
        'chunk_difference': max(differences, default=None),
    }


def compare(track: Track, loaded: Loaded, answers: Answers) -> dict[str, Any]:
    """Return the figures of an open-loop replay, by the keys of `vla replay --json`."""
    predictions = answers.predictions
    names = track.robot.joint_names
    both = pairs(track, predictions)
    answered = sum(p.trajectory is not None for p in predictions)
    own = answers.wall_seconds - answers.model_seconds
    return {
        'steps': len(predictions),
        'answered': answered / len(predictions) if predictions else None,
        'errors': sorted({p.error for p in predictions if p.error})[:5],
        **errors(both, names),
        **tool_errors(both, loaded.executor.codec.kinematics),
        'gripper_accuracy': gripper_accuracy(track, both, predictions),
        **scales(both, names),
        **order(both, names),
        **camera_order(track, loaded, answers),
        **reproduction(predictions),
        'model_seconds': answers.model_seconds,
        'real_time_factor': track.seconds / own if own > 0.0 else None,
    }
