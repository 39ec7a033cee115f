"""The values that flow between the rooms: frozen, shape-checked, SI units.

Dimension letters: T points or steps of a horizon, A action dimensions, C those of an action
that is relative to nothing, n joints (gripper joints last), H W image height and width.
Quaternions are xyzw. Time is float seconds of the ROS clock unless a field says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vla_ros.errors import ShapeError

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # xyzw


def frozen(value: object, shape: tuple[int | None, ...], name: str) -> Array:
    """Return a read-only float64 copy of an array after checking its shape.

    An array that is read-only already, and its own, is not copied.

    Args:
        value: Anything that numpy turns into numbers.
        shape: The expected shape; None accepts any length of that axis.
        name: What the array is, for the message.

    Raises:
        ShapeError: The shape differs or the content is not numeric.
    """
    array: Array
    if _is_frozen(value):
        array = value  # type: ignore[assignment]
    else:
        try:
            array = np.array(value, dtype=np.float64, order='C')
        except (TypeError, ValueError) as error:
            raise ShapeError(f'{name} must be numbers: {error}.') from error
    fits = array.ndim == len(shape)
    for want, got in zip(shape, array.shape):
        if want is not None and want != got:
            fits = False
    if not fits:
        expected = '(' + ', '.join('any' if s is None else str(s) for s in shape) + ')'
        raise ShapeError(f'{name} has shape {array.shape}, expected {expected}.')
    array.setflags(write=False)
    return array


def _is_frozen(value: object) -> bool:
    """Whether it is an array of numbers that nobody can change; a view may be, by its base."""
    if type(value) is not np.ndarray:
        return False
    flags = value.flags
    plain = value.base is None and value.dtype.char == 'd' and flags.c_contiguous
    return plain and not flags.writeable


@dataclass(frozen=True)
class JointState:
    """Measured joints, in the order of the robot file."""

    stamp: float  # [s]
    position: Array  # (n,) [rad] or [m]
    velocity: Array  # (n,) [rad/s] or [m/s]

    def __post_init__(self) -> None:
        position = frozen(self.position, (None,), 'JointState.position')
        object.__setattr__(self, 'position', position)
        velocity = frozen(self.velocity, position.shape, 'JointState.velocity')
        object.__setattr__(self, 'velocity', velocity)


@dataclass(frozen=True)
class Frame:
    """One camera picture and its capture time."""

    stamp: float  # [s]
    image: Image  # (H, W, 3) uint8 RGB

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 3 or self.image.shape[2] != 3:
            raise ShapeError(
                f'Frame.image is {self.image.dtype}{self.image.shape}, expected uint8 (H, W, 3).'
            )


@dataclass(frozen=True)
class Depth:
    """One picture of distances and its capture time."""

    stamp: float  # [s]
    distance: NDArray[np.float32]  # (H, W) [m] along the optical axis; nan: none measured


@dataclass(frozen=True)
class Observation:
    """What a policy sees at one instant."""

    stamp: float  # [s] t_obs: capture time of the oldest picture used
    frames: Mapping[str, Frame]  # camera name -> newest picture
    joints: JointState  # interpolated to stamp
    instruction: str


@dataclass(frozen=True)
class ActionChunk:
    """What a policy answers, in its own action space."""

    stamp: float  # [s] t_obs of the observation it answers
    actions: Array  # (T, A) [as PolicySpec.action declares, per slice]
    step: float  # [s] spacing; action k is due at stamp + (k + 1) * step
    timings: Mapping[str, float] = field(default_factory=dict)  # stage of the policy -> [s]

    def __post_init__(self) -> None:
        object.__setattr__(self, 'actions', frozen(self.actions, (None, None), 'actions'))
        if not self.step > 0.0:
            raise ShapeError(f'ActionChunk.step is {self.step} s, expected more than 0.')


@dataclass(frozen=True)
class Guidance:
    """How the sampler of a flow policy takes a prefix into account."""

    jacobian: str  # 'exact', 'identity', or 'trained': the network itself takes the prefix
    schedule: str = 'exp'  # of the weights between delay and horizon, a word of SCHEDULES
    limit: float = 5.0  # largest guidance weight


@dataclass(frozen=True)
class ChunkPrefix:
    """What is known of the next chunk's steps before it is computed.

    Step k is due as in the chunk: one `step` of plan time after step k - 1.
    """

    actions: Array  # (K, C) executed, then as planned, as Codec.absolute has them; K <= T
    delay: int  # d: steps that run before the chunk can arrive
    horizon: int  # s: steps between its observation and that of the chunk after it
    guidance: Guidance | None = None  # None: the sampler runs free

    def __post_init__(self) -> None:
        object.__setattr__(self, 'actions', frozen(self.actions, (None, None), 'prefix'))
        if self.delay < 0 or self.horizon < 1:
            raise ShapeError(
                f'ChunkPrefix has delay {self.delay} and horizon {self.horizon}, expected at '
                'least 0 and 1.'
            )


@dataclass(frozen=True)
class Trajectory:
    """Joint positions over time, anchored at the observation they answer."""

    stamp: float  # [s] t_obs: the unique, strictly increasing key
    times: Array  # (T,) [s] time_from_start, strictly increasing, >= 0
    positions: Array  # (T, n) [rad] or [m], joints in the order of the robot file
    velocities: Array | None = None  # (T, n) [rad/s] or [m/s]; None = finite differences

    def __post_init__(self) -> None:
        times = frozen(self.times, (None,), 'Trajectory.times')
        object.__setattr__(self, 'times', times)
        positions = frozen(self.positions, (len(times), None), 'Trajectory.positions')
        object.__setattr__(self, 'positions', positions)
        if self.velocities is not None:
            velocities = frozen(self.velocities, positions.shape, 'Trajectory.velocities')
            object.__setattr__(self, 'velocities', velocities)


class PlanPieces(NamedTuple):
    """A plan as one cubic between two points, over plan time; plain arrays for compiled code.

    On piece i, p(x) = c0 + c1 x + c2 x^2 + c3 x^3 with x = phi - due[i]; at rest outside.
    """

    due: Array  # (T,) [s] plan time of every point, strictly increasing
    points: Array  # (T, n) [rad] or [m]
    cubics: Array  # (T - 1, 4, n) c0 to c3
    fastest: Array  # (T - 1, n) [rad/s] largest |velocity| of a piece
    hardest: Array  # (T - 1, n) [rad/s^2] largest |acceleration| of a piece


@dataclass(frozen=True)
class JointCommand:
    """One filtered command and the verified stop that follows it.

    Row 0 is due one control period after `stamp`; the last row is at rest.
    """

    stamp: float  # [s]
    times: Array  # (T,) [s] after stamp
    positions: Array  # (T, n) [rad] or [m]
    velocities: Array  # (T, n) [rad/s] or [m/s]

    def __post_init__(self) -> None:
        times = frozen(self.times, (None,), 'JointCommand.times')
        object.__setattr__(self, 'times', times)
        positions = frozen(self.positions, (len(times), None), 'JointCommand.positions')
        object.__setattr__(self, 'positions', positions)
        velocities = frozen(self.velocities, positions.shape, 'JointCommand.velocities')
        object.__setattr__(self, 'velocities', velocities)

    @classmethod
    def own(cls, stamp: float, times: Array, positions: Array, velocities: Array) -> JointCommand:
        """Return a command of arrays that nobody else has; they become read-only.

        The plain form, `JointCommand(...)`, checks and copies, which takes a tenth of a tick.
        """
        for array in times, positions, velocities:
            array.setflags(write=False)
        command = object.__new__(cls)
        command.__dict__.update(
            stamp=stamp, times=times, positions=positions, velocities=velocities
        )
        return command


@dataclass(frozen=True)
class Provenance:
    """How a chunk came about: enough to attribute and to replay it."""

    instruction: str
    instruction_id: int
    seed: int
    input_stamps: Mapping[str, float]  # source name -> [s]
    input_ages: Mapping[str, float]  # source name -> [s] at inference start
    delay_steps: int  # policy steps consumed between stamp and publication
    timings: Mapping[str, float] = field(default_factory=dict)  # stage -> [s]
    policy: str = ''  # its name
    instruction_seed: int = 0  # what Policy.reset was given
    inference: int = 0  # inferences since that reset; with instruction_seed it gives seed
    actions: Array = field(default_factory=lambda: np.zeros((0, 0)))  # (T, A) the raw answer
    prefix: ChunkPrefix | None = None  # what the policy was given
    plan_clock: tuple[float, float] | None = None  # [s] at stamp, and when it was joined
