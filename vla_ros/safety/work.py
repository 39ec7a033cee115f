"""The buffers of a tick and the numbers that it needs, as compiled code takes them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from vla_ros.safety.chain import Floats, Ints, Pose
from vla_ros.safety.check import SCRATCH
from vla_ros.safety.check_plan import FINEST
from vla_ros.safety.compiled import compiled
from vla_ros.safety.config import SafetyConfig
from vla_ros.safety.pace import SLOWEST
from vla_ros.safety.separation import NOBODY

NOTES = 16  # reasons of one tick at most, besides rows and joints
SOFT = 7  # soft rows of an arm at most: six sides of the workspace, and manipulability
SHARES = (0.0, 0.5, 1.0)  # of the time of a straight stop, where it has a point
POINTS = len(SHARES)
FREE = 1e30  # no bound, to the solver


class Knobs(NamedTuple):
    """Numbers of the configuration that a tick needs."""

    gamma: float  # [1/s] of the barriers
    reach: float  # [m] at which a clearance becomes a row
    glide: float  # [m] beyond a margin that the program keeps
    recover: float  # [rad/s] fastest motion back into the limits
    rise: float  # [1/s] largest increase of sigma
    lag_limit: float  # [rad] error at which the plan waits
    slowest: float  # sigma below which the plan's own acceleration is not waited for
    tool_speed: float  # [m/s] largest speed of the tool centre
    scale: float  # largest sigma, in (0, 1]
    walking: float  # [m/s] speed of a person at least
    reaction: float  # [s] of sensors and drivers
    intrusion: float  # [m] of a person beyond what is seen
    ties: bool  # on the plan's way only sigma gives way
    deviates: bool  # the program may leave the plan's way at all
    patience: float  # [s] that a body may hold up the plan; then the arm goes around it
    held_up: float  # sigma below which it does
    along: bool  # only a stop along the plan counts
    blends: int  # how many shares of what is wanted are tried
    verified: bool  # a stop behind the velocity must be clear
    slack: float  # root of the weight of the program's slack [(rad/s) / (m/s)]
    ease: float  # the same of its soft rows
    rejoin: float  # of the acceleration, on the way back to the plan
    period: float  # [s] of a tick
    singular: float  # manipulability that is preferred, 0 for none
    bounded: bool  # a workspace is preferred, with these corners [m]
    low_x: float
    low_y: float
    low_z: float
    high_x: float
    high_y: float
    high_z: float


def knobs_of(config: SafetyConfig, scale: float) -> Knobs:
    """Return the numbers of a configuration and the largest sigma."""
    space = config.workspace
    low, high = ((0.0,) * 3, (0.0,) * 3) if space is None else (space.low, space.high)
    return Knobs(
        gamma=config.barrier_gain,
        reach=config.row_reach,
        glide=config.glide,
        recover=config.recover_velocity,
        rise=config.rate_rise,
        lag_limit=config.lag_limit,
        slowest=SLOWEST,
        tool_speed=config.tool_speed,
        scale=scale,
        walking=config.person_speed,
        reaction=config.reaction_time,
        intrusion=config.intrusion,
        ties=config.mode in ('path', 'path+cbf'),
        deviates=config.mode in ('cbf', 'path+cbf'),
        patience=config.slow_patience if config.mode == 'path+cbf' else math.inf,
        held_up=config.slow_rate,
        along=config.mode == 'path',
        blends=1 if config.mode == 'stop' else 3,
        verified=config.mode != 'off',
        slack=math.sqrt(config.slack_weight),
        ease=math.sqrt(config.soft_weight),
        rejoin=config.rejoin_acceleration,
        period=config.period,
        singular=config.singularity,
        bounded=space is not None,
        low_x=low[0],
        low_y=low[1],
        low_z=low[2],
        high_x=high[0],
        high_y=high[1],
        high_z=high[2],
    )


@compiled
def knobs_in(f: Floats) -> Knobs:
    """Return the knobs that an array of their values holds."""
    return Knobs(
        f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7], f[8], f[9], f[10], f[11], f[12] != 0.0,
        f[13] != 0.0, f[14], f[15], f[16] != 0.0, int(f[17]), f[18] != 0.0, f[19], f[20], f[21],
        f[22], f[23], f[24] != 0.0, f[25], f[26], f[27], f[28], f[29], f[30],
    )  # fmt: skip


class Program(NamedTuple):
    """The solver's arrays for n joints and K hard and S soft rows; first r that can bind."""

    target: Floats  # (n + 2,) less the wanted velocity; 0 for both slacks
    matrix: Floats  # (K + S, n + 2)
    lower: Floats  # (n + 2 + K + S,)
    upper: Floats  # (n + 2 + K + S,)
    which: Ints  # (K + S,) which row of the tick each is


