"""Training samples of a policy from a LeRobot data set: what it sees, and what was done then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_ros.actions.decode import Codec
from vla_ros.bags import lerobot_format as fmt
from vla_ros.bags.lerobot_reader import DataSet, open_data_set
from vla_ros.errors import PolicyError
from vla_ros.policies.tiny_pi0 import central_square
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import Array, JointState

Told = Callable[[int, int], None]  # episodes read, episodes in all


@dataclass(frozen=True)
class Samples:
    """One sample a row; N rows."""

    images: NDArray[np.uint8]  # (N, cameras, size, size, 3)
    state: Array  # (N, S) as the policy file declares it
    actions: Array  # (N, T, A) likewise, relative to the row's joints where it says so
    sentence: NDArray[np.intp]  # (N,) index into `sentences`
    sentences: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.state)


def load_samples(folder: Path, spec: PolicySpec, robot: RobotSpec, told: Told) -> Samples:
    """Read every row of a data set as a policy would have seen it.

    A step of a chunk is what was commanded when it is due; past the end of an episode, the last
    command stays.

    Args:
        folder: The data set.
        spec: The policy file: cameras, state, actions, step.
        robot: The arm whose joints the data set holds.
        told: Hears how far it has come.

    Raises:
        BagError: The data set cannot be read.
        PolicyError: It does not fit the policy: joints, cameras, rate.
    """
    data = open_data_set(folder)
    stride = _check(data, spec, robot)
    codec = Codec(robot, robot.urdf_path, spec)
    images, states, actions, sentence = [], [], [], []
    for episode in range(data.episodes):
        told(episode, data.episodes)
        pictures = [
            np.stack([central_square(p, i.size) for p in data.pictures(episode, i.camera)])
            for i in spec.images
        ]
        images.append(np.stack(pictures, axis=1))
        measured = data.column(episode, fmt.STATE).astype(np.float64)
        commanded = data.column(episode, fmt.ACTION).astype(np.float64)
        targets = np.array([codec.action(q) for q in commanded])
        due = np.arange(1, spec.horizon + 1) * stride
        for row, q in enumerate(measured):
            joints = JointState(0.0, q, np.zeros_like(q))
            chunk = targets[np.minimum(row + due, len(targets) - 1)]
            states.append(codec.state(joints))
            actions.append(codec.relative(chunk, joints))
        sentence += [data.tasks.index(data.task(episode))] * len(measured)
    told(data.episodes, data.episodes)
    return Samples(
        np.concatenate(images),
        np.array(states),
        np.array(actions),
        np.array(sentence, dtype=np.intp),
        data.tasks,
    )


def _check(data: DataSet, spec: PolicySpec, robot: RobotSpec) -> int:
    """Return how many rows lie between two steps of the policy, if the data set fits it."""
    wrong = []
    for key in (fmt.STATE, fmt.ACTION):
        names = tuple(data.features.get(key, {}).get('names') or ())
        if names != robot.joint_names:
            wrong.append(
                f"'{key}' holds {', '.join(map(str, names)) or 'nothing that has names'}, "
                f'expected the joints {", ".join(robot.joint_names)}'
            )
    missing = [i.camera for i in spec.images if i.camera not in data.cameras]
    if missing:
        wrong.append(
            f'it has no camera {" and ".join(missing)}; it has {", ".join(data.cameras) or "none"}'
        )
    rows = spec.step * data.rate
    if abs(rows - round(rows)) > 1e-6 or round(rows) < 1:
        wrong.append(
            f'it has {data.rate} rows a second, of which a step of {spec.step} s is {rows:.4g}, '
            f'expected a whole number: export with --fps {round(1.0 / spec.step)}'
        )
    if any(part.kind == 'joint_velocity' for part in spec.state):
        wrong.append('the policy wants joint velocities, which a data set does not hold')
    if not data.episodes:
        wrong.append('it is empty')
    if wrong:
        raise PolicyError(f'{data.folder} does not fit policy {spec.name}: {"; ".join(wrong)}.')
    return round(rows)
