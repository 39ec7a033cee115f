"""SafetyConfig: margins, gains, ages and the fault table, read from `config/safety/NAME.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.types import Vector3

STOPS = ('path', 'brake')  # decelerate along the plan; or straight, by the verified stop

MODES = (  # what is done about a body in the way, besides the verified stop
    'path',  # the plan clock slows down; the way stays the plan's
    'cbf',  # the nearest velocity that keeps the barriers
    'path+cbf',  # the first, and the second where that would wait for long
    'stop',  # nothing: the stop is what happens
    'off',  # nothing at all, not even the stop: joint limits only
)

FAULTS = (  # every reason for S2 or more; a node may raise any of them by `trip`
    'no_plan',
    'plan_end',
    'plan_silent',
    'plan_stale',
    'plan_refused',
    'start_pose',
    'plan_nonfinite',
    'no_joint_state',
    'joint_state_stale',
    'joint_state_shape',
    'joint_state_nonfinite',
    'joint_names',
    'arm_stays',
    'tracking_lost',
    'stop_not_verified',
    'in_collision',
    'obstacle_invalid',
    'obstacle_stale',
    'solver',
    'internal',
    'clock_paused',
    'clock_step',
    'missed_deadline',
    'process_lost',
    'stream_stopped',
    'enable_released',
    'deactivated',
    'estop',
)


@dataclass(frozen=True)
class Fault:
    """What one fault does."""

    level: int  # 2 to 4, the rung of the ladder
    stop: str  # a word of STOPS
    latched: bool  # stays after its cause is gone, until it is cleared
    cleared_by: str  # what ends it, for a human
    message: str  # one sentence for a human

    def __post_init__(self) -> None:
        if self.level not in (2, 3, 4):
            raise ConfigError(f'fault level is {self.level}, expected 2, 3 or 4.')
        if self.stop not in STOPS:
            raise UnknownNameError('stop', self.stop, STOPS)


@dataclass(frozen=True)
class Workspace:
    """A box in the robot's base frame."""

    low: Vector3  # [m]
    high: Vector3  # [m]

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low, self.high)):
            raise ConfigError(
                f'workspace goes from {self.low} to {self.high} m; expected low below high.'
            )


@dataclass(frozen=True)
class Setting:
    """What a number of SafetyConfig may be; the ROS parameter of its name says the same."""

    low: float
    high: float
    unit: str  # empty: a plain number
    meaning: str
    live: bool = True  # may change while the filter runs


def _number(low: float, high: float, unit: str, meaning: str, live: bool = True) -> Any:
    return {'setting': Setting(low, high, unit, meaning, live)}


