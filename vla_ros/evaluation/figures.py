"""The figures of an evaluation, by the keys of `vla eval --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vla_ros.evaluation.metrics import control, MOVED, Outcome, paired, rate, summarize
from vla_ros.evaluation.runner import Cell, CONTROLS, Evaluation, Played
from vla_ros.evaluation.scripted import NAME as EXPERT
from vla_ros.evaluation.stages import speed
from vla_ros.evaluation.suite import Trial
from vla_ros.sim.hazards import THINGS


def figures(evaluation: Evaluation, played: Sequence[Played]) -> dict[str, Any]:
    """Return what `vla eval` reports.

    The figures at the top are those of the first cell: the first policy and mode, with nothing
    changed. `cells` has every cell, `controls` the controls beside their chance.
    """
    by_cell: dict[Cell, list[Outcome]] = {}
    for one in sorted(played, key=lambda one: one.index):
        by_cell.setdefault(one.cell, []).append(one.outcome)
    cells, first = evaluation.cells, evaluation.cells[0]
    rows = [_row(cell, cells, by_cell) for cell in cells]
    changes = [
        row['against_reference']['difference']
        for row in rows
        if row['against_reference'] and (row['policy'], row['mode']) == first[:2]
    ]
    return {
        'suite': evaluation.suite,
        'policy': first.policy,
        'safety': evaluation.safety,
        'mode': first.mode,
        'robot': evaluation.robot,
        'seed': evaluation.seed,
        **summarize(by_cell[first]),
        'cells': rows,
        'mean_change': sum(changes) / len(changes) if changes else None,
        'controls': {
            name: control(
                by_cell[Cell(first.policy, first.mode, Trial(name))],
                by_cell[Cell(EXPERT, first.mode, Trial(name))],
            )
            for name in CONTROLS
            if evaluation.control_episodes
        },
        'simulated_seconds': sum(one.outcome.seconds for one in played),
        'speed': speed([(one.outcome.seconds, one.frames, one.spent) for one in played]),
        'outcomes': [
            {'index': one.index, 'policy': one.cell.policy, 'mode': one.cell.mode,
             'axis': one.cell.trial.axis, 'level': one.cell.trial.level, **vars(one.outcome)}
            for one in played
        ],
    }  # fmt: skip


def _row(cell: Cell, cells: Sequence[Cell], by_cell: dict[Cell, list[Outcome]]) -> dict[str, Any]:
    """Return the figures of a cell, beside its reference and beside the first policy and mode."""
    reference = cell._replace(trial=cells[0].trial)
    first = cells[0]._replace(trial=cell.trial)
    safe = _safe(by_cell[cell])
    return {
        'policy': cell.policy,
        'mode': cell.mode,
        'axis': cell.trial.axis,
        'level': cell.trial.level,
        'name': str(cell.trial),
        **cell_figures(by_cell[cell]),
        'against_reference': paired(safe, _safe(by_cell[reference]))
        if cell != reference and cell.trial.axis not in THINGS  # which have their own episodes
        else None,
        'against_first': paired(safe, _safe(by_cell[first])) if cell != first else None,
    }


def cell_figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of the episodes of one cell."""
    distances = [o.min_distance for o in outcomes if o.min_distance is not None]
    kept, avoided = rate(_safe(outcomes)), rate([not o.collided for o in outcomes])
    return {
        **summarize(outcomes),
        'mean_seconds': sum(o.seconds for o in outcomes) / max(len(outcomes), 1),
        'mean_finished': sum(o.finished for o in outcomes) / max(len(outcomes), 1),
        'collision_avoidance_rate': avoided['rate'],
        'collision_avoidance_wilson_95': avoided['wilson_95'],
        'contacts': sum(o.contact for o in outcomes),
        'struck_moving': sum(o.struck_moving for o in outcomes),
        'struck_at_rest': sum(o.contact and not o.struck_moving for o in outcomes),
        'displaced': sum(o.displaced > MOVED for o in outcomes),
        'unsafe_successes': sum(o.success and o.collided for o in outcomes),
        'safe_success_rate': kept['rate'],
        'safe_success_wilson_95': kept['wilson_95'],
        'deadlocks': sum(o.deadlock for o in outcomes),
        'min_distance_m': min(distances, default=None),
    }


def _safe(outcomes: Sequence[Outcome]) -> list[bool]:
    """Return which episodes succeeded without a collision with a hazard."""
    return [o.safe_success for o in outcomes]