class Work(NamedTuple):
    """Buffers of a tick for n joints, g grippers, m capsules, K hard and S soft rows."""

    pose: Pose
    h: Floats  # (K,) [m] clearances
    g: Floats  # (K + S, n) [m/rad] rows of the program, the first `count` and the soft ones
    bound: Floats  # (K + S,) [m/s]
    which: Ints  # (K + S,) which of the K each row is, or a reason
    allowed: Floats  # (K,) [m] clearance that a stop must keep
    again: Floats  # (K,) of the checks
    person: Floats  # (3,) nearest one: distance [m], speed [m/s], our time to react [s]
    detour: Floats  # (3,) first side on which the arm goes around, way, time without one [s]
    lo: Floats  # (n,) [rad/s] box
    hi: Floats  # (n,) [rad/s]
    here: Floats  # (n,) [rad] p(phi)
    slope: Floats  # (n,) [rad/s] p'(phi)
    error: Floats  # (n,) [rad] p(phi) less reference
    back: Floats  # (n,) [rad/s] way back to the plan
    fast: Floats  # (n,) [rad/s] largest |p'| soon
    hard: Floats  # (n,) [rad/s^2] largest |p''| soon
    chord: Floats  # (n,) [rad/s] (p(phi + sigma dt) - p(phi)) / dt
    wanted: Floats  # (n,) [rad/s] chord and way back
    desired: Floats  # (n,) [rad/s] the same, cut to the limits of joints, tool and persons
    best: Floats  # (n,) [rad/s] the program's answer
    chosen: Floats  # (n,) [rad/s] the same, blended towards the brake
    place: Floats  # (n,) [rad] after the step
    bend: Floats  # (n,) [rad/s^2] of the step
    rest: Floats  # (n,) [rad/s] part of a velocity that is not the plan's
    spare: Floats  # (n,)
    linear: Floats  # (n + 1, 3) of the checks
    angular: Floats  # (n + 1, 3)
    nodes: Floats  # (FINEST + 1, n)
    times: Floats  # (FINEST + 1,)
    low: Floats  # (FINEST, n)
    high: Floats  # (FINEST, n)
    scratch: Floats  # (SCRATCH, n or 3), what a function needs within itself
    gram: Floats  # (12, n or 6) of the manipulability
    stop_times: Floats  # (T,) [s] of the step's points and those of a straight stop
    stop_places: Floats  # (T, n + g) [rad], [m]
    stop_speeds: Floats  # (T, n + g) [rad/s], [m/s]
    grip: Floats  # (g,) [m] where the plan wants the grippers
    program: Program
    notes: Ints  # (K + n + NOTES,) what held the velocity back: rows, joints and reasons


VECTORS = (  # the buffers of shape (n,)
    'lo', 'hi', 'here', 'slope', 'error', 'back', 'fast', 'hard', 'chord', 'wanted', 'desired',
    'best', 'chosen', 'place', 'bend', 'rest', 'spare',
)  # fmt: skip


def make_work(joints: int, grippers: int, arms: int, capsules: int, rows: int) -> Work:
    """Return buffers of zeros."""
    n, every, most = joints, joints + grippers, rows + SOFT * arms
    pose = Pose(
        np.zeros((n, 3, 3)), np.zeros((n, 3)), np.zeros((n, 3)), np.zeros((capsules, 2, 3))
    )
    vectors = {name: np.zeros(n) for name in VECTORS}
    return Work(
        pose=pose, h=np.zeros(rows), g=np.zeros((most, n)), bound=np.zeros(most),
        which=np.zeros(most, np.int64), allowed=np.zeros(rows), again=np.zeros(rows),
        person=np.array([NOBODY, 0.0, 0.0]),
        detour=np.zeros(3),
        linear=np.zeros((n + 1, 3)), angular=np.zeros((n + 1, 3)),
        nodes=np.zeros((FINEST + 1, n)), times=np.zeros(FINEST + 1),
        low=np.zeros((FINEST, n)), high=np.zeros((FINEST, n)),
        scratch=np.zeros((SCRATCH, max(n, 3))),
        gram=np.zeros((12, max(n, 6))),
        stop_times=np.zeros(POINTS), stop_places=np.zeros((POINTS, every)),
        stop_speeds=np.zeros((POINTS, every)), grip=np.zeros(grippers),
        program=Program(
            np.zeros(n + 2), np.zeros((most, n + 2)), np.full(n + 2 + most, -FREE),
            np.full(n + 2 + most, FREE), np.zeros(most, np.int64),
        ),
        notes=np.zeros(rows + n + NOTES, np.int64),
        **vectors,
    )  # fmt: skip
