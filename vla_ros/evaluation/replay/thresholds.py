"""Thresholds: named limits of figures, read from `config/thresholds/NAME.yaml`, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math
from pathlib import Path
from typing import Any

from vla_ros import config
from vla_ros.errors import ConfigError

DEGREES = 180.0 / math.pi
NEAR = 0.2  # relative: a scale so near to degrees in a radian is no coincidence


@dataclass(frozen=True)
class Limit:
    """Between which bounds one figure must lie."""

    figure: str  # key of the figures; dots lead into tables
    meaning: str  # what is wrong where it does not, one sentence
    least: float = -math.inf
    most: float = math.inf

    def __post_init__(self) -> None:
        if not self.least <= self.most:
            raise ConfigError(f'least {self.least} is above most {self.most}.')
        if self.least == -math.inf and self.most == math.inf:
            raise ConfigError('neither least nor most is there; give one.')


@dataclass(frozen=True)
class Thresholds:
    """The limits of one file."""

    limits: Mapping[str, Limit] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """How one figure stands to its limit."""

    name: str
    figure: str
    value: float | None  # None: it was not measured
    passed: bool  # also where it was not measured
    message: str


def load_thresholds(path: Path) -> Thresholds:
    """Read a file of thresholds.

    Raises:
        ConfigError: It cannot be used.
    """
    return config.load(path, Thresholds)


def judge(thresholds: Thresholds, figures: Mapping[str, Any]) -> list[Verdict]:
    """Return a verdict for every limit, in the order of the file."""
    return [_verdict(name, limit, figures) for name, limit in thresholds.limits.items()]


def _verdict(name: str, limit: Limit, figures: Mapping[str, Any]) -> Verdict:
    value: Any = figures
    for key in limit.figure.split('.'):
        value = value.get(key) if isinstance(value, Mapping) else None
    if value is None:
        return Verdict(name, limit.figure, None, True, 'not measured')
    number = float(value)
    bounds = [f'at least {limit.least:g}'] if limit.least > -math.inf else []
    bounds += [f'at most {limit.most:g}'] if limit.most < math.inf else []
    passed = limit.least <= number <= limit.most
    message = f'{number:.4g}, expected {" and ".join(bounds)}'
    if not passed:
        message += f': {limit.meaning}{_hint(limit.figure, number)}'
    return Verdict(name, limit.figure, number, passed, message)


def _hint(figure: str, value: float) -> str:
    """Say where a scale is that of degrees for radians."""
    if not figure.endswith('_scale'):
        return ''
    for scale, words in ((DEGREES, 'degrees for radians'), (1.0 / DEGREES, 'radians for degrees')):
        if abs(value / scale - 1.0) < NEAR:
            return f' It is the scale of {words}.'
    return ''
