"""The arena: solids around the arm, where they truly are and what is declared of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

import numpy as np

from vla_ros.bench.oracle import Oracle
from vla_ros.obstacle import Obstacle
from vla_ros.safety import World
from vla_ros.safety.world import rotation
from vla_ros.types import Array

NEAREST, FURTHEST = 0.25, 0.85  # [m] from the base's axis, where solids stand or pass
HIGHEST = 0.9  # [m]
FASTEST = 1.0  # [m/s] of a moving solid
TRIES = 60  # places tried for one solid


@dataclass(frozen=True)
class Motion:
    """The true motion of a solid: p(t) = centre + velocity (t - passes) + swing sin(rate t)."""

    centre: Array  # (3,) [m]
    velocity: Array  # (3,) [m/s]
    passes: float  # [s] when it is at its centre
    swing: Array  # (3,) [m]
    rate: float  # [rad/s]
    start: Array  # (4,) quaternion xyzw at time 0
    spin: Array  # (3,) [rad/s]

    def at(self, t: float) -> tuple[Array, Array]:
        """Return position (3,) [m] and velocity (3,) [m/s] at time t [s]."""
        position = self.centre + self.velocity * (t - self.passes)
        position = position + self.swing * math.sin(self.rate * t)
        return position, self.velocity + (self.rate * math.cos(self.rate * t)) * self.swing

    def turn(self, t: float) -> Array:
        """Return the quaternion (4,) xyzw at time t [s]."""
        speed = math.sqrt(float(self.spin @ self.spin))
        if speed == 0.0:
            return self.start
        s, w = math.sin(0.5 * speed * t) / speed, math.cos(0.5 * speed * t)
        x, y, z = (s * self.spin).tolist()
        a, b, c, d = self.start.tolist()
        return np.array(
            [
                w * a + x * d + y * c - z * b,
                w * b - x * c + y * d + z * a,
                w * c + x * b - y * a + z * d,
                w * d - x * a - y * b - z * c,
            ]
        )

    @property
    def fastest(self) -> float:
        """Return a bound of the centre's speed [m/s]."""
        return float(np.linalg.norm(self.velocity) + self.rate * np.linalg.norm(self.swing))


class Arena:
    """Some still and some moving solids, none of which leaves what is declared of it.

    Declared are a pose within `uncertainty` of the truth, a velocity within `uncertainty_rate`,
    and a bound of the acceleration.
    """

    def __init__(self, still: int, moving: int, seconds: float, rng: np.random.Generator) -> None:
        """Draw solids; the moving ones come by within `seconds`."""
        self._rng, self._seconds = rng, seconds
        self.moving = range(still, still + moving)
        self.motions = [self._motion(i in self.moving) for i in range(still + moving)]
        self.solids = [self._solid(i, motion) for i, motion in enumerate(self.motions)]

    def settle(self, oracle: Oracle, q: Array, least: float) -> bool:
        """Draw places `least` [m] or more from the arm at q (nq,) for time 0; say if it could."""
        for index in range(len(self.solids)):
            for _ in range(TRIES):
                self._put(oracle, index, 0.0)
                if (oracle.distances(q)[oracle.solid == index] >= least).all():
                    break
                again = self._motion(index in self.moving)
                old = self.motions[index]
                self.motions[index] = replace(old, centre=again.centre, velocity=again.velocity)
            else:
                return False
            motion = self.motions[index]
            oracle.moves(index, motion.fastest, float(np.linalg.norm(motion.spin)))
        return True

    def world(self, t: float, stamp: float) -> World:
        """Return what perception declares at time t, which is the ROS time `stamp` [s]."""
        declared = []
        for solid, motion in zip(self.solids, self.motions):
            position, velocity = motion.at(t)
            declared.append(
                replace(
                    solid,
                    position=position + solid.uncertainty * _in_ball(self._rng),
                    orientation=motion.turn(t),
                    linear_velocity=velocity + solid.uncertainty_rate * _in_ball(self._rng),
                )
            )
        return World(stamp, tuple(declared))

    def place(self, oracle: Oracle, t: float) -> None:
        """Put what moves where it truly is at time t [s]."""
        for index in self.moving:
            self._put(oracle, index, t)

    def _put(self, oracle: Oracle, index: int, t: float) -> None:
        motion = self.motions[index]
        oracle.place(index, rotation(motion.turn(t)), motion.at(t)[0])

    def _motion(self, moves: bool) -> Motion:
        rng, zero = self._rng, np.zeros(3)
        radius, angle = rng.uniform(NEAREST, FURTHEST), rng.uniform(-math.pi, math.pi)
        height = rng.uniform(0.05, HIGHEST)
        centre = np.array([radius * math.cos(angle), radius * math.sin(angle), height])
        start = rng.normal(size=4)
        swings = moves and rng.random() < 0.5
        return Motion(
            centre=centre,
            velocity=_in_ball(rng) * FASTEST if moves and not swings else zero,
            passes=rng.uniform(0.1, 1.0) * self._seconds,
            swing=_in_ball(rng) * 0.3 if swings else zero,
            rate=rng.uniform(0.5, 3.0) if swings else 0.0,
            start=start / np.linalg.norm(start),
            spin=rng.normal(size=3) if moves and rng.random() < 0.5 else zero,
        )

    def _solid(self, index: int, motion: Motion) -> Obstacle:
        rng = self._rng
        shape = str(rng.choice(['box', 'sphere', 'cylinder']))
        size = {
            'box': rng.uniform(0.02, 0.4, 3),
            'sphere': rng.uniform(0.02, 0.15, 1),
            'cylinder': np.array([rng.uniform(0.05, 0.5), rng.uniform(0.02, 0.12)]),
        }[shape]
        moves = index in self.moving
        return Obstacle(
            f'{shape}_{index}',
            shape,
            size,
            motion.centre,
            angular_velocity=motion.spin,
            uncertainty=float(rng.choice([0.0, 0.01])),
            uncertainty_rate=float(rng.choice([0.0, 0.05])) if moves else 0.0,
            acceleration=motion.rate**2 * float(np.linalg.norm(motion.swing)),
        )


def _in_ball(rng: np.random.Generator) -> Array:
    """Return a point (3,) of the unit ball."""
    direction = rng.normal(size=3)
    return direction * (rng.random() ** (1 / 3) / float(np.linalg.norm(direction)))
