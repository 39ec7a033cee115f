"""Solids near the arm or in its hand, as perception, the simulator or a YAML file names them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from vla_ros.errors import ConfigError, ShapeError, UnknownNameError
from vla_ros.types import Array, frozen

DIMENSIONS = {  # shape -> what `size` lists [m]
    'box': ('x', 'y', 'z'),  # full edge lengths
    'sphere': ('radius',),
    'cylinder': ('height', 'radius'),
    'capsule': ('height', 'radius'),  # height: between the centres of its round ends
    'plane': (),  # all below z = 0 of its own frame is solid
}
ROLES = (
    'obstacle',  # nothing may touch it
    'target',  # the fingers and what they hold may touch it
    'support',  # a table: the fingers and what they hold may come nearer than the rest
    'person',  # nothing may touch them, and near them the arm is slow (speed and separation)
)

MOST = 1e4  # [m], [m/s], [rad/s], [m/s^2]: squares of more than this lose the distances
LEAST = 1e-6  # [m] smaller sizes are no solids


def _identity() -> Array:
    return np.array([0.0, 0.0, 0.0, 1.0])


def _zero() -> Array:
    return np.zeros(3)


@dataclass(frozen=True)
class Obstacle:
    """One solid, that may move. Its frame is the robot's base, or the link that holds it."""

    name: str
    shape: str  # a key of DIMENSIONS
    size: Array  # (d,) [m] as DIMENSIONS says
    position: Array  # (3,) [m] centre
    orientation: Array = field(default_factory=_identity)  # (4,) quaternion xyzw
    linear_velocity: Array = field(default_factory=_zero)  # (3,) [m/s] of the centre
    angular_velocity: Array = field(default_factory=_zero)  # (3,) [rad/s]
    uncertainty: float = 0.0  # [m] no point is further than this from where the pose puts it
    uncertainty_rate: float = 0.0  # [m/s] nor moves by more than this otherwise than declared
    acceleration: float = 0.0  # [m/s^2] nor changes its motion by more than this
    margin: float | None = None  # [m] distance to keep, > 0; None: the filter's for its role
    attached_to: str = ''  # link of the robot that holds it; '': none, the pose is in the base
    role: str = 'obstacle'  # a word of ROLES

    def __post_init__(self) -> None:
        if self.shape not in DIMENSIONS:
            raise UnknownNameError('obstacle shape', self.shape, DIMENSIONS)
        if self.role not in ROLES:
            raise UnknownNameError('role', self.role, ROLES, f"obstacle '{self.name}'")
        sizes = {
            'size': len(DIMENSIONS[self.shape]),
            'position': 3,
            'orientation': 4,
            'linear_velocity': 3,
            'angular_velocity': 3,
        }
        for name, count in sizes.items():
            label = f"obstacle '{self.name}': {name}"
            object.__setattr__(self, name, frozen(getattr(self, name), (count,), label))
        if not (self.size > 0.0).all():
            raise ShapeError(f"obstacle '{self.name}': size is {self.size} m, expected all > 0.")

    @property
    def moves(self) -> bool:
        """Whether it may be elsewhere later than at its stamp."""
        return bool(
            self.role == 'person'
            or self.linear_velocity.any()
            or self.angular_velocity.any()
            or self.uncertainty_rate
            or self.acceleration
        )

    @property
    def problem(self) -> str:
        """Say why no distance from it can be trusted; '' if it can."""
        arrays = (self.size, self.position, self.linear_velocity, self.angular_velocity)
        if not all((np.abs(a) <= MOST).all() for a in arrays):
            return f'has a number that is not finite, or beyond {MOST:g}'
        if not (self.size >= LEAST).all():
            return f'has the size {self.size} m, expected {LEAST:g} or more'
        if not abs(np.linalg.norm(self.orientation) - 1.0) < 1e-3:
            return f'has the quaternion {self.orientation}, expected length 1'
        for name in ('uncertainty', 'uncertainty_rate', 'acceleration'):
            if not 0.0 <= getattr(self, name) <= MOST:
                return f'has {name} {getattr(self, name)}, expected 0 to {MOST:g}'
        if self.margin is not None and not 0.0 < self.margin <= MOST:
            return f'has margin {self.margin} m, expected more than 0, or none'
        if self.shape == 'plane' and self.angular_velocity.any():
            return 'is a plane that turns; a plane may only shift'
        if self.attached_to and self.shape == 'plane':
            return f"is a plane attached to '{self.attached_to}'; nothing can hold a plane"
        if self.attached_to and self.moves:
            return f"is attached to '{self.attached_to}' and moves; it can only do one of both"
        if self.attached_to and self.margin is not None:
            return f"is attached to '{self.attached_to}' and has a margin; that of the rest counts"
        return ''


def first_problem(obstacles: Iterable[Obstacle]) -> str:
    """Say why obstacles cannot be trusted as a whole; '' if they can."""
    names = set()
    for o in obstacles:
        if o.problem:
            return f"obstacle '{o.name}' {o.problem}."
        if not o.name or o.name in names:
            return f"the obstacle name '{o.name}' stands twice." if o.name else 'one has no name.'
        names.add(o.name)
    return ''


def check_fixed(obstacles: Iterable[Obstacle], where: str) -> None:
    """Check obstacles of a file, that must stand still.

    Raises:
        ConfigError: One moves, is not finite or has a name that stands twice.
    """
    listed = tuple(obstacles)
    problem = first_problem(listed)
    if problem:
        raise ConfigError(f'{where}: {problem}')
    for o in listed:
        if o.moves:
            raise ConfigError(
                f"{where}: obstacle '{o.name}' moves; a file has no stamp: publish it."
            )
