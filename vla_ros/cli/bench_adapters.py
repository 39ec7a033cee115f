"""`vla bench adapters`: every adapter that loads weights, beside an oracle."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

import click

from vla_ros import paths
from vla_ros.cli.options import json_option
from vla_ros.cli.output import Output
from vla_ros.errors import ConfigError, UnknownNameError, VlaError

CASES = Path('test') / 'policies' / 'cases.py'
WHAT = ('images', 'tokens', 'statistics', 'actions')
WEIGHTS = ('int8', 'fp8', 'nf4')  # as `options: weights` has them
HEADS = (
    'adapter', 'layouts', 'missing', 'unexpected', 'parameters', *WHAT, *WEIGHTS, 'oracle',
)  # fmt: skip


@click.command()
@click.option(
    '--adapter', 'names', multiple=True, metavar='NAME',
    help='Which; may be given again.  [default: all that load weights]',
)  # fmt: skip
@click.option(
    '--markdown',
    type=click.Path(dir_okay=False, path_type=Path),
    help='Write the table into this page, between its two marks.',
)
@json_option
def adapters(names: tuple[str, ...], markdown: Path | None, output: Output) -> None:
    """Load small random checkpoints in every published layout and compare with an oracle.

    A tensor of a network that no file has is missing, one of a file that no network has is
    unexpected; values are compared, not names. A deviation is the largest absolute difference of
    pictures as they enter the network (-1 to 1 or so), of tokens (how many differ), of normalised
    statistics and of actions in their own units. Fails if one is larger than its bound. Then the
    linear layers are rounded to fewer bits: of the worst one, the error of the weights.
    """
    from rich.progress import Progress

    cases = load_cases()
    for name in names:
        if name not in cases:
            raise UnknownNameError('adapter', name, cases, str(CASES))
    chosen = {name: case for name, case in cases.items() if not names or name in names}
    started = time.monotonic()
    result = {}
    with Progress(console=output.console) as progress:
        bar = progress.add_task('', total=sum(len(case.layouts) for case in chosen.values()))
        for name, case in chosen.items():
            layouts = {}
            for layout in case.layouts:
                progress.update(bar, description=f'{name}, {layout}')
                layouts[layout] = examine(case, layout)
                progress.advance(bar)
            result[name] = summary(case, layouts)
    rows = table(result)
    output.console.print(aligned(rows), soft_wrap=True, markup=False)
    if markdown is not None:
        write_markdown(markdown, rows)
    output.write({'adapters': result, 'wall_seconds': time.monotonic() - started})
    bad = [f'{name} ({fault})' for name, entry in result.items() for fault in entry['faults']]
    if bad:
        raise VlaError(f'not as their oracles: {"; ".join(bad)}.')


def load_cases() -> dict[str, Any]:
    """Return the cases of a checkout's tests, by the names of their adapters.

    Raises:
        ConfigError: This is no checkout.
    """
    file = paths.share() / CASES
    if not file.is_file():
        raise ConfigError(
            f'{file} is not there: the small checkpoints and oracles are part of a checkout only; '
            'clone the repository and run `vla bench adapters` there.'
        )
    folders = [str(file.parent), str(file.parents[1] / 'models')]
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
    found: dict[str, Any] = import_module(CASES.stem).CASES
    return found


def examine(case: Any, layout: str) -> dict[str, Any]:
    """Write a checkpoint in a layout, run its adapter and return what was found."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / 'checkpoint'
        try:
            case.write(place, layout)
            found = case.examine(place, layout)
        except VlaError as error:
            return {'error': str(error)}
    return {
        'missing_keys': found.missing,
        'unexpected_keys': found.unexpected,
        'unused_keys': found.unused,
        'parameters': found.parameters,
        'deviations': {
            what: {'value': one.value, 'bound': one.bound, 'within': one.within}
            for what, one in found.deviations.items()
        },
        'rounded': {
            kind: {'weights': one.weights, 'actions': one.actions}
            for kind, one in found.rounded.items()
        },
    }


def summary(case: Any, layouts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return the entry of an adapter: of all its layouts the worst."""
    loaded = {name: one for name, one in layouts.items() if 'error' not in one}
    worst = {
        what: max((one['deviations'][what]['value'] for one in loaded.values()), default=None)
        for what in WHAT
    }
    faults = [f'{name}: {one["error"]}' for name, one in layouts.items() if 'error' in one]
    for name, one in loaded.items():
        faults += [
            f'{name}: {what} {value["value"]:.3g}, at most {value["bound"]:.3g}'
            for what, value in one['deviations'].items()
            if not value['within']
        ]
        for kind in ('missing', 'unexpected'):
            if keys := one[f'{kind}_keys']:
                faults.append(f'{name}: {len(keys)} {kind} tensors, such as {keys[0]}')
    return {
        'layouts': list(layouts),
        **{
            key: sorted({name for one in loaded.values() for name in one[key]})
            for key in ('missing_keys', 'unexpected_keys')
        },
        'parameters': case.published() or max((one['parameters'] for one in loaded.values()),
                                              default=None),
        'oracle': case.oracle,
        'max_deviation': worst['actions'],
        'worst': worst,
        'rounding_error': {
            kind: max((one['rounded'][kind]['weights'] for one in loaded.values()
                       if kind in one['rounded']), default=None)
            for kind in WEIGHTS
        },
        'by_layout': layouts,
        'faults': faults,
    }  # fmt: skip


def table(result: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the heads and a row for each adapter."""
    rows = [list(HEADS)]
    for name, entry in result.items():
        values = ['-' if entry['worst'][w] is None else f'{entry["worst"][w]:.1g}' for w in WHAT]
        errors = [entry['rounding_error'][kind] for kind in WEIGHTS]
        size = entry['parameters']
        rows.append([
            name, ', '.join(entry['layouts']), str(len(entry['missing_keys'])),
            str(len(entry['unexpected_keys'])), '-' if size is None else f'{size:,}', *values,
            *('-' if e is None else f'{100.0 * e:.2g} %' for e in errors), entry['oracle'],
        ])  # fmt: skip
    return rows


def aligned(rows: list[list[str]]) -> str:
    """Return the rows in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    return '\n'.join('  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip() for row in rows)


def write_markdown(page: Path, rows: list[list[str]]) -> None:
    """Put the table between the marks of a page.

    Raises:
        ConfigError: The page is not there, or has no such marks.
    """
    begin, end = '<!-- table: vla bench adapters -->\n', '<!-- end of table -->'
    text = page.read_text(encoding='utf-8') if page.is_file() else ''
    before, mark, rest = text.partition(begin)
    _, other, after = rest.partition(end)
    if not mark or not other:
        raise ConfigError(
            f"{page} has no place for the table: write the lines '{begin.strip()}' and '{end}' "
            'where it shall stand.'
        )
    lines = [f'| {" | ".join(row)} |' for row in (rows[0], ['---'] * len(HEADS), *rows[1:])]
    page.write_text(f'{before}{begin}{chr(10).join(lines)}\n{end}{after}', encoding='utf-8')
