"""What the nodes tell each other about themselves, as plain values; times in float seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import enum
from typing import NamedTuple

import numpy as np

from vla_ros.types import Array, frozen

Percentiles = tuple[float, float, float]  # p50, p95, p99


class PolicyPhase(enum.IntEnum):
    """What the policy node is doing; the numbers are those of PolicyStatus.msg."""

    IDLE = 0  # no instruction
    WAITING_FOR_INPUT = 1  # has an instruction, lacks a fresh input
    RUNNING = 2  # publishes chunks
    STOPPED = 3  # deactivated
    ERROR = 4


class RunCode(enum.IntEnum):
    """How an instruction ended; the numbers are those of RunInstruction.action."""

    NONE = 0
    SUCCEEDED = 1
    TIME_LIMIT = 2
    CANCELED = 3
    SUPERSEDED = 4  # a newer instruction took over
    SAFETY_STOP = 5
    POLICY_ERROR = 6


class GoalCode(enum.IntEnum):
    """How a trajectory goal ended; the numbers are those of FollowJointTrajectory.action."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class Hold(NamedTuple):
    """What the forwarder does with the stream of a driver."""

    streams: bool  # what comes is passed on
    place: Array | None = None  # (dof,) [rad] where it stopped the arm; None: it did not
    reason: str = ''  # why it did


@dataclass(frozen=True)
class ExecutionState:
    """What the safety filter is doing with the plan."""

    stamp: float  # [s] start of the control tick
    plan_clock: float  # [s] Phi(stamp)
    rate: float  # sigma = dPhi/dt, in [0, 1]
    accepted_plan: float | None  # [s] stamp of the chunk in use; None: none accepted
    accepted_plan_clock: float  # [s] Phi at that stamp
    joint_names: tuple[str, ...]
    reference_position: Array  # (n,) [rad] or [m] command after the filter
    reference_velocity: Array  # (n,) [rad/s] or [m/s]
    level: int  # S0 to S4

    def __post_init__(self) -> None:
        count = len(self.joint_names)
        for name in ('reference_position', 'reference_velocity'):
            object.__setattr__(self, name, frozen(getattr(self, name), (count,), name))


@dataclass(frozen=True)
class SafetyStatus:
    """What the safety filter did in one tick, and why."""

    stamp: float  # [s] start of the control tick
    level: int  # S0 to S4
    reason: str  # short machine key, empty at S0
    message: str  # one sentence for a human
    latched: bool  # stays until the reset service is called
    mode: str = ''  # which interventions are allowed
    intervention: str = ''  # which acted; empty: none
    source: str = ''  # whose trajectory is followed: policy, override; empty: nobody's
    dry_run: bool = False  # the commands are not sent
    speed_scale: float = 1.0  # bound of the plan clock's rate, in [0, 1]
    active_constraints: tuple[str, ...] = ()
    min_barrier: float = float('inf')  # [m] smallest distance less its margin
    min_barrier_pair: str = ''
    nearest_pairs: tuple[str, ...] = ()  # (k,) of the smallest barriers, smallest first
    nearest_distances: Array = field(default_factory=lambda: np.zeros(0))  # (k,) [m]
    nearest_margins: Array = field(default_factory=lambda: np.zeros(0))  # (k,) [m]
    slack: float = 0.0  # largest violation of a soft row
    nominal_velocity: Array = field(default_factory=lambda: np.zeros(0))  # (n,) [rad/s]
    filtered_velocity: Array = field(default_factory=lambda: np.zeros(0))  # (n,) [rad/s]
    cycle_time: float = 0.0  # [s] computing time of the tick
    ticks: int = 0
    missed_ticks: int = 0  # deadlines that passed before their tick began
    filtered_ticks: int = 0  # ticks at S1
    braked_ticks: int = 0  # ticks at S2 or above
    longest_gap: float = 0.0  # [s] between two commands

    def figures(self) -> dict[str, object]:
        """Return what diagnostics list: a key that ends in a unit has its value in that unit."""
        apart = [f'{distance:.4f}' for distance in self.nearest_distances]
        velocities = (self.nominal_velocity, self.filtered_velocity)
        fastest = [float(np.abs(v).max(initial=0.0)) for v in velocities]
        return {
            'level': self.level,
            'reason': self.reason,
            'latched': self.latched,
            'mode': self.mode,
            'intervention': self.intervention,
            'source': self.source,
            'dry_run': self.dry_run,
            'speed_scale': self.speed_scale,
            'active_constraints': ', '.join(self.active_constraints),
            'min_barrier_m': self.min_barrier,
            'min_barrier_pair': self.min_barrier_pair,
            'nearest_pairs': ', '.join(self.nearest_pairs),
            'nearest_distances_m': ', '.join(apart),
            'slack_m_per_s': self.slack,
            'fastest_nominal_joint_rad_per_s': fastest[0],
            'fastest_filtered_joint_rad_per_s': fastest[1],
            'cycle_time_s': self.cycle_time,
            'ticks': self.ticks,
            'missed_ticks': self.missed_ticks,
            'filtered_ticks': self.filtered_ticks,
            'braked_ticks': self.braked_ticks,
            'longest_gap_s': self.longest_gap,
        }


@dataclass(frozen=True)
class SourceStatus:
    """One input of the policy node."""

    age: float  # [s] of the newest message; inf before the first
    received: int  # messages that reached the callback
    superseded: int  # replaced by a newer one before use


@dataclass(frozen=True)
class PolicyStatus:
    """State, rate and timing of the policy node; percentiles over a window of chunks."""

    stamp: float  # [s]
    phase: PolicyPhase
    message: str
    instruction: str
    instruction_id: int
    rate: float = 0.0  # [Hz] chunks published
    strategy: str = ''  # how a chunk follows the one before
    execution_horizon: int = 0  # s, policy steps between two observations; 0: none is possible
    delay_steps: int = 0  # d, policy steps that run before a chunk arrives, the most of late
    supply: str = 'none'  # of the plan, a word of nodes/supply.py
    transport: Percentiles = (0.0, 0.0, 0.0)  # [s] t_obs to the callback of that picture
    frame_wait: Percentiles = (0.0, 0.0, 0.0)  # [s] that callback to the start of pre-processing
    preprocess: Percentiles = (0.0, 0.0, 0.0)  # [s]
    inference: Percentiles = (0.0, 0.0, 0.0)  # [s]
    publish: Percentiles = (0.0, 0.0, 0.0)  # [s] decoding and publishing
    total: Percentiles = (0.0, 0.0, 0.0)  # [s] t_obs to published
    filter: Percentiles = (0.0, 0.0, 0.0)  # [s] published to the first report of its use
    chunks: int = 0
    sources: Mapping[str, SourceStatus] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskStatus:
    """What the simulator knows about the task; never an input of a policy."""

    stamp: float  # [s]
    suite: str
    task: str
    instruction: str
    seed: int
    step: int  # policy steps since the reset
    step_limit: int
    success: bool
    done: bool  # success or step limit
    target: str  # object that the sentence names
    phase: str
    tool_to_target: float  # [m] to the target's surface
