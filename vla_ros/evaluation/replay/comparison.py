"""Predicted chunks against what the arm did: plain mathematics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vla_ros.evaluation.replay.open_loop import Answers, Prediction
from vla_ros.evaluation.replay.pairs import Pairs, pairs
from vla_ros.evaluation.replay.suspicion import camera_order, joint_order, scales, tool_order
from vla_ros.evaluation.replay.track import Track
from vla_ros.kinematics import Kinematics
from vla_ros.nodes.loading import Loaded
from vla_ros.types import Array

RESTS = 1e-3  # [rad] mean displacement below which the recorded arm was at rest


def errors(both: Pairs, names: Sequence[str]) -> dict[str, Any]:
    """Return mean absolute and squared errors: of all arm joints, of each, of each step.

    `against_still` is the error over that of an arm that stays where it was observed.
    """
    error = both.error
    known = ~np.isnan(error)
    if not known.any():
        nothing = dict.fromkeys(('against_still', 'action_mae', 'action_mse'))
        return {'points': 0, **nothing, 'per_joint': {}, 'per_step': []}
    arm = error[..., : both.dof]
    still = np.nanmean(np.abs(both.executed - both.origin[:, None])[..., : both.dof])
    return {
        'against_still': float(np.nanmean(np.abs(arm)) / still) if still > RESTS else None,
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


def tool_errors(both: Pairs, kinematics: Kinematics, first: int = 0) -> dict[str, Any]:
    """Return a tool's error, mean and 95th percentile, in [mm] and degrees, and its axes' order.

    `first` is the first column of its arm.

    `tool_order` is as `joint_order`, of the tool's displacements along the axes of the base, each
    also mirrored.
    """
    known = ~np.isnan(both.error).any(axis=-1)
    if not known.any():
        return dict.fromkeys(('tool_mm', 'tool_p95_mm', 'tool_deg', 'tool_p95_deg', 'tool_order'))
    mine = slice(first, first + len(kinematics.joints))
    turns, places = _poses(both.predicted[known][:, mine], kinematics)
    truths, there = _poses(both.executed[known][:, mine], kinematics)
    begun = np.array([kinematics.fk(q)[1] for q in both.origin[:, mine]])
    begun = np.repeat(begun[:, None], known.shape[1], axis=1)[known]
    lengths = 1e3 * np.linalg.norm(places - there, axis=1)
    cosines = 0.5 * (np.einsum('kij,kij->k', turns, truths) - 1.0)
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return {
        'tool_mm': float(lengths.mean()), 'tool_p95_mm': float(np.percentile(lengths, 95)),
        'tool_deg': float(angles.mean()), 'tool_p95_deg': float(np.percentile(angles, 95)),
        'tool_order': tool_order(places - begun, there - begun),
    }  # fmt: skip


def _poses(joints: Array, kinematics: Kinematics) -> tuple[Array, Array]:
    """Return rotations (K, 3, 3) and positions (K, 3) [m] of the tool at joints (K, dof)."""
    turns, places = zip(*(kinematics.fk(q) for q in joints))
    return np.array(turns), np.array(places)


def gripper_accuracy(track: Track, both: Pairs, predictions: Sequence[Prediction]) -> float | None:
    """Return the share of points at which a gripper is asked to be open, or closed, as it was.

    What it was told counts where the recording has it, for a thing in its hand keeps it open.
    """
    right = np.empty(0, dtype=bool)
    stamps = [p.trajectory.stamp + p.trajectory.times for p in predictions if p.trajectory]
    for k, gripper in enumerate(track.robot.grippers):
        predicted, executed = (x[..., both.dof + k] for x in (both.predicted, both.executed))
        if k < len(track.grips) and track.grips[k]:
            times, goals = np.array(track.grips[k]).T
            executed = executed.copy()
            for row, at in enumerate(stamps):
                index = np.searchsorted(times, at, side='right') - 1
                told = np.where(index >= 0, goals[np.maximum(index, 0)], np.nan)
                known = ~np.isnan(executed[row, : len(at)])
                executed[row, : len(at)] = np.where(known, told, np.nan)
        middle = 0.5 * (gripper.open + gripper.closed)
        known = ~np.isnan(predicted) & ~np.isnan(executed)
        right = np.append(right, ((predicted > middle) == (executed > middle))[known])
    return float(right.mean()) if len(right) else None


def reproduction(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Return the largest differences from the recorded chunks, and how many there are.

    The raw actions are the policy's own; the joints also depend on where the filter's reference
    was, which a recording has at the rate of the execution state.
    """
    differences, raw = [], []
    for prediction in predictions:
        if prediction.chunk is None or prediction.trajectory is None:
            continue
        recorded, found = prediction.chunk.trajectory, prediction.trajectory
        if recorded.positions.shape == found.positions.shape:
            differences.append(float(np.abs(recorded.positions - found.positions).max()))
        origin, actions = prediction.chunk.provenance, prediction.actions
        if origin is not None and actions is not None and origin.actions.shape == actions.shape:
            raw.append(float(np.abs(origin.actions - actions).max()))
    return {
        'recorded_chunks': sum(p.chunk is not None for p in predictions),
        'compared_chunks': len(differences),
        'chunk_difference': max(differences, default=None),
        'action_difference': max(raw, default=None),
    }


def compare(track: Track, loaded: Loaded, answers: Answers) -> dict[str, Any]:
    """Return the figures of an open-loop replay, by the keys of `vla replay --json`."""
    predictions = answers.predictions
    names = track.robot.joint_names
    both = pairs(track, predictions)
    answered = sum(p.trajectory is not None for p in predictions)
    own = answers.wall_seconds - answers.model_seconds
    hands = loaded.executor.codec.hands.values()
    tools = [tool_errors(both, hand.kinematics, hand.columns.start) for hand in hands]
    return {
        'steps': len(predictions),
        'answered': answered / len(predictions) if predictions else None,
        'errors': sorted({p.error for p in predictions if p.error})[:5],
        **errors(both, names),
        **max(tools, key=lambda tool: tool['tool_mm'] or 0.0),  # of several the worst
        'gripper_accuracy': gripper_accuracy(track, both, predictions),
        **scales(both, names),
        **joint_order(both, names),
        **camera_order(track, loaded, answers),
        **reproduction(predictions),
        'model_seconds': answers.model_seconds,
        'real_time_factor': track.seconds / own if own > 0.0 else None,
    }
