"""The chunks of a recording as a file that the policy `replay` plays."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vla_ros.errors import ReplayError
from vla_ros.evaluation.replay.track import Track


def write_chunks(track: Track, path: Path) -> int:
    """Write recorded chunks as joint positions, then gripper openings; return how many.

    A policy file that plays them has adapter `replay`, the recording's step and horizon, and the
    actions `joint_position` [rad] and `gripper` [open_fraction].

    Args:
        track: The recording.
        path: Of the .npz file.

    Raises:
        ReplayError: There are no chunks, or they are not of one length.
    """
    lengths = {len(chunk.trajectory.times) for chunk in track.chunks}
    if len(lengths) != 1:
        raise ReplayError(
            f'{track.name} has chunks of {sorted(lengths) or "no"} points, expected those of one '
            'policy: record vla/trajectory, and one policy a bag.'
        )
    rows = sorted((chunk.trajectory.stamp, chunk.trajectory.positions) for chunk in track.chunks)
    actions = np.array([positions for _, positions in rows])
    for k, gripper in enumerate(track.robot.grippers, track.robot.dof):
        actions[..., k] = (actions[..., k] - gripper.closed) / (gripper.open - gripper.closed)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, stamps=np.array([stamp for stamp, _ in rows]), actions=actions)
    return len(rows)
