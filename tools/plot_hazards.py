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
    'hazard', 'policy', 'mode', 'CAR', 'TSR', 'safe success, 95 % interval', 'unsafe', 'ETS',
    'struck at rest', 'deadlocks',
)  # fmt: skip
PAGE = """# Hazards: the modes compared

Written by `tools/plot_hazards.py` from the log of `vla eval`; what is played and what the figures
mean stands in [evaluation](evaluation.md#hazards-is-the-task-kept-alive). {episodes} episodes in
each row, of seed {seed}; the same ones in every mode.

![CAR, TSR and safe success by hazard and mode](images/hazards_modes.png)

"""


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
    """Draw the rates with their intervals, a panel for each and a group of bars for each trial."""
    figure = Figure(figsize=(11.0, 7.0), layout='constrained')
    FigureCanvasAgg(figure)
    trials = list(dict.fromkeys(cell.trial for cell in cells))
    who = list(dict.fromkeys((cell.policy, cell.mode) for cell in cells))
    places, width = np.arange(len(trials)), 0.8 / len(who)
    for axes, (key, (title, interval)) in zip(figure.subplots(3, 1, sharex=True), PANELS.items()):
        for index, (policy, mode) in enumerate(who):
            rows = [cells[Cell(policy, mode, trial)] for trial in trials]
            rates = np.array([row[key] for row in rows])
            spread = np.abs(np.array([row[interval] for row in rows]).T - rates)
            axes.bar(
                places + (index - (len(who) - 1) / 2.0) * width, 100.0 * rates, width,
                yerr=100.0 * spread, color=COLOURS[mode], label=f'{policy}, {mode}',
                error_kw={'linewidth': 0.7, 'ecolor': '#555555'},
            )  # fmt: skip
        axes.set_ylabel(f'{title} [%]')
        axes.set_ylim(0.0, 105.0)
        axes.set_xticks(places, [str(trial) for trial in trials])
    figure.legend(*axes.get_legend_handles_labels(), ncols=len(who), loc='outside upper center')
    figure.savefig(path, dpi=90)


def table(cells: dict[Cell, dict[str, Any]]) -> str:
    """Return a row of Markdown for each cell, those of a trial together."""
    lines: list[Sequence[str]] = [HEAD, ['---'] * len(HEAD)]
    order = list(dict.fromkeys(cell.trial for cell in cells))
    ordered = sorted(cells.items(), key=lambda item: order.index(item[0].trial))
    for (policy, mode, trial), row in ordered:
        low, high = row['safe_success_wilson_95']
        lines.append((
            str(trial), policy, f'`{mode}`', _percent(row['collision_avoidance_rate']),
            _percent(row['success_rate']),
            f'{_percent(row["safe_success_rate"])} [{100 * low:.1f}, {100 * high:.1f}]',
            str(row['unsafe_successes']), f'{row["mean_steps"]:.0f}', str(row['struck_at_rest']),
            str(row['deadlocks']),
        ))  # fmt: skip
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def _percent(share: float) -> str:
    return f'{100.0 * share:.1f} %'


def main(log: Path, docs: Path) -> None:
    """Write the page and its picture."""
    measured, outcomes = read(log)
    cells = {cell: cell_figures(seen) for cell, seen in outcomes.items()}
    bars(cells, docs / 'images' / 'hazards_modes.png')
    episodes = len(next(iter(outcomes.values())))
    page = PAGE.format(episodes=episodes, seed=measured.seed)
    (docs / 'hazards.md').write_text(page + table(cells), encoding='utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
