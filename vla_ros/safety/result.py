"""What one tick of the safety filter answers, and the plan that it asks for."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple, Protocol

from vla_ros.safety.stop import Choice
from vla_ros.types import Array, JointCommand, PlanPieces


class Level(enum.IntEnum):
    """The ladder; the numbers are those of SafetyStatus.msg."""

    S0_NOMINAL = 0  # the command passed unchanged
    S1_FILTERED = 1  # slowed down or deviated
    S2_VERIFIED_BRAKE = 2  # stops, or stays at rest, by a path that was verified before
    S3_HOLD = 3  # the same, until a reset where the fault latches
    S4_DRIVER_STOP = 4  # the driver is asked to stop


class Plan(Protocol):
    """What the filter needs of a plan; `vla_ros.actions.Plan` is the one there is."""

    accepted_at: float | None  # [s] ROS time of the last acceptance, None before the first
    refusal: Any  # of the newest trajectory if it was refused: its `fault`; else None
    lasting: bool  # a trajectory holds to its end, without a newer one

    @property
    def stamp(self) -> float | None:
        """Stamp of the chunk in use [s], None for none."""

    @property
    def start(self) -> float:
        """Plan time of the first point [s]."""

    @property
    def end(self) -> float:
        """Plan time of the last point [s]."""

    def advance(self, now: float, rate: float, dt: float) -> float:
        """Advance the plan clock and return Phi(now) [s]."""

    @property
    def pieces(self) -> PlanPieces:
        """Cubics over plan time; a new object whenever the plan changes."""


class SafetyResult(NamedTuple):
    """The command of one tick and what was done to it."""

    command: JointCommand | None  # next point and the stop after it; None: nothing may be sent
    level: Level
    reason: str  # key of the fault table, or what filtered at S1; empty at S0
    message: str  # one sentence for a human
    latched: bool  # stays until `clear` or `reset`
    faults: tuple[str, ...]  # every fault of this tick, worst first
    active_constraints: tuple[str, ...]  # rows and joint limits that bind
    min_barrier: float  # [m] smallest clearance less its margin
    min_barrier_pair: str
    slack: float  # [m/s] largest violated row of the program
    nominal_velocity: Array  # (dof,) [rad/s] wanted by the plan
    filtered_velocity: Array  # (dof,) [rad/s] commanded
    phi: float  # [s] plan clock at this tick
    rate: float  # sigma from this tick on, in [0, 1]
    checks: int  # poses that the stop checks looked at
    intervention: str  # none, path, cbf, path_brake, straight_brake or off


def intervention_of(choice: Choice | None, level: Level, reason: str) -> str:
    """Name what acted in a tick: none, path, cbf, path_brake, straight_brake or off."""
    if choice is None or level is Level.S0_NOMINAL:
        return 'none'
    if choice.share == 0.0:
        return 'straight_brake' if choice.brake.plan is None else 'path_brake'
    if reason == 'off':
        return 'off'
    return 'cbf' if reason == 'deviated' else 'path'
