"""What the nodes tell each other: execution, safety, policy, task, chunks."""

from __future__ import annotations

from typing import Any

import numpy as np

from vla_ros.errors import ShapeError
from vla_ros.messages.basics import time_from_msg
from vla_ros.messages.twin import Twin
from vla_ros.status import (
    ExecutionState,
    PolicyPhase,
    PolicyStatus,
    SafetyStatus,
    SourceStatus,
    TaskStatus,
)
from vla_ros.types import Array, ChunkPrefix, Guidance, Provenance

STAGES = ('transport', 'frame_wait', 'preprocess', 'inference', 'decode')
_PERCENTILES = (
    'transport', 'frame_wait', 'preprocess', 'inference', 'publish', 'total', 'filter',
)  # fmt: skip

EXECUTION = Twin(ExecutionState, apart=('accepted_plan',))
SAFETY = Twin(SafetyStatus, cycle_time='cycle_time_s', longest_gap='longest_gap_s')
POLICY = Twin(
    PolicyStatus,
    apart=('phase', 'sources'),
    rate='rate_hz',
    **{name: f'{name}_s' for name in _PERCENTILES},
)
TASK = Twin(TaskStatus, tool_to_target='tool_to_target_m')


def execution_state_from_msg(msg: Any) -> ExecutionState:
    """Return the plan clock and the reference."""
    return EXECUTION.from_msg(msg, accepted_plan=time_from_msg(msg.accepted_plan) or None)


def safety_status_from_msg(msg: Any) -> SafetyStatus:
    """Return what the filter did."""
    return SAFETY.from_msg(msg)


def policy_status_from_msg(msg: Any) -> PolicyStatus:
    """Return the policy node's state and timing."""
    rows = zip(msg.source_ages_s, msg.frames_received, msg.frames_superseded)
    return POLICY.from_msg(
        msg,
        phase=PolicyPhase(msg.state),
        sources=dict(zip(msg.source_names, (SourceStatus(*row) for row in rows))),
    )


def task_status_from_msg(msg: Any) -> TaskStatus:
    """Return what the simulator knows about the task."""
    return TASK.from_msg(msg)


def provenance_from_msg(msg: Any) -> Provenance:
    """Return where a chunk came from.

    Raises:
        ShapeError: Actions or prefix are not whole rows, or the plan clock is not two times.
    """
    names = msg.input_names
    return Provenance(
        instruction=msg.instruction,
        instruction_id=msg.instruction_id,
        seed=msg.seed,
        input_stamps=dict(zip(names, (time_from_msg(t) for t in msg.input_stamps))),
        input_ages=dict(zip(names, (float(age) for age in msg.input_ages))),
        delay_steps=msg.delay_steps,
        timings={name: getattr(msg, f'{name}_s') for name in STAGES},
        policy=msg.policy,
        instruction_seed=msg.instruction_seed,
        inference=msg.inference,
        actions=_table(msg.actions, msg.action_size),
        prefix=_prefix(msg),
        plan_clock=_clock(getattr(msg, 'plan_clock', ())),  # older bags have none
    )


def _table(values: Any, columns: int) -> Array:
    """Return rows of so many columns, as they were flattened."""
    flat = np.array(values, dtype=np.float64)
    rows = len(flat) // columns if columns else 0
    if rows * columns != len(flat):
        raise ShapeError(f'{len(flat)} values are not rows of {columns} columns.')
    return flat.reshape(rows, columns)


def _clock(values: Any) -> tuple[float, float] | None:
    if len(values) not in (0, 2):
        raise ShapeError(f'plan_clock has {len(values)} times, expected 2 or none.')
    return (float(values[0]), float(values[1])) if len(values) else None


def _prefix(msg: Any) -> ChunkPrefix | None:
    if not msg.prefix_size:
        return None
    guidance = None
    if msg.guidance_jacobian:
        guidance = Guidance(msg.guidance_jacobian, msg.guidance_schedule, msg.guidance_limit)
    actions = _table(msg.prefix, msg.prefix_size)
    return ChunkPrefix(actions, msg.prefix_delay, msg.prefix_horizon, guidance)
