"""The report of an evaluation: one page that stands alone, with films of failures in it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from vla_ros.evaluation.page import all_figures, html_page, row, table
from vla_ros.evaluation.report import cell_columns
from vla_ros.evaluation.report import table as task_table
from vla_ros.evaluation.rollout import FILM_TICKS
from vla_ros.evaluation.runner import Cell, failures, Played
from vla_ros.evaluation.video import compose, write
from vla_ros.sim.tabletop import Tabletop
from vla_ros.types import Image

FILMS = 10  # failures that are filmed
SIZE = (320, 240)  # [px] of each camera in a film
MOST_FAILURES = 200  # that a page lists


def film_failures(
    played: Sequence[Played],
    play: Callable[[int, Cell, Callable[[Tabletop], None]], Played],
    folder: Path,
    period: float,
) -> dict[tuple[int, Cell], Path]:
    """Play the first FILMS failures again, which go as they went before, and film them.

    Args:
        played: Every episode.
        play: Of the player.
        folder: Where films go, as H.264.
        period: Of a control tick [s].
    """
    films = {}
    for one in failures(played)[:FILMS]:
        pictures: list[Image] = []

        def film(table: Tabletop) -> None:
            world = table.world
            seen = [world.render(camera.name, *SIZE) for camera in table.robot.cameras]
            sentence = table.episode.instruction if table.episode is not None else ''
            pictures.append(compose(seen, sentence, f'{world.time:.1f} s'))  # noqa: B023

        play(one.index, one.cell, film)
        words = f'{one.index:04d} {one.cell.policy} {one.cell.mode} {one.cell.trial}'
        path = folder / f'{words.replace(" ", "_").replace("+", "_")}.mp4'
        folder.mkdir(parents=True, exist_ok=True)
        write(path, pictures, 1.0 / (FILM_TICKS * period))
        films[one.index, one.cell] = path
    return films


def page(
    found: Mapping[str, Any], played: Sequence[Played], films: Mapping[tuple[int, Cell], Path]
) -> str:
    """Return a page of HTML with everything in it.

    Args:
        found: The figures.
        played: Every episode.
        films: By episode and cell.
    """
    low, high = (100.0 * share for share in found['wilson_95'])
    success = 100.0 * found['success_rate']
    heading = f'{found["policy"]} on {found["suite"]}: {success:.1f} % [{low:.1f}, {high:.1f}]'
    names = ('robot', 'safety', 'mode', 'seed', 'episodes')
    parts = ['<p>' + escape(', '.join(f'{name} {found[name]}' for name in names)) + '</p>']
    head, *cells = cell_columns(found)
    if len(cells) > 1:
        parts.append(table(head, map(row, cells)))
    parts += ['<h2>Tasks</h2>', f'<pre>{escape(task_table(found))}</pre>']
    failed = failures(played)
    parts.append(f'<h2>Failures: {len(failed)}</h2>')
    parts.append(table(
        ('sentence', 'index', 'seed', 'policy', 'mode', 'trial', 'seconds', 'neared', 'error'),
        (_failure(one) for one in failed[:MOST_FAILURES]),
    ))  # fmt: skip
    for (index, cell), path in films.items():
        data = b64encode(path.read_bytes()).decode('ascii')
        caption = f'{index}: {cell.policy}, {cell.mode}, {cell.trial}'
        parts.append(
            f'<figure><figcaption>{escape(caption)}</figcaption><video controls '
            f'src="data:video/mp4;base64,{data}"></video></figure>'
        )
    rest = {key: value for key, value in found.items() if key not in ('outcomes', 'cells')}
    return html_page('Evaluation', heading, [*parts, all_figures(rest)])


def _failure(one: Played) -> str:
    outcome, cell = one.outcome, one.cell
    return row((
        outcome.instruction, str(one.index), str(outcome.seed), cell.policy, cell.mode,
        str(cell.trial), f'{outcome.seconds:.1f}', outcome.first_object or '-', outcome.error,
    ))  # fmt: skip
