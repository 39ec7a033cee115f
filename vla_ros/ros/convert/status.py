"""What the nodes tell each other: execution, safety, policy, task, chunks, diagnostics."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Any, Generic, TypeVar

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from vla_ros_msgs import msg as interfaces

from vla_ros.ros.convert.basics import header, time_from_msg, time_to_msg
from vla_ros.ros.convert.joints import doubles
from vla_ros.status import (
    ExecutionState,
    PolicyPhase,
    PolicyStatus,
    SafetyStatus,
    SourceStatus,
    TaskStatus,
)
from vla_ros.types import Provenance

_STAGES = ('transport', 'frame_wait', 'preprocess', 'inference', 'decode')
_LEVELS = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)
_PERCENTILES = (
    'transport', 'frame_wait', 'preprocess', 'inference', 'publish', 'total', 'filter',
)  # fmt: skip

T = TypeVar('T')


class _Twin(Generic[T]):
    """A value and the message of the same fields, so that each is listed once, in its class.

    A field of the message may have its unit in its name; the stamp is in its header.
    """

    def __init__(
        self, value: type[T], message: Any, apart: Iterable[str] = (), **renamed: str
    ) -> None:
        """Pair two classes.

        Args:
            value: A dataclass with a `stamp`.
            message: The class of the message.
            apart: Fields of the value that the caller converts.
            **renamed: Names in the message of fields that have another one there.
        """
        self._value: Callable[..., T] = value
        self._message = message
        names = [f.name for f in fields(value) if f.name not in ('stamp', *apart)]  # type: ignore[arg-type]
        self._names = [(name, renamed.get(name, name)) for name in names]

    def to_msg(self, value: Any, **apart: Any) -> Any:
        """Return the message; `apart` gives what it holds besides the shared fields."""
        shared = {there: _pack(getattr(value, here)) for here, there in self._names}
        return self._message(header=header(value.stamp), **shared, **apart)

    def from_msg(self, msg: Any, **apart: Any) -> T:
        """Return the value; `apart` gives its fields that are not shared."""
        shared = {here: _unpack(getattr(msg, there)) for here, there in self._names}
        return self._value(stamp=time_from_msg(msg.header.stamp), **shared, **apart)


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return doubles(value)
    return list(value) if isinstance(value, tuple) else value


def _unpack(value: Any) -> Any:
    if isinstance(value, array):
        return np.array(value)
    if isinstance(value, np.ndarray):  # of fixed size
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, list) else value


_EXECUTION = _Twin(ExecutionState, interfaces.ExecutionState, apart=('accepted_plan',))
_SAFETY = _Twin(
    SafetyStatus,
    interfaces.SafetyStatus,
    cycle_time='cycle_time_s',
    longest_gap='longest_gap_s',
)
_POLICY = _Twin(
    PolicyStatus,
    interfaces.PolicyStatus,
    apart=('phase', 'sources'),
    rate='rate_hz',
    **{name: f'{name}_s' for name in _PERCENTILES},
)
_TASK = _Twin(TaskStatus, interfaces.TaskState, tool_to_target='tool_to_target_m')


def execution_state_to_msg(state: ExecutionState) -> interfaces.ExecutionState:
    """Return a message of the plan clock and the reference."""
    plan = state.accepted_plan
    return _EXECUTION.to_msg(state, accepted_plan=Time() if plan is None else time_to_msg(plan))


def execution_state_from_msg(msg: interfaces.ExecutionState) -> ExecutionState:
    """Return the plan clock and the reference."""
    return _EXECUTION.from_msg(msg, accepted_plan=time_from_msg(msg.accepted_plan) or None)


def safety_status_to_msg(status: SafetyStatus) -> interfaces.SafetyStatus:
    """Return a message of what the filter did."""
    return _SAFETY.to_msg(status)


def safety_status_from_msg(msg: interfaces.SafetyStatus) -> SafetyStatus:
    """Return what the filter did."""
    return _SAFETY.from_msg(msg)


def policy_status_to_msg(status: PolicyStatus) -> interfaces.PolicyStatus:
    """Return a message of the policy node's state and timing."""
    sources = status.sources.values()
    return _POLICY.to_msg(
        status,
        state=int(status.phase),
        source_names=list(status.sources),
        source_ages_s=[s.age for s in sources],
        frames_received=[s.received for s in sources],
        frames_superseded=[s.superseded for s in sources],
    )


def policy_status_from_msg(msg: interfaces.PolicyStatus) -> PolicyStatus:
    """Return the policy node's state and timing."""
    rows = zip(msg.source_ages_s, msg.frames_received, msg.frames_superseded)
    return _POLICY.from_msg(
        msg,
        phase=PolicyPhase(msg.state),
        sources=dict(zip(msg.source_names, (SourceStatus(*row) for row in rows))),
    )


def task_status_to_msg(status: TaskStatus) -> interfaces.TaskState:
    """Return a message of what the simulator knows about the task."""
    return _TASK.to_msg(status)


def task_status_from_msg(msg: interfaces.TaskState) -> TaskStatus:
    """Return what the simulator knows about the task."""
    return _TASK.from_msg(msg)


def provenance_to_msg(
    provenance: Provenance, stamp: float, step: float, horizon: int
) -> interfaces.ChunkInfo:
    """Return the companion of a trajectory.

    Args:
        provenance: Where the chunk came from.
        stamp: The trajectory's [s].
        step: Spacing of the actions [s].
        horizon: Number of actions.
    """
    names = list(provenance.input_stamps)
    stages = {f'{name}_s': provenance.timings.get(name, 0.0) for name in _STAGES}
    return interfaces.ChunkInfo(
        header=header(stamp),
        instruction=provenance.instruction,
        instruction_id=provenance.instruction_id,
        input_names=names,
        input_stamps=[time_to_msg(provenance.input_stamps[name]) for name in names],
        input_ages=[provenance.input_ages[name] for name in names],
        seed=provenance.seed,
        delay_steps=provenance.delay_steps,
        step_s=step,
        horizon=horizon,
        **stages,
    )


def provenance_from_msg(msg: interfaces.ChunkInfo) -> Provenance:
    """Return where a chunk came from."""
    names = msg.input_names
    return Provenance(
        instruction=msg.instruction,
        instruction_id=msg.instruction_id,
        seed=msg.seed,
        input_stamps=dict(zip(names, (time_from_msg(t) for t in msg.input_stamps))),
        input_ages=dict(zip(names, msg.input_ages)),
        delay_steps=msg.delay_steps,
        timings={name: getattr(msg, f'{name}_s') for name in _STAGES},
    )


def diagnostics_to_msg(
    stamp: float, name: str, level: int, message: str, values: Iterable[tuple[str, object]]
) -> DiagnosticArray:
    """Return a report of one node.

    Args:
        stamp: Time [s].
        name: The node.
        level: 0 fine, 1 warning, 2 error.
        message: One sentence.
        values: Key and value of each figure.
    """
    pairs = [KeyValue(key=key, value=str(value)) for key, value in values]
    status = DiagnosticStatus(level=_LEVELS[level], name=name, message=message, values=pairs)
    return DiagnosticArray(header=header(stamp), status=[status])
