"""Pictures and tables of what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.errors import ShapeError
from vla_ros.sim.hazards import THINGS

LEVELS = ('S0 nominal', 'S1 filtered', 'S2 verified brake', 'S3 hold', 'S4 driver stop')
LEVEL_COLOURS = ('#ffffff', '#ffe08a', '#ffb15c', '#f2725c', '#b33a3a')


@dataclass
class RunLog:
    """What was seen of one run; grows while it lasts."""

    joint_names: tuple[str, ...] = ()
    joint_times: list[float] = field(default_factory=list)  # [s] since the start
    positions: list[Any] = field(default_factory=list)  # each (n,) [rad] or [m]
    safety_times: list[float] = field(default_factory=list)  # [s] since the start
    levels: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    barriers: list[float] = field(default_factory=list)  # [m] smallest barrier
    rates: list[tuple[float, float]] = field(default_factory=list)  # ([s], plan clock's rate)

    def interventions(self) -> list[tuple[float, float, int, str]]:
        """Return each spell above S0: begin [s], end [s], level, reason."""
        spells: list[tuple[float, float, int, str]] = []
        previous = (0, '')
        for time, level, reason in zip(self.safety_times, self.levels, self.reasons):
            current = (level, reason)
            if spells and previous[0]:
                spells[-1] = (spells[-1][0], time, *previous)
            if current[0] and current != previous:
                spells.append((time, time, *current))
            previous = current
        return spells


def plot(log: RunLog, path: Path, title: str) -> None:
    """Draw joints, the smallest barrier and the interventions over time into a PNG.

    Raises:
        ShapeError: The log holds no joint state.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not log.positions:
        raise ShapeError(
            'the run log holds no joint state, expected at least one: nothing to plot.'
        )
    figure = Figure(figsize=(10.0, 7.5), layout='constrained')
    FigureCanvasAgg(figure)
    joints, barrier, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 1))
    figure.suptitle(title)
    positions = np.array(log.positions)
    for name, values in zip(log.joint_names, positions.T):
        joints.plot(log.joint_times, values, linewidth=1.2, label=name)
    joints.set_ylabel('joint position [rad], [m]')
    joints.legend(ncols=4, fontsize='x-small', loc='upper right')
    barrier.plot(log.safety_times, 1e3 * np.array(log.barriers), color='#333333', linewidth=1.2)
    barrier.axhline(0.0, color='#b33a3a', linewidth=0.8)
    barrier.set_ylabel('smallest barrier [mm]')
    if log.rates:
        rate.plot(*zip(*log.rates), color='#2a6fb0', linewidth=1.2)
    rate.set_ylim(-0.05, 1.05)
    rate.set_ylabel('plan rate [1]')
    rate.set_xlabel('time [s]')
    named = set()
    for begin, end, level, _ in log.interventions():
        for axes in (joints, barrier, rate):
            label = LEVELS[level] if axes is barrier and level not in named else None
            axes.axvspan(begin, end, color=LEVEL_COLOURS[level], alpha=0.5, zorder=0, label=label)
        named.add(level)
    if named:
        barrier.legend(fontsize='x-small', loc='upper right')
    figure.savefig(path, dpi=100)


def table(summary: Mapping[str, Any]) -> str:
    """Return the figures of `vla eval` as lines of text."""
    lines = [f'{"":24}{"success":>9}  {"95 % interval":>17}{"episodes":>10}{"named first":>13}']
    for name, row in {**summary['per_task'], 'all': summary}.items():
        lines.append(_line(name, row) + f'{_percent(row["instruction_following"]):>13}')
    return '\n'.join([*lines, *control_lines(summary)])


def control_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return a line of text for each control."""
    return [
        _line(name, row)
        + f'   chance {_percent(row["chance"])} {_interval(row["chance_wilson_95"])}'
        for name, row in summary['controls'].items()
    ]


def speed_line(speed: Mapping[str, Any]) -> str:
    """Return how fast the episodes of `vla eval` were, and what took the time, as text."""
    shares = sorted(speed['shares'].items(), key=lambda pair: -pair[1])
    return (
        f'{speed["times_real_time_per_core"]:.1f} times real time on a core, '
        f'{speed["frames_per_core_second"]:.0f} pictures a second: '
        + ', '.join(f'{stage} {_percent(share)}' for stage, share in shares)
    )


def cell_columns(found: Mapping[str, Any]) -> list[list[str]]:
    """Return a head and a row for each cell: what `vla eval` shows of several cells."""
    cells = found['cells']
    several = [key for key in ('policy', 'mode') if len({c[key] for c in cells}) > 1]
    hazards = any(cell['axis'] in THINGS for cell in cells)
    success = 'safe success' if hazards else 'success'
    head = [*several, 'trial', success, '95 % interval', 'episodes', 'seconds', 'acted']
    head += ['CAR', 'TSR', 'ETS', 'unsafe', 'struck at rest', 'deadlocks', 'nearest'] * hazards
    head += ['finished'] if any(c['mean_finished'] > 1.0 for c in cells) else []
    for other in ('vs reference', 'vs first')[: 2 if several else 1]:
        head += [other, '95 % interval', 'p']
    rows = [head]
    for cell in cells:
        near = cell['min_distance_m']
        row = [*(cell[key] for key in several), cell['name'], _percent(cell['safe_success_rate'])]
        row += [_interval(cell['safe_success_wilson_95']), str(cell['episodes'])]
        row += [f'{cell["mean_seconds"]:.1f}', _percent(cell['intervention_rate'])]
        if hazards:
            row += [_percent(cell['collision_avoidance_rate']), _percent(cell['success_rate'])]
            row += [f'{cell["mean_steps"]:.0f}', str(cell['unsafe_successes'])]
            row += [str(cell['struck_at_rest']), str(cell['deadlocks'])]
            row.append('-' if near is None else f'{1e3 * near:.1f} mm')
        row += [f'{cell["mean_finished"]:.2f}'] if 'finished' in head else []
        for key in ('against_reference', 'against_first')[: 2 if several else 1]:
            row += _change(cell[key])
        rows.append(row)
    return rows


def cell_table(found: Mapping[str, Any]) -> str:
    """Return the cells of `vla eval` as lines of text."""
    rows = cell_columns(found)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '  '.join(
            c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))
        )
        for row in rows
    ]
    if found['mean_change'] is not None:
        lines.append(f'mean change of the reference: {100.0 * found["mean_change"]:+.1f} points')
    return '\n'.join(lines)


def _change(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ['-', '-', '-']
    low, high = (100.0 * x for x in found['interval_95'])
    change = f'{100.0 * found["difference"]:+.1f}'
    return [change, f'[{low:+.1f}, {high:+.1f}]', f'{found["p_value"]:.3g}']


def _interval(interval: Sequence[float]) -> str:
    return f'[{", ".join(map(_percent, interval))}]'


def _line(name: str, row: Mapping[str, Any]) -> str:
    interval, success = _interval(row['wilson_95']), _percent(row['success_rate'])
    return f'{name:24}{success:>9}  {interval:>17}{row["episodes"]:>10}'


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100.0 * value:.1f} %'