@dataclass(frozen=True)
class SafetyConfig:
    """Settings of the safety filter; a number outside its range is refused."""

    period: float = field(
        metadata=_number(0.001, 0.02, 's', 'control period: 0.005 is 200 Hz', live=False)
    )
    margin_self: float = field(metadata=_number(0.0, 0.1, 'm', 'between capsules of the arm'))
    margin_floor: float = field(metadata=_number(0.0, 0.1, 'm', 'between arm and floor'))
    margin_finger_floor: float = field(
        metadata=_number(0.0, 0.1, 'm', 'between the finger capsules and the floor')
    )
    margin_obstacle: float = field(
        metadata=_number(0.0, 0.5, 'm', 'between the arm and an obstacle')
    )
    margin_target: float = field(
        metadata=_number(0.0, 0.5, 'm', 'between the arm, fingers apart, and a target')
    )
    margin_finger_target: float = field(
        metadata=_number(
            -1.0, 0.1, 'm', 'between the finger capsules and a target; -1 never binds'
        )
    )
    margin_held_floor: float = field(
        metadata=_number(
            -0.05, 0.1, 'm', 'between what is held and floor or support; below 0 it may press in'
        )
    )
    row_reach: float = field(
        metadata=_number(0.05, 2.0, 'm', 'clearances below this become rows', live=False)
    )
    mode: str  # a word of MODES
    slow_rate: float = field(
        metadata=_number(0.0, 1.0, '', 'rate of the plan clock below which a body holds it up')
    )
    slow_patience: float = field(
        metadata=_number(0.0, 10.0, 's', 'how long, before the arm goes around (path+cbf)')
    )
    tool_speed: float = field(
        metadata=_number(0.01, 10.0, 'm/s', 'largest speed of the tool centre')
    )
    person_speed: float = field(
        metadata=_number(0.0, 10.0, 'm/s', 'speed of a person at least (ISO 13855: 1.6)')
    )
    reaction_time: float = field(
        metadata=_number(0.0, 2.0, 's', "to a person, besides a tick and an obstacle's age")
    )
    intrusion: float = field(
        metadata=_number(0.0, 2.0, 'm', 'how much nearer a person may be than what is seen')
    )
    barrier_gain: float = field(
        metadata=_number(0.1, 100.0, '1/s', 'gamma; gamma * period must not exceed 0.1')
    )
    glide_room: float = field(
        metadata=_number(
            0.0, 0.02, 'm', 'beyond a margin, for stops beside a body (cbf, path+cbf)'
        )
    )
    slack_weight: float = field(
        metadata=_number(1.0, 1e8, '', 'cost of (m/s)^2 of violated row against (rad/s)^2')
    )
    rejoin_acceleration: float = field(
        metadata=_number(0.01, 1.0, '', 'share of the acceleration limit to rejoin the plan')
    )
    recover_velocity: float = field(
        metadata=_number(0.001, 1.0, 'rad/s', 'fastest way back from outside a limit or a margin')
    )
    rate_rise: float = field(
        metadata=_number(0.1, 100.0, '1/s', "how fast the plan clock's rate may change")
    )
    lag_limit: float = field(
        metadata=_number(0.01, 1.0, 'rad', 'reference error at which the plan clock stands still')
    )
    start_tolerance: float = field(
        metadata=_number(0.01, 7.0, 'rad', 'how far from the arm the first plan may begin')
    )
    tracking_limit: float = field(
        metadata=_number(0.001, 0.5, 'm', 'displacement of any capsule from the path commanded')
    )
    tracking_window: float = field(
        metadata=_number(0.01, 2.0, 's', 'age of the command the arm may be at', live=False)
    )
    joint_state_timeout: float = field(
        metadata=_number(0.005, 2.0, 's', 'age of the newest joint state')
    )
    plan_timeout: float = field(
        metadata=_number(0.02, 60.0, 's', 'since the last trajectory that was accepted')
    )
    plan_age_limit: float = field(
        metadata=_number(0.05, 600.0, 's', 'age of the observation that the plan answers')
    )
    clock_step: float = field(
        metadata=_number(0.005, 2.0, 's', 'jump of ROS time against monotonic time', live=False)
    )
    obstacle_timeout: float = field(
        metadata=_number(0.02, 10.0, 's', 'age of obstacles of which one moves')
    )
    deadline: float = field(
        metadata=_number(0.005, 2.0, 's', 'longest time between two ticks of the control loop')
    )
    soft_weight: float = field(
        metadata=_number(1e-3, 1e4, '', 'cost of (m/s)^2 of violated soft row, as slack_weight')
    )
    singularity: float = field(
        metadata=_number(
            0.0, 1.0, '', 'manipulability that the program prefers to keep; 0: does not ask'
        )
    )
    faults: Mapping[str, Fault] = field()
    workspace: Workspace | None = None  # where the program prefers the tool; None: anywhere

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            value = getattr(self, name)
            if not setting.low <= value <= setting.high:
                unit = f' {setting.unit}' if setting.unit else ''
                raise ConfigError(
                    f'safety: {name} is {value}{unit}, expected {setting.low:g} to '
                    f'{setting.high:g}: {setting.meaning}.'
                )
        if self.mode not in MODES:
            raise UnknownNameError('mode', self.mode, MODES, 'safety')
        if self.barrier_gain * self.period > 0.1:
            raise ConfigError(
                f'safety: barrier_gain * period is {self.barrier_gain * self.period:.3f}, '
                'expected 0.1 or less; lower the gain.'
            )
        for name in self.faults:
            if name not in FAULTS:
                raise UnknownNameError('fault', name, FAULTS, 'safety: faults')
        missing = [name for name in FAULTS if name not in self.faults]
        if missing:
            raise ConfigError(f'safety: faults lack {", ".join(missing)}; add them to the table.')

    @property
    def glide(self) -> float:
        """The room beyond a margin [m] that the program keeps; only who deviates needs it."""
        return self.glide_room if self.mode in ('cbf', 'path+cbf') else 0.0


SETTINGS: Mapping[str, Setting] = {  # of every number, by the name of its field
    f.name: f.metadata['setting'] for f in fields(SafetyConfig) if 'setting' in f.metadata
}


def load_safety(path: Path) -> SafetyConfig:
    """Read a safety file; one that `extends` another takes from it every key that it lacks."""
    data = config.read_extended(path, partial(paths.find, 'safety'))
    return config.build(SafetyConfig, data, Path(path).name)
