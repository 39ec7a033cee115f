"""One client's turn with a policy: what it sends becomes an Observation, what it gets a chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from vla_ros.errors import ConfigError, PolicyError
from vla_ros.policies.base import Policy
from vla_ros.robot import RobotSpec
from vla_ros.types import Array, Frame, Image, JointState, Observation

JOINTS = 'observation/joint_position'  # (dof,) [rad], in the order of the robot file
GRIPPER = 'observation/gripper_position'  # (g,) 0 open, 1 closed: as DROID has it
PROMPT = 'prompt'


class Session:
    """A policy as a client of openpi sees it, from connection to connection.

    The policy begins anew with each session and with each new prompt.
    """

    def __init__(self, policy: Policy, robot: RobotSpec, slots: Sequence[str], seed: int) -> None:
        """Begin.

        Args:
            policy: Used by this session only.
            robot: Whose joints the client sends.
            slots: Key of each picture of the policy file.
            seed: Of this session.
        """
        self._policy = policy
        self._robot = robot
        self._grippers = robot.grippers
        self._slots = dict(zip((image.camera for image in policy.spec.images), slots))
        self._seed = seed
        self._prompt: str | None = None

    def answer(self, request: Any, now: float) -> dict[str, Any]:
        """Return {'actions': (T, A), 'policy_timing': {'infer_ms': [ms]}}.

        Args:
            request: What the client sent.
            now: When it came, of a clock that never goes back [s].

        Raises:
            PolicyError: The request lacks a key or holds another thing there.
        """
        obs = self._observation(request, now)
        if obs.instruction != self._prompt:
            self._policy.reset(obs.instruction, seed=self._seed)
            self._prompt = obs.instruction
        chunk = self._policy.infer(obs)
        timing = {'infer_ms': 1000.0 * chunk.timings.get('inference', 0.0)}
        return {'actions': chunk.actions, 'policy_timing': timing}

    def _observation(self, request: Any, stamp: float) -> Observation:
        if not isinstance(request, Mapping):
            raise PolicyError(f'the request is a {type(request).__name__}, expected a dictionary.')
        grips = (GRIPPER,) if self._grippers else ()
        wanted = (*self._slots.values(), JOINTS, *grips, PROMPT)
        missing = [key for key in wanted if key not in request]
        if missing:
            raise PolicyError(
                f'the request lacks {", ".join(missing)}; expected {", ".join(wanted)}.'
            )
        prompt = request[PROMPT]
        if not isinstance(prompt, str):
            raise PolicyError(f"'{PROMPT}' is a {type(prompt).__name__}, expected text.")
        slots = self._slots.items()
        frames = {camera: Frame(stamp, _picture(request[key], key)) for camera, key in slots}
        arm = _vector(request[JOINTS], self._robot.dof, JOINTS)
        closed = _vector(request.get(GRIPPER, ()), len(self._grippers), GRIPPER)
        places = [g.open + c * (g.closed - g.open) for g, c in zip(self._grippers, closed)]
        position = np.append(arm, places)
        joints = JointState(stamp, position, np.zeros(len(position)))
        return Observation(stamp, frames, joints, prompt)


def describe(policy: Policy, robot: RobotSpec, slots: Sequence[str]) -> dict[str, Any]:
    """Return what the server says first: which policy this is, and what it takes and gives."""
    spec = policy.spec
    return {
        'policy': spec.name,
        'robot': robot.name,
        'observation': {
            **dict.fromkeys(slots, 'uint8 (H, W, 3) RGB'),
            JOINTS: f'({robot.dof},) rad: {", ".join(robot.arm_joints)}',
            **({GRIPPER: f'({len(robot.grippers)},) 0 open, 1 closed'} if robot.grippers else {}),
            PROMPT: 'text',
        },
        'action': [asdict(part) for part in spec.action],
        'horizon': spec.horizon,
        'step': spec.step,
    }


def slots_of(policy: Policy, names: Sequence[str]) -> tuple[str, ...]:
    """Return the key of each picture: those given, or else 'observation/CAMERA'.

    Raises:
        ConfigError: The number of keys given is not that of the pictures.
    """
    images = policy.spec.images
    if names and len(names) != len(images):
        raise ConfigError(
            f'{len(names)} keys for {len(images)} pictures ({[i.camera for i in images]}): give '
            'one for each, in order.'
        )
    return tuple(names) or tuple(f'observation/{image.camera}' for image in images)


def _picture(value: Any, key: str) -> Image:
    """Return a picture (H, W, 3) uint8; channels may come first, floats are 0 to 1."""
    if not isinstance(value, np.ndarray) or value.ndim != 3 or value.size == 0:
        raise PolicyError(f"'{key}' is no picture, expected uint8 (H, W, 3).")
    if value.dtype.kind == 'f':
        if not (value.min() >= 0.0 and value.max() <= 1.0):  # also where it is NaN
            raise PolicyError(f"'{key}' has values outside of 0 to 1: send uint8.")
        value = (255.0 * value).astype(np.uint8)
    if value.shape[0] == 3 and value.shape[2] != 3:
        value = value.transpose(1, 2, 0)
    if value.dtype != np.uint8 or value.shape[2] != 3:
        raise PolicyError(f"'{key}' is {value.dtype}{value.shape}, expected uint8 (H, W, 3).")
    return np.ascontiguousarray(value)


def _vector(value: Any, size: int, key: str) -> Array:
    """Return finite numbers (size,); a single one may come without axes."""
    try:
        vector = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        vector = np.empty(0)
    if vector.shape != (size,) or not np.isfinite(vector).all():
        raise PolicyError(f"'{key}' is not {size} finite numbers.")
    return vector
