"""Pictures and tables of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vla_ros.errors import ShapeError

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
    for name, row in summary.get('controls', {}).items():
        interval = ', '.join(map(_percent, row['chance_wilson_95']))
        lines.append(_line(name, row) + f'   chance {_percent(row["chance"])} [{interval}]')
    return '\n'.join(lines)


def study_table(found: Mapping[str, Any]) -> str:
    """Return the cells of `vla eval --hazard` as lines of text."""
    head = f'{"hazard":8}{"mode":10}{"no contact":>11}{"success":>9}{"both":>9}'
    head += f'  {"95 % interval":>17}{"deadlocks":>10}{"seconds":>8}{"acted":>8}{"nearest":>9}'
    lines = [head + '  both, less success without']
    for cell in found['cells']:
        interval = f'[{", ".join(map(_percent, cell["safe_success_wilson_95"]))}]'
        near, against = cell['min_distance_m'], cell.get('against_none')
        line = f'{cell["hazard"]:8}{cell["mode"]:10}{_percent(1.0 - cell["contact_rate"]):>11}'
        line += f'{_percent(cell["success_rate"]):>9}{_percent(cell["safe_success_rate"]):>9}'
        line += f'  {interval:>17}{cell["deadlocks"]:>10}{cell["mean_seconds"]:>8.1f}'
        line += f'{_percent(cell["intervention_rate"]):>8}'
        line += f'{"-" if near is None else f"{1e3 * near:.1f} mm":>9}'
        if against:
            low, high = (100.0 * x for x in against['interval_95'])
            line += f'  {100.0 * against["difference"]:+.1f} [{low:+.1f}, {high:+.1f}] points'
        lines.append(line)
    return '\n'.join(lines)


def _line(name: str, row: Mapping[str, Any]) -> str:
    interval = f'[{", ".join(map(_percent, row["wilson_95"]))}]'
    return f'{name:24}{_percent(row["success_rate"]):>9}  {interval:>17}{row["episodes"]:>10}'


def _percent(value: float | None) -> str:
    return '-' if value is None else f'{100.0 * value:.1f} %'
