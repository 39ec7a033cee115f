"""Writes docs/hazards.md and docs/images/hazards_modes.png: the modes compared over `hazards`.

vla eval --suite hazards --mode all --policy expert --log out/hazards.jsonl
python tools/plot_hazards.py out/hazards.jsonl docs

A run that still goes on counts as far as every cell of an episode's index was played.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
import json
from pathlib import Path
import sys
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
import numpy as np

from vla_ros.errors import LogError
from vla_ros.evaluation.figures import cell_figures
from vla_ros.evaluation.metrics import Outcome
from vla_ros.evaluation.runner import Cell, Evaluation, Played
from vla_ros.evaluation.suite import NONE, Trial

COLOURS = {
    'path+cbf': '#1b7f3b',
    'cbf': '#2a6fb0',
    'path': '#8a6fb0',
    'stop': '#e0a030',
    'off': '#b33a3a',
}
PANELS = {
    'collision_avoidance_rate': ('CAR', 'collision_avoidance_wilson_95'),
    'success_rate': ('TSR', 'wilson_95'),
    'safe_success_rate': ('safe success', 'safe_success_wilson_95'),
}
HEAD = (
    'hazard', 'policy', 'mode', 'episodes', 'CAR', 'TSR', 'safe success, 95 % interval', 'unsafe',
    'ETS', 'struck at rest', 'deadlocks',
)  # fmt: skip
GROUPS = {'beside the path': ('beside',), 'on the path': ('on',)}  # summed up after all hazards
PAGE = """# Hazards: the modes compared

Written by `tools/plot_hazards.py` from the log of `vla eval`; what is played and what the figures
mean stands in [evaluation](evaluation.md#hazards-is-the-task-kept-alive). {episodes} episodes of
each kind and level, of seed {seed}; the same ones in every mode.

![CAR, TSR and safe success by hazard and mode](images/hazards_modes.png)

{summary}
## Each kind and level

{table}"""


def read(path: Path) -> tuple[Evaluation, dict[Cell, list[Outcome]]]:
    """Return what a log measures, and the outcomes of its complete indices by cell.

    Raises:
        LogError: There is no complete index.
    """
    head, *lines = (json.loads(line) for line in path.read_text().splitlines())
    played = [Played.read(line) for line in lines]
    counts = Counter(one.index for one in played)
    said = head['measured']
    measured = Evaluation(**{k: tuple(v) if isinstance(v, list) else v for k, v in said.items()})
    cells: dict[Cell, list[Outcome]] = {cell: [] for cell in measured.cells}
    for one in sorted(played, key=lambda one: one.index):
        if counts[one.index] == len(cells):
            cells[one.cell].append(one.outcome)
    if not any(cells.values()):
        raise LogError(f'{path} has no episode that was played in all cells; play on.')
    return measured, cells


def bars(cells: dict[Cell, dict[str, Any]], path: Path) -> None:
    """Draw the rates with their intervals: a column for each policy, bars for each trial."""
    trials = list(dict.fromkeys(cell.trial for cell in cells))
    policies = list(dict.fromkeys(cell.policy for cell in cells))
    modes = list(dict.fromkeys(cell.mode for cell in cells))
    places, width = np.arange(len(trials)), 0.8 / len(modes)
    figure = Figure(figsize=(9.0 * len(policies), 7.0), layout='constrained')
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(PANELS), len(policies), sharex=True, squeeze=False)
    for row, (key, (title, interval)) in zip(grid, PANELS.items()):
        for axes, policy in zip(row, policies):
            for index, mode in enumerate(modes):
                shown = [cells[Cell(policy, mode, trial)] for trial in trials]
                rates = np.array([figures[key] for figures in shown])
                spread = np.abs(np.array([figures[interval] for figures in shown]).T - rates)
                axes.bar(
                    places + (index - (len(modes) - 1) / 2.0) * width, 100.0 * rates, width,
                    yerr=100.0 * spread, color=COLOURS[mode], label=mode,
                    error_kw={'linewidth': 0.7, 'ecolor': '#555555'},
                )  # fmt: skip
            axes.set_ylabel(f'{title} [%]')
            axes.set_ylim(0.0, 105.0)
            axes.set_xticks(places, [str(trial) for trial in trials], rotation=30)
    for axes, policy in zip(grid[0], policies):
        axes.set_title(policy)
    figure.legend(*axes.get_legend_handles_labels(), ncols=len(modes), loc='outside upper center')
    figure.savefig(path, dpi=90)


def rows(cells: Sequence[tuple[str, Cell, Sequence[Outcome]]]) -> str:
    """Return a row of Markdown for each group of outcomes, its name before policy and mode."""
    lines: list[Sequence[str]] = [HEAD, ['---'] * len(HEAD)]
    for name, cell, seen in cells:
        found = cell_figures(seen)
        low, high = found['safe_success_wilson_95']
        lines.append((
            name, cell.policy, f'`{cell.mode}`', str(len(seen)),
            _percent(found['collision_avoidance_rate']), _percent(found['success_rate']),
            f'{_percent(found["safe_success_rate"])} [{100 * low:.1f}, {100 * high:.1f}]',
            str(found['unsafe_successes']), f'{found["mean_steps"]:.0f}',
            str(found['struck_at_rest']), str(found['deadlocks']),
        ))  # fmt: skip
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def summary(outcomes: dict[Cell, list[Outcome]]) -> str:
    """Return the table of all hazards together, and of those beside the path and on it."""
    everything = tuple(dict.fromkeys(c.trial.axis for c in outcomes if c.trial.axis != NONE))
    found = []
    for name, axes in {'all': everything, **GROUPS}.items():
        together: dict[tuple[str, str], list[Outcome]] = {}
        for cell, seen in outcomes.items():
            if cell.trial.axis in axes:
                together.setdefault((cell.policy, cell.mode), []).extend(seen)
        found += [(name, Cell(*who, Trial(name)), seen) for who, seen in together.items()]
    return rows(found)


def _percent(share: float) -> str:
    return f'{100.0 * share:.1f} %'


def main(log: Path, docs: Path) -> None:
    """Write the page and its picture."""
    measured, outcomes = read(log)
    cells = {cell: cell_figures(seen) for cell, seen in outcomes.items()}
    bars(cells, docs / 'images' / 'hazards_modes.png')
    episodes = len(next(iter(outcomes.values())))
    order = list(dict.fromkeys(cell.trial for cell in outcomes))
    each = sorted(outcomes.items(), key=lambda item: order.index(item[0].trial))
    table = rows([(str(cell.trial), cell, seen) for cell, seen in each])
    page = PAGE.format(
        episodes=episodes, seed=measured.seed, summary=summary(outcomes), table=table
    )
    (docs / 'hazards.md').write_text(page, encoding='utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
