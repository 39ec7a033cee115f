"""What the nodes tell each other: execution, safety, policy, task, chunks, diagnostics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from vla_ros_msgs import msg as interfaces

from vla_ros.messages.status import EXECUTION, POLICY, SAFETY, STAGES, TASK
from vla_ros.messages.twin import Twin
from vla_ros.ros.convert.basics import header, time_to_msg
from vla_ros.ros.convert.joints import doubles
from vla_ros.status import ExecutionState, PolicyStatus, SafetyStatus, TaskStatus
from vla_ros.types import ChunkPrefix, Provenance

_LEVELS = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR)


def _to_msg(twin: Twin[Any], message: Any, value: Any, **apart: Any) -> Any:
    """Return the message of a value; `apart` gives what it holds besides the shared fields."""
    shared = {there: _pack(getattr(value, here)) for here, there in twin.names}
    return message(header=header(value.stamp), **shared, **apart)


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return doubles(value)
    return list(value) if isinstance(value, tuple) else value


def execution_state_to_msg(state: ExecutionState) -> interfaces.ExecutionState:
    """Return a message of the plan clock and the reference."""
    plan = state.accepted_plan
    return _to_msg(
        EXECUTION,
        interfaces.ExecutionState,
        state,
        accepted_plan=Time() if plan is None else time_to_msg(plan),
    )


def safety_status_to_msg(status: SafetyStatus) -> interfaces.SafetyStatus:
    """Return a message of what the filter did."""
    return _to_msg(SAFETY, interfaces.SafetyStatus, status)


def policy_status_to_msg(status: PolicyStatus) -> interfaces.PolicyStatus:
    """Return a message of the policy node's state and timing."""
    sources = status.sources.values()
    return _to_msg(
        POLICY,
        interfaces.PolicyStatus,
        status,
        state=int(status.phase),
        source_names=list(status.sources),
        source_ages_s=[s.age for s in sources],
        frames_received=[s.received for s in sources],
        frames_superseded=[s.superseded for s in sources],
    )


def task_status_to_msg(status: TaskStatus) -> interfaces.TaskState:
    """Return a message of what the simulator knows about the task."""
    return _to_msg(TASK, interfaces.TaskState, status)


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
    stages = {f'{name}_s': provenance.timings.get(name, 0.0) for name in STAGES}
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
        policy=provenance.policy,
        instruction_seed=provenance.instruction_seed,
        inference=provenance.inference,
        action_size=provenance.actions.shape[1],
        actions=doubles(provenance.actions),
        plan_clock=provenance.plan_clock or (),
        **_prefix(provenance.prefix),
        **stages,
    )


def _prefix(prefix: ChunkPrefix | None) -> dict[str, Any]:
    """Return the fields that hold a prefix and how it guides the sampler."""
    if prefix is None:
        return {}
    found = {
        'prefix_size': prefix.actions.shape[1],
        'prefix': doubles(prefix.actions),
        'prefix_delay': prefix.delay,
        'prefix_horizon': prefix.horizon,
    }
    guidance = prefix.guidance
    if guidance is not None:
        found |= {
            'guidance_jacobian': guidance.jacobian,
            'guidance_schedule': guidance.schedule,
            'guidance_limit': guidance.limit,
        }
    return found


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
