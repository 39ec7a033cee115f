"""Inferences on black pictures: what a policy answers is known before anything moves."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from vla_ros.errors import PolicyError, VlaError
from vla_ros.policies.base import Policy
from vla_ros.robot import RobotSpec
from vla_ros.spec import PolicySpec, width
from vla_ros.types import Frame, JointState, Observation


def black(spec: PolicySpec, robot: RobotSpec) -> Observation:
    """Return what a policy would see at home in the dark, without an instruction."""
    cameras = [robot.camera(image.camera) for image in spec.images]
    frames = {c.name: Frame(0.0, np.zeros((c.height, c.width, 3), np.uint8)) for c in cameras}
    ready = robot.ready
    return Observation(0.0, frames, JointState(0.0, ready, 0.0 * ready), '')


def rehearse(policy: Policy, robot: RobotSpec) -> float:
    """Infer at home, so that the first real chunk is as fast as the rest.

    Returns:
        What an inference takes [s]; the first one, which warms up, does not count.

    Raises:
        PolicyError: The policy fails, or its answer is not what its file declares.
    """
    spec, obs = policy.spec, black(policy.spec, robot)
    try:
        policy.reset('', seed=0)
        policy.infer(obs)
        begin = perf_counter()
        actions = policy.infer(obs).actions
        seconds = perf_counter() - begin
    except VlaError:
        raise
    except Exception as error:  # a policy is foreign code
        raise PolicyError(
            f'policy {spec.name} cannot answer: {type(error).__name__}: {error}.'
        ) from error
    expected = (spec.horizon, width(spec.action, robot))
    if actions.shape != expected:
        raise PolicyError(
            f'policy {spec.name} answers with actions of shape {actions.shape}, expected '
            f'{expected}: correct horizon or action in its file.'
        )
    if not np.isfinite(actions).all():
        raise PolicyError(
            f'policy {spec.name} answers with numbers that are not finite: its weights are '
            f"damaged, or too large for dtype '{spec.dtype}'."
        )
    return seconds
