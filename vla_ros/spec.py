"""PolicySpec: what a policy wants and gives, known before its weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from vla_ros import config
from vla_ros.action_space import ActionSlice, Slice, StateSlice
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.robot import Arm, RobotSpec

__all__ = [
    'ALIGNMENTS', 'DTYPES', 'ActionSlice', 'ImageSpec', 'NoOptions', 'PolicySpec', 'StateSlice',
    'arms_of', 'width',
]  # fmt: skip

ALIGNMENTS = (
    'hold',  # the newest picture of each camera
    'nearest',  # of each camera the one nearest to the newest picture of the slowest
    'drop',  # as hold, but only pictures that lie within a tolerance
)
DTYPES = ('float32', 'bfloat16', 'float16')

T = TypeVar('T')


@dataclass(frozen=True)
class NoOptions:
    """Of an adapter that has none."""


@dataclass(frozen=True)
class ImageSpec:
    """One picture that the policy sees."""

    camera: str  # name in the robot file
    size: int  # [px] side of the square that the model takes
    slot: str | None = None  # name of the picture in the model; None: by the order of the file


@dataclass(frozen=True)
class PolicySpec:
    """A policy file, `config/policies/NAME.yaml`."""

    name: str
    adapter: str  # name in the registry of vla_ros.policies
    images: tuple[ImageSpec, ...]
    state: tuple[StateSlice, ...]
    action: tuple[ActionSlice, ...]
    step: float  # [s] spacing of the actions
    horizon: int  # actions in a chunk
    replan_steps: int  # actions after which a new inference starts
    checkpoint: str | None = None  # folder, relative to that of config/, or absolute
    flow_steps: int | None = None  # denoising steps of a flow policy; None = checkpoint's
    strategy: str = 'latest'  # how a chunk follows the one before, of vla_ros.actions.strategies
    strategy_options: Mapping[str, Any] = field(default_factory=dict)
    alignment: str = 'hold'  # which pictures of several cameras go together, of ALIGNMENTS
    alignment_tolerance: float = 0.05  # [s] between the pictures of one observation, for 'drop'
    options: Mapping[str, Any] = field(default_factory=dict)  # of the adapter, see `read_options`
    device: str = 'cpu'  # where the model runs, as torch writes it: 'cuda', 'cuda:1'
    dtype: str = 'float32'  # of its weights, of DTYPES
    compile: bool = False  # whether the network's hot part is compiled while it is loaded
    unnorm_key: str | None = None  # whose statistics count, where a checkpoint has several

    def __post_init__(self) -> None:
        if self.alignment not in ALIGNMENTS:
            raise UnknownNameError('alignment', self.alignment, ALIGNMENTS, f'policy {self.name}')
        if not 0.0 <= self.alignment_tolerance < np.inf:
            raise ConfigError(
                f'policy {self.name}: alignment_tolerance is {self.alignment_tolerance} s, '
                'expected 0 or more.'
            )
        if not 1 <= self.replan_steps <= self.horizon:
            raise ConfigError(
                f'policy {self.name}: replan_steps is {self.replan_steps}, expected 1 to '
                f'{self.horizon} (horizon).'
            )
        if self.dtype not in DTYPES:
            raise UnknownNameError('dtype', self.dtype, DTYPES, f'policy {self.name}')
        slots = [image.slot for image in self.images if image.slot is not None]
        if slots and (len(slots) != len(self.images) or len(set(slots)) != len(slots)):
            raise ConfigError(
                f'policy {self.name}: slots are {slots} for {len(self.images)} images, expected '
                'a different one for each, or none.'
            )
        if not self.step > 0.0:
            raise ConfigError(f'policy {self.name}: step is {self.step} s, expected more than 0.')

    @property
    def patience(self) -> float:
        """Age [s] at which a chunk is replaced although the filter holds the plan clock."""
        return 2.0 * self.replan_steps * self.step

    def read_options(self, cls: type[T]) -> T:
        """Return `options` as the frozen dataclass in which an adapter declares its own.

        Raises:
            UnknownNameError: An option is not a field of it.
            ConfigError: One is missing, has the wrong type or a value that makes no sense.
        """
        return config.build(cls, self.options, f'policy {self.name}: options')


def arms_of(part: Slice, robot: RobotSpec) -> tuple[Arm, ...]:
    """Return the arms that a slice is about: one, or of joints all that it does not choose from.

    Raises:
        UnknownNameError: It names an arm that the robot lacks.
        ConfigError: It is about one arm and does not say which, or about a gripper that is none.
    """
    what = f"{part.word} '{part.kind}'"
    if part.arm is not None:
        arms: tuple[Arm, ...] = (robot.arm(part.arm),)
    elif part.of_joints:
        return robot.arms
    else:
        arms = tuple(arm for arm in robot.arms if part.kind != 'gripper' or arm.gripper)
    if len(arms) > 1:
        names = ', '.join(arm.name for arm in arms)
        raise ConfigError(f'{what} does not say which arm of {robot.name} is meant: {names}.')
    if part.kind == 'gripper' and not (arms and arms[0].gripper):
        raise ConfigError(f'{what}, but {robot.name} has no gripper there: leave the slice out.')
    return arms


def width(slices: Sequence[Slice], robot: RobotSpec) -> int:
    """Return how many dimensions slices take on a robot."""
    return sum(part.width(sum(arm.dof for arm in arms_of(part, robot))) for part in slices)
