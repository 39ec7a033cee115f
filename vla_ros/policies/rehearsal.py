"""One inference on black pictures: what a policy answers is known before anything moves."""

from __future__ import annotations

import numpy as np

from vla_ros.errors import PolicyError
from vla_ros.policies.base import Policy
from vla_ros.robot import RobotSpec
from vla_ros.spec import width
from vla_ros.types import Frame, JointState, Observation


def rehearse(policy: Policy, robot: RobotSpec) -> None:
    """Infer once at home, so that the first real chunk is as fast as the rest.

    Raises:
        PolicyError: The policy fails, or its answer is not what its file declares.
    """
    spec, frames = policy.spec, {}
    for image in spec.images:
        camera = robot.camera(image.camera)
        frames[camera.name] = Frame(0.0, np.zeros((camera.height, camera.width, 3), np.uint8))
    position = np.append(robot.home, robot.gripper.open)
    joints = JointState(0.0, position, np.zeros(len(position)))
    policy.reset('', seed=0)
    found = policy.infer(Observation(0.0, frames, joints, '')).actions.shape
    expected = (spec.horizon, width(spec.action, robot.dof))
    if found != expected:
        raise PolicyError(
            f'policy {spec.name} answers with actions of shape {found}, expected {expected}: '
            'correct horizon or action in its file.'
        )
