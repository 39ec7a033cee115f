"""The margin of every row: how near each part of the arm may come to each body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vla_ros.obstacle import Obstacle
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.model import CollisionModel
from vla_ros.types import Array

NEVER = -1e3  # [m] margin of a row that must not bind; finite, so that sums of it stay numbers
PARTS = ('link', 'finger', 'held', 'outline')  # in the order of the arrays below


def margins_of(
    model: CollisionModel, obstacles: Sequence[Obstacle], config: SafetyConfig
) -> Array:
    """Return the margin of every row (K,) [m], in the core's order."""
    arm = model.arm
    parts = np.array([PARTS.index(part) for part in model.parts])
    floor = np.array(
        [config.margin_floor, config.margin_finger_floor, *2 * [config.margin_held_floor]]
    )
    margins = [np.full(len(arm.pairs), config.margin_self), floor[parts[arm.above_floor]]]
    around, excess = parts[arm.moving], np.array(model.excess)[arm.moving]
    for obstacle in obstacles:
        by_part = np.array(_from(obstacle, config))[around]
        # The capsules of what is held reach further than it; over a support its outline decides.
        margins.append(by_part - excess if obstacle.role == 'support' else by_part)
    return np.concatenate(margins)


def _from(obstacle: Obstacle, config: SafetyConfig) -> tuple[float, float, float, float]:
    """Return the margin of each part of the arm from an obstacle [m]."""
    own = obstacle.margin
    if obstacle.role == 'target':
        link = config.margin_target if own is None else own
        return link, config.margin_finger_target, NEVER, NEVER
    if obstacle.role == 'support':
        held = config.margin_held_floor
        return config.margin_floor if own is None else own, config.margin_finger_floor, held, held
    link = config.margin_obstacle if own is None else own
    return link, link, link, NEVER
