"""PolicySpec: what a policy wants and gives, known before its weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vla_ros.errors import ConfigError, RobotPolicyMismatch, UnknownNameError
from vla_ros.robot import RobotSpec

# kind -> (unit, number of dimensions; None = one for each arm joint)
ACTION_KINDS: dict[str, tuple[str, int | None]] = {
    'tool_position': ('m', 3),  # tool centre point in the base frame
    'joint_position': ('rad', None),
    'gripper': ('open_fraction', 1),  # 0 closed, 1 open
}
STATE_KINDS: dict[str, tuple[str, int | None]] = {
    'tool_position': ('m', 3),
    'joint_position': ('rad', None),
    'gripper': ('open_fraction', 1),
}
REFERENCES = ('absolute', 'observation')  # what an action is relative to
ALIGNMENTS = (
    'hold',  # the newest picture of each camera
    'nearest',  # of each camera the one nearest to the newest picture of the slowest
    'drop',  # as hold, but only pictures that lie within a tolerance
)


@dataclass(frozen=True)
class ActionSlice:
    """Consecutive action dimensions of one meaning."""

    kind: str
    unit: str
    relative_to: str = 'absolute'  # 'observation': added to the value at t_obs
    binary: bool = False  # a gripper that is open or closed; what lies between changes nothing

    def __post_init__(self) -> None:
        if self.kind not in ACTION_KINDS:
            raise UnknownNameError('action kind', self.kind, ACTION_KINDS)
        if self.binary and self.kind != 'gripper':
            raise ConfigError(f"action '{self.kind}' is binary; only a gripper can be.")
        if self.relative_to not in REFERENCES:
            raise UnknownNameError('action reference', self.relative_to, REFERENCES)
        unit = ACTION_KINDS[self.kind][0]
        if self.unit != unit:
            raise ConfigError(f"action '{self.kind}' is in '{self.unit}', expected '{unit}'.")


@dataclass(frozen=True)
class StateSlice:
    """Consecutive state dimensions of one meaning."""

    kind: str
    unit: str

    def __post_init__(self) -> None:
        if self.kind not in STATE_KINDS:
            raise UnknownNameError('state kind', self.kind, STATE_KINDS)
        unit = STATE_KINDS[self.kind][0]
        if self.unit != unit:
            raise ConfigError(f"state '{self.kind}' is in '{self.unit}', expected '{unit}'.")


@dataclass(frozen=True)
class ImageSpec:
    """One picture that the policy sees."""

    camera: str  # name in the robot file
    size: int  # [px] side of the square after the central crop


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
        if not self.step > 0.0:
            raise ConfigError(f'policy {self.name}: step is {self.step} s, expected more than 0.')

    @property
    def patience(self) -> float:
        """Age [s] at which a chunk is replaced although the filter holds the plan clock."""
        return 2.0 * self.replan_steps * self.step


def width(slices: tuple[ActionSlice, ...] | tuple[StateSlice, ...], dof: int) -> int:
    """Return how many dimensions the slices take on a robot with `dof` arm joints."""
    kinds = {**ACTION_KINDS, **STATE_KINDS}
    return sum(kinds[s.kind][1] or dof for s in slices)


def check(robot: RobotSpec, policy: PolicySpec) -> list[str]:
    """Return what of a policy does not fit a robot, each with its cure; empty if it fits."""
    findings = []
    cameras = {camera.name: camera for camera in robot.cameras}
    for image in policy.images:
        camera = cameras.get(image.camera)
        if camera is None:
            findings.append(
                f"policy {policy.name} needs camera '{image.camera}'; robot {robot.name} has "
                f'{", ".join(sorted(cameras)) or "none"}: add it to the robot file.'
            )
        elif min(camera.width, camera.height) < image.size:
            findings.append(
                f"camera '{image.camera}' gives {camera.width}x{camera.height}, policy "
                f'{policy.name} wants {image.size} px squares: raise its resolution.'
            )
    if not policy.action:
        findings.append(f'policy {policy.name} declares no action: add its slices.')
    kinds = [s.kind for s in policy.action]
    for kind in sorted({k for k in kinds if kinds.count(k) > 1}):
        findings.append(f'policy {policy.name} declares {kind} more than once: keep one slice.')
    moves = set(kinds) & {'tool_position', 'joint_position'}
    if len(moves) != 1:
        findings.append(
            f'policy {policy.name} must move the arm by exactly one of tool_position and '
            f'joint_position, found {sorted(moves) or "none"}.'
        )
    return findings


def require_fit(robot: RobotSpec, policy: PolicySpec) -> None:
    """Raise RobotPolicyMismatch with every finding of `check`, if there is one."""
    findings = check(robot, policy)
    if findings:
        raise RobotPolicyMismatch('\n'.join(findings))
