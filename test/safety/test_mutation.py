"""Every guard is needed: with one of them removed, the attack of the bench gets through.

Each mutant is the whole filter but for one guard. It runs in short episodes with fixed seeds until
the independent judge finds the violation that the guard is there to prevent; the whole filter
survives the same episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from vla_ros.bench.control import without_stop
from vla_ros.bench.episode import JERK
from vla_ros.bench.invariance import Invariance
from vla_ros.safety import SafetyFilter

TICKS = 400  # of an episode
MOST = 40  # episodes before a mutant counts as harmless


def with_limits(name: str, factor: float) -> Callable:
    """Return what makes a filter that believes in another limit than the judge."""

    def make(robot, config):
        joints = tuple(replace(j, **{name: getattr(j, name) * factor}) for j in robot.joints)
        return SafetyFilter(robot.with_arm(joints=joints), config)

    return make


def without_limit_check(robot, config):
    """Return a filter whose box and stop know no position limits."""
    joints = tuple(replace(j, lower=j.lower - 9.0, upper=j.upper + 9.0) for j in robot.joints)
    return SafetyFilter(robot.with_arm(joints=joints), config)


def without_floor(robot, config):
    return SafetyFilter(replace(robot, floor_height=None), config)


def without_own_pairs(robot, config):
    names = [c.name for c in robot.capsules]
    every = tuple((a, b) for a in names for b in names if a < b)
    return SafetyFilter(replace(robot, ignored_pairs=every), config)


class Blind(SafetyFilter):
    """Sees no obstacle."""

    def step(self, state, plan, world, now, dt):
        return super().step(state, plan, type(world)(world.stamp), now, dt)


class Frozen(SafetyFilter):
    """Believes that everything stands still and is known exactly."""

    def step(self, state, plan, world, now, dt):
        zero = np.zeros(3)
        still = tuple(
            replace(
                o, linear_velocity=zero, angular_velocity=zero, uncertainty=0.0,
                uncertainty_rate=0.0, acceleration=0.0,
            )
            for o in world.obstacles
        )  # fmt: skip
        return super().step(state, plan, type(world)(world.stamp, still), now, dt)


class Hasty(SafetyFilter):
    """Brakes at once, whatever the acceleration limit."""

    def _brake(self, faults, phi, seen):
        self._v = np.zeros_like(self._v)
        return super()._brake(faults, phi, seen)


class Gullible(SafetyFilter):
    """Takes what was wanted for the solver's answer, against which box and rows say nothing."""

    def _settle(self, answer, rows, *others):
        work = self.scene.work
        work.lo[:], work.hi[:] = -np.inf, np.inf
        x = np.append(work.desired, [0.0, 0.0])
        return super()._settle((x, np.zeros(len(x))), 0, *others)


@dataclass(frozen=True)
class Mutant:
    """One guard removed, and a word of what then goes wrong."""

    guard: str
    make: Callable
    harm: tuple[str, ...]


MUTANTS = (
    Mutant('the verified stop', without_stop, ('contact', 'stop', 'lower', 'upper', 'motion')),
    Mutant('position limits', without_limit_check, ('lower', 'upper', 'stop beyond')),
    Mutant('velocity limit', with_limits('velocity', 1.2), ('speed', 'step')),
    Mutant('acceleration limit', with_limits('acceleration', 1.2), ('acceleration',)),
    Mutant('acceleration of a brake', Hasty, ('acceleration', 'step')),
    Mutant('rows of the floor', without_floor, ('contact', 'stop touches')),
    Mutant('pairs of the arm itself', without_own_pairs, ('contact', 'stop touches')),
    Mutant('obstacles', Blind, ('contact', 'stop touches', 'motion')),
    Mutant('motion of obstacles', Frozen, ('contact', 'motion')),
    Mutant("check of the solver's answer", Gullible, ('acceleration', 'step', 'lower')),
)


def first_harm(robot, config, make, most=MOST):
    """Return the first violation that is a matter of safety, None if there is none."""
    run = Invariance(robot, [config], 8, make)
    for number in range(most):
        for violation in run.episode(number, TICKS).violations:
            if violation.what != JERK:
                return violation
    return None


@pytest.mark.parametrize('mutant', MUTANTS, ids=lambda m: m.guard)
def test_without_a_guard_the_attack_gets_through(robot, config, mutant):
    found = first_harm(robot, config, mutant.make)
    assert found is not None, f'{mutant.guard}: nothing happens without it'
    assert found.what.startswith(mutant.harm), found


def test_with_all_guards_nothing_gets_through(robot, config):
    assert first_harm(robot, config, SafetyFilter, 12) is None
