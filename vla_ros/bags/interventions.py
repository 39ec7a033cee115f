"""Where somebody stood between policy and arm: the safety filter, or a human by the override."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from vla_ros.bags.reader import Bag
from vla_ros.graph import SAFETY_STATUS
from vla_ros.messages import safety_status_from_msg
from vla_ros.status import SafetyStatus
from vla_ros.types import Array

PAUSE = 0.5  # [s] without a status that ends a segment: nobody knows what happened then
OVERRIDE = 'override'  # SafetyStatus.source while a human has the arm


@dataclass(frozen=True)
class Segment:
    """One intervention."""

    source: str  # 'filter' or 'override'
    reason: str  # short machine key of the filter; of an override it may be empty
    intervention: str  # what the filter did first, such as 'path'; empty: nothing
    level: int  # highest, S0 to S4
    start: float  # [s] stamp of its first status
    end: float  # [s] stamp of the first status after it, or of its last where none follows
    nominal_peak: Array  # (n,) [rad/s] or [m/s] largest |velocity| that the plan wanted
    executed_peak: Array  # (n,) [rad/s] or [m/s] largest |velocity| that was commanded


def interventions(bag: Bag) -> tuple[Segment, ...]:
    """Return every intervention of a recording, in order.

    Args:
        bag: Holds `vla/safety_status`, or there are none to tell of.

    Raises:
        BagError: A status is damaged.
    """
    name = bag.name(SAFETY_STATUS)
    return segments(safety_status_from_msg(r.message) for r in bag.messages({name}))


def segments(statuses: Iterable[SafetyStatus]) -> tuple[Segment, ...]:
    """Return the interventions that statuses tell of, in order.

    One segment has one source and one reason; a status that repeats or goes back in time, or
    comes PAUSE after the one before, begins another.

    Args:
        statuses: In order of time.
    """
    return tuple(_segment(run, end) for run, end in _runs(statuses))


def cause(status: SafetyStatus) -> tuple[str, str] | None:
    """Return source and reason of what a status tells of; None: the policy had its way."""
    if status.source == OVERRIDE:
        return OVERRIDE, status.reason
    if status.level > 0:
        return 'filter', status.reason or status.intervention
    return None


def _runs(statuses: Iterable[SafetyStatus]) -> Iterator[tuple[list[SafetyStatus], float]]:
    """Return the statuses of each segment and when it ended [s]."""
    run: list[SafetyStatus] = []
    for status in statuses:
        if run:
            follows = 0.0 < status.stamp - run[-1].stamp <= PAUSE
            if follows and cause(status) == cause(run[0]):
                run.append(status)
                continue
            yield run, status.stamp if follows else run[-1].stamp
            run = []
        if cause(status) is not None:
            run = [status]
    if run:
        yield run, run[-1].stamp


def _segment(run: list[SafetyStatus], end: float) -> Segment:
    source, reason = cause(run[0]) or ('', '')
    acted = [status.intervention for status in run if status.intervention]
    return Segment(
        source,
        reason,
        acted[0] if acted else '',
        max(status.level for status in run),
        run[0].stamp,
        end,
        _peak([status.nominal_velocity for status in run]),
        _peak([status.filtered_velocity for status in run]),
    )


def _peak(velocities: list[Array]) -> Array:
    """Return the largest |velocity| of each joint; a status at rest may hold none."""
    known = [np.abs(v) for v in velocities if len(v)]
    widest = max((len(v) for v in known), default=0)
    rows = [v for v in known if len(v) == widest]
    return np.max(rows, axis=0) if rows else np.zeros(0)
