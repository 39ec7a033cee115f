"""A policy without weights that plays recorded chunks: the same actions again and again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import zipfile

import numpy as np

from vla_ros import paths
from vla_ros.actions.way import FUZZ
from vla_ros.errors import PolicyError
from vla_ros.policies.double import Double
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec
from vla_ros.types import Array, Observation


@dataclass(frozen=True)
class Options:
    """What to play."""

    # .npz with stamps (N,) [s] and actions (N, horizon, A); relative to the folder of config/
    file: str


class ReplayPolicy(Double):
    """Answers with the chunk that was recorded last at that time after the first observation.

    Relative actions start from where the arm is now. When the recording is over, the arm holds
    the pose that it then has.
    """

    def __init__(self, spec: PolicySpec, robot: RobotSpec) -> None:
        """Read the recording.

        Raises:
            PolicyError: The file is missing or damaged, or its chunks are of other actions.
        """
        super().__init__(spec, robot)
        path = paths.share() / spec.read_options(Options).file
        self._times, self._chunks = _read(path, spec.horizon, self.codec.action_dim)
        self._end: Array | None = None  # (n,) where the joints were when the recording was over

    def reset(self, instruction: str, *, seed: int) -> None:
        """Play from the beginning."""
        super().reset(instruction, seed=seed)
        self._end = None

    def chunk(self, obs: Observation, first: Observation) -> Array:
        """Return the chunk of now."""
        t = obs.stamp - first.stamp
        if t <= self._times[-1] + FUZZ:
            return self._chunks[np.searchsorted(self._times, t + FUZZ, side='right') - 1]
        if self._end is None:
            self._end = obs.joints.position
        held = np.tile(self.codec.action(self._end), (self.spec.horizon, 1))
        return self.codec.relative(held, obs.joints)


def _read(path: Path, horizon: int, size: int) -> tuple[Array, Array]:
    """Return times (N,) [s] after the first chunk, and chunks (N, horizon, size)."""
    try:
        with np.load(path, allow_pickle=False) as data:
            stamps, chunks = (np.asarray(data[k], dtype=float) for k in ('stamps', 'actions'))
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise PolicyError(
            f'cannot read the recording {path}: {error}; expected an .npz with stamps (N,) and '
            'actions (N, horizon, A).'
        ) from error
    expected = (len(np.atleast_1d(stamps)), horizon, size)
    if stamps.ndim != 1 or not stamps.size or chunks.shape != expected:
        raise PolicyError(
            f'{path} has stamps {stamps.shape} and actions {chunks.shape}, expected (N,) and '
            f'(N, {horizon}, {size}) as the policy file declares: correct its horizon or action.'
        )
    finite = np.isfinite(chunks).all() and np.isfinite(stamps).all()
    if not finite or not (np.diff(stamps) > 0.0).all():
        raise PolicyError(f'{path}: stamps must increase, and all must be finite; record it anew.')
    return stamps - stamps[0], chunks
