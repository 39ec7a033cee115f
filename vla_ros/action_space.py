"""What the numbers of actions and states mean: kind, unit, rotation, reference, range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.rotation import ANGLES, SEVERAL, WIDTHS

REFERENCES = (  # what an action is relative to
    'absolute',
    'observation',  # each step to where the robot was at t_obs
    'previous',  # to the step before; the first to where the robot was at t_obs
)
FRAMES = (  # in which a tool delta (d, D) changes the tool's pose (p, R)
    'base',  # p + d, D R: along and about the axes of the base
    'tool',  # p + R d, R D: along and about the tool's own axes
)


class Kind(NamedTuple):
    """A meaning that a slice can have."""

    units: tuple[str, ...]
    size: int | None  # dimensions, without those of a rotation; None: one for each arm joint
    references: tuple[str, ...] = ()
    absolute: str = ''  # kind of the same action when it is relative to nothing


# Units of tool_pose and tool_delta: 'm_rad' where the rotation is written in angles, else 'm'.
ACTION_KINDS = {
    # tool centre point, base frame; the tool keeps the orientation that it has at home
    'tool_position': Kind(('m',), 3, REFERENCES, 'tool_position'),
    'tool_pose': Kind(('m', 'm_rad'), 3, ('absolute',), 'tool_pose'),  # base frame
    'tool_delta': Kind(('m', 'm_rad'), 3, ('observation', 'previous'), 'tool_pose'),
    'joint_position': Kind(('rad',), None, ('absolute', 'observation'), 'joint_position'),
    'joint_delta': Kind(('rad',), None, ('observation', 'previous'), 'joint_position'),
    # lasts one step, from where the step before ended
    'joint_velocity': Kind(('rad/s',), None, ('absolute',), 'joint_position'),
    # 'open_fraction': 0 closed, 1 open; 'range': from the value `closed` to the value `open`
    'gripper': Kind(('open_fraction', 'range'), 1, REFERENCES, 'gripper'),
}
STATE_KINDS = {
    'tool_position': Kind(('m',), 3),
    'tool_pose': Kind(('m', 'm_rad'), 3),
    'joint_position': Kind(('rad',), None),
    'joint_velocity': Kind(('rad/s',), None),
    'gripper': Kind(('open_fraction', 'range'), 1),
}


@dataclass(frozen=True)
class Slice:
    """Consecutive dimensions of one meaning; nothing that it needs is guessed."""

    kind: str
    unit: str
    # which of several; None: the only one, or of joints all arms, one after the other
    arm: str | None = field(default=None, kw_only=True)
    rotation: str | None = field(default=None, kw_only=True)  # of a pose, a word of WIDTHS
    # of a tool_pose: of the angles [rad] or quaternions of one rotation the nearest to this
    near: tuple[float, ...] | None = field(default=None, kw_only=True)
    closed: float | None = field(default=None, kw_only=True)  # of a gripper in unit 'range'
    open: float | None = field(default=None, kw_only=True)

    kinds: ClassVar[Mapping[str, Kind]]
    word: ClassVar[str]

    def __post_init__(self) -> None:
        what = f"{self.word} '{self.kind}'"
        if self.kind not in self.kinds:
            raise UnknownNameError(f'{self.word} kind', self.kind, self.kinds)
        units = self.kinds[self.kind].units
        if self.turns:
            if self.rotation is None:
                raise ConfigError(f'{what} declares no rotation, expected one of {_list(WIDTHS)}.')
            if self.rotation not in WIDTHS:
                raise UnknownNameError('rotation', self.rotation, WIDTHS, what)
            units = units[1:] if self.rotation in ANGLES else units[:1]
        elif self.rotation is not None:
            raise ConfigError(f'{what} has no rotation; only a tool_pose or a tool_delta has.')
        if self.near is not None:
            if self.kind != 'tool_pose' or self.rotation not in SEVERAL:
                raise ConfigError(f'{what}: near goes with a tool_pose in angles or quaternions.')
            size = WIDTHS[self.rotation]
            if len(self.near) != size or not np.isfinite(self.near).all():
                raise ConfigError(f'{what}: near is {self.near}, expected {size} numbers.')
        if self.unit not in units:
            raise ConfigError(f"{what} is in '{self.unit}', expected {_list(units)}.")
        ends = self.closed, self.open
        if self.unit == 'range':
            if None in ends or not np.isfinite(ends).all() or self.closed == self.open:  # type: ignore[arg-type]
                raise ConfigError(
                    f"{what} in 'range' has closed {self.closed} and open {self.open}, expected "
                    'the two different values that it has then.'
                )
        elif ends != (None, None):
            raise ConfigError(f"{what} is in '{self.unit}': closed and open go with 'range' only.")

    @property
    def of_joints(self) -> bool:
        """Whether it has a dimension for each joint."""
        return self.kinds[self.kind].size is None

    @property
    def turns(self) -> bool:
        """Whether it has a rotation."""
        return self.kind in ('tool_pose', 'tool_delta')

    @property
    def ends(self) -> tuple[float, float]:
        """Values of a closed and of an open gripper."""
        closed, opened = self.closed, self.open
        return (0.0, 1.0) if closed is None or opened is None else (closed, opened)

    def width(self, dof: int) -> int:
        """Return how many dimensions it takes where its arms have `dof` joints."""
        return (self.kinds[self.kind].size or dof) + WIDTHS.get(self.rotation or '', 0)


@dataclass(frozen=True)
class ActionSlice(Slice):
    """Consecutive action dimensions of one meaning."""

    relative_to: str = 'absolute'  # a word of REFERENCES
    binary: bool = False  # a gripper that is open or closed; what lies between changes nothing
    frame: str | None = None  # of a tool_delta, a word of FRAMES
    scale: float = 1.0  # [unit] that an action of 1 means: m, rad or rad/s
    rotation_scale: float = 1.0  # [rad] that an angle of 1 means, of a pose or a delta

    kinds: ClassVar[Mapping[str, Kind]] = ACTION_KINDS
    word: ClassVar[str] = 'action'

    def __post_init__(self) -> None:
        super().__post_init__()
        what, references = f"action '{self.kind}'", ACTION_KINDS[self.kind].references
        if self.relative_to not in REFERENCES:
            raise UnknownNameError('action reference', self.relative_to, REFERENCES, what)
        if self.relative_to not in references:
            raise ConfigError(
                f"{what} is relative_to '{self.relative_to}', expected {_list(references)}."
            )
        if self.binary and self.kind != 'gripper':
            raise ConfigError(f'{what} is binary; only a gripper can be.')
        if self.kind == 'tool_delta':
            if self.frame is None:
                raise ConfigError(f'{what} declares no frame, expected {_list(FRAMES)}.')
            if self.frame not in FRAMES:
                raise UnknownNameError('frame', self.frame, FRAMES, what)
        elif self.frame is not None:
            raise ConfigError(f'{what} has no frame to choose; only a tool_delta has.')
        for name in 'scale', 'rotation_scale':
            value = getattr(self, name)
            if not 0.0 < value < np.inf:
                raise ConfigError(f'{what}: {name} is {value}, expected a number above 0.')
        if self.kind == 'gripper' and self.scale != 1.0:
            raise ConfigError(f"{what} has scale {self.scale}; write unit 'range' instead.")
        if self.rotation_scale != 1.0 and self.rotation not in ANGLES:
            raise ConfigError(f'{what} has a rotation_scale, but no angles.')

    @property
    def absolute_kind(self) -> str:
        """Kind of the same action when it is relative to nothing."""
        return ACTION_KINDS[self.kind].absolute

    @property
    def chained(self) -> bool:
        """Whether a step begins where the step before ended."""
        return self.relative_to == 'previous' or self.kind == 'joint_velocity'


@dataclass(frozen=True)
class StateSlice(Slice):
    """Consecutive state dimensions of one meaning, as they are at t_obs."""

    scale: float = 1.0  # [unit] that a value of 1 means, of joints and positions: m, rad, rad/s

    kinds: ClassVar[Mapping[str, Kind]] = STATE_KINDS
    word: ClassVar[str] = 'state'

    def __post_init__(self) -> None:
        super().__post_init__()
        what = f"state '{self.kind}'"
        if not 0.0 < self.scale < np.inf:
            raise ConfigError(f'{what}: scale is {self.scale}, expected a number above 0.')
        if self.scale != 1.0 and self.kind in ('gripper', 'tool_pose'):
            raise ConfigError(
                f'{what} has scale {self.scale}; only joints and positions can have one.'
            )


def _list(words: Iterable[str]) -> str:
    return ' or '.join(f"'{word}'" for word in words)
