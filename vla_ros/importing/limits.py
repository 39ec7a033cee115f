"""Planning limits that are proposed for an arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pinocchio as pin

from vla_ros.importing.parts import Parts
from vla_ros.kinematics import read_model
from vla_ros.robot import JointLimits
from vla_ros.types import Array

INSIDE, SHARE = 0.05, 0.02  # [rad], and of the range at most, that a position stays inside
SPEED = 0.8  # of the URDF's velocity
UNKNOWN_SPEED = 1.0  # [rad/s] where the URDF has none
TORQUE = 0.5  # of what is left of the effort beside gravity
SLOW, FAST, USUAL = 2.0, 8.0, 3.0  # [1/s] acceleration by velocity: least, most, without masses
SMOOTH = 40.0  # [1/s] jerk by acceleration
PLACES = 1000  # at which inertia and gravity are looked at


@dataclass(frozen=True)
class Proposal:
    """Limits of the arm joints, and where the accelerations come from."""

    joints: tuple[JointLimits, ...]
    reason: str


def propose_limits(urdf: Path, parts: Parts, rng: np.random.Generator) -> Proposal:
    """Propose limits inside of the URDF's, a starting point for its owner.

    Acceleration: half of the torque that the worst gravity leaves, by the largest inertia about
    the joint's axis, (effort - max |g|) / (2 max M); held between 2 and 8 times the velocity, and
    3 times where the URDF has no masses or too little effort. Jerk: 40 times that.
    """
    inertia, gravity = _loads(urdf, parts, rng)
    made, by_mass = [], 0
    for k, joint in enumerate(parts.arm):
        inside = min(INSIDE, SHARE * (joint.upper - joint.lower))
        velocity = SPEED * joint.velocity if joint.velocity > 0.0 else UNKNOWN_SPEED
        left = joint.effort - gravity[k]
        if inertia[k] > 0.0 and left > 0.0:
            acceleration = float(
                np.clip(TORQUE * left / inertia[k], SLOW * velocity, FAST * velocity)
            )
            by_mass += 1
        else:
            acceleration = USUAL * velocity
        made.append(
            JointLimits(
                joint.name,
                _round(joint.lower + inside, np.ceil),
                _round(joint.upper - inside, np.floor),
                _round(velocity, np.floor),
                _round(acceleration, np.floor, 2),
                _round(SMOOTH * acceleration, np.floor, 1),
            )
        )
    if by_mass == len(made):
        reason = f'{TORQUE:.0%} of the torque that gravity leaves, by the largest inertia'
    else:
        reason = (
            f'{USUAL:g} 1/s times the velocity for {len(made) - by_mass} joints without masses or '
            'with less effort than gravity takes; else from torque and inertia'
        )
    return Proposal(tuple(made), f'{reason}; between {SLOW:g} and {FAST:g} 1/s times the velocity')


def _round(value: float, way: np.ufunc, digits: int = 4) -> float:
    return float(way(value * 10**digits) / 10**digits)


def _loads(urdf: Path, parts: Parts, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return the largest inertia [kg m^2] and gravity torque [N m] at each arm joint, (n,)."""
    model = read_model(urdf)
    data = model.createData()
    columns = [model.joints[model.getJointId(joint.name)].idx_q for joint in parts.arm]
    low, high = (np.array([getattr(j, end) for j in parts.arm]) for end in ('lower', 'upper'))
    inertia, gravity = np.zeros(len(columns)), np.zeros(len(columns))
    for _ in range(PLACES):
        q = pin.neutral(model)
        q[columns] = rng.uniform(low, high)
        inertia = np.maximum(inertia, np.diag(pin.crba(model, data, q))[columns])
        torque = pin.computeGeneralizedGravity(model, data, q)[columns]
        gravity = np.maximum(gravity, np.abs(torque))
    return inertia, gravity
