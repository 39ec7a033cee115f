"""The report of replays: one page that stands alone, and JUnit for continuous integration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from vla_ros.evaluation.replay.runs import Run

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .8rem }
th { text-align: left; border-bottom: 2px solid #999 } td { border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.passed { color: #1b7f3b } .failed { color: #b33a3a; font-weight: 600 } .quiet { color: #888 }
figure { margin: 1.5rem 0 } figcaption { font-weight: 600 } img { max-width: 100% }
"""

# Column -> figure, factor and digits: what the tables show of a run.
COLUMNS: dict[str, tuple[str, float, int]] = {
    'asked': ('steps', 1.0, 0),
    'joints [mrad]': ('action_mae', 1e3, 1),
    'tool [mm]': ('tool_mm', 1.0, 1),
    'gripper [%]': ('gripper_accuracy', 1e2, 1),
    'latency [ms]': ('latency_ms.total.p50', 1.0, 0),
    'age [ms]': ('chunk_age_ms.p95', 1.0, 0),
    'stall [s]': ('stall_seconds', 1.0, 2),
    'acted [%]': ('intervention_rate', 1e2, 1),
    'seam ratio': ('seam_velocity_ratio', 1.0, 2),
    'apart [mm]': ('divergence.mean_mm', 1.0, 1),
}


def look_up(figures: Mapping[str, Any], key: str) -> Any:
    """Return a figure by its key, dots lead into tables; None: it was not measured."""
    value: Any = figures
    for part in key.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def cells(run: Run) -> list[str]:
    """Return what the columns show of a run."""
    found = []
    for key, factor, digits in COLUMNS.values():
        value = look_up(run.figures, key)
        found.append('-' if value is None else f'{factor * value:.{digits}f}')
    return found


def page(runs: Sequence[Run]) -> str:
    """Return a page of HTML with everything in it; it loads nothing."""
    failed = sum(not run.passed for run in runs)
    word = 'all passed' if not failed else f'{failed} of {len(runs)} failed'
    head = ''.join(f'<th>{escape(name)}</th>' for name in ('replay', *COLUMNS, 'verdict'))
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Replay</title>',
        f'<style>{STYLE}</style></head><body><h1>Replay: {word}</h1>',
        f'<table><tr>{head}</tr>',
        *(_row(number, run) for number, run in enumerate(runs)),
        '</table>',
        *(_section(number, run) for number, run in enumerate(runs)),
        '</body></html>',
    ]
    return '\n'.join(parts)


def _row(number: int, run: Run) -> str:
    numbers = ''.join(f'<td class="number">{cell}</td>' for cell in cells(run))
    name = f'<td><a href="#run{number}">{escape(run.name)}</a></td>'
    return f'<tr>{name}{numbers}<td>{_word(run.passed)}</td></tr>'


def _word(passed: bool) -> str:
    word = 'passed' if passed else 'failed'
    return f'<span class="{word}">{word}</span>'


def _section(number: int, run: Run) -> str:
    verdicts = ''.join(
        f'<tr><td>{escape(v["name"])}</td><td>{escape(v["figure"])}</td>'
        f'<td class="{"" if v["value"] is not None else "quiet"}">{escape(v["message"])}</td>'
        f'<td>{_word(v["passed"]) if v["value"] is not None else ""}</td></tr>'
        for v in run.verdicts
    )
    notes = ''.join(f'<li>{escape(note)}</li>' for note in run.notes)
    pictures = ''.join(
        f'<figure><figcaption>{escape(caption)}</figcaption>'
        f'<img alt="{escape(caption)}" src="data:image/png;base64,{data}"></figure>'
        for caption, data in run.pictures
    )
    return (
        f'<h2 id="run{number}">{escape(run.name)}</h2>'
        f'<table><tr><th>limit</th><th>figure</th><th>found</th><th></th></tr>{verdicts}</table>'
        f'{"<ul>" + notes + "</ul>" if notes else ""}{_reasons(run)}{pictures}'
        f'<details><summary>All figures</summary>{_figures(run)}</details>'
    )


def _reasons(run: Run) -> str:
    reasons = run.figures.get('interventions')
    if not reasons:
        return ''
    rows = ''.join(
        f'<tr><td>{escape(reason)}</td><td class="number">{100.0 * share:.1f} %</td></tr>'
        for reason, share in reasons.items()
    )
    return f'<table><tr><th>intervention</th><th>of ticks</th></tr>{rows}</table>'


def _figures(run: Run) -> str:
    rows = ''.join(
        f'<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>'
        for key, value in _flat('', run.figures)
    )
    return f'<table>{rows}</table>'


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for k, v in value.items() for row in _flat(f'{prefix}{k}.', v)]
    text = f'{value:.6g}' if isinstance(value, float) else str(value)
    return [(prefix.rstrip('.'), text)]


def junit(runs: Sequence[Run]) -> str:
    """Return JUnit XML: a suite for each replay, a case for each limit."""
    root = ElementTree.Element('testsuites', name='vla replay')
    for run in runs:
        failed = sum(not v['passed'] for v in run.verdicts)
        skipped = sum(v['value'] is None for v in run.verdicts)
        suite = ElementTree.SubElement(
            root, 'testsuite', name=run.name, tests=str(len(run.verdicts)),
            failures=str(failed), skipped=str(skipped),
        )  # fmt: skip
        for verdict in run.verdicts:
            case = ElementTree.SubElement(
                suite, 'testcase', name=verdict['name'], classname=run.name
            )
            if verdict['value'] is None:
                ElementTree.SubElement(case, 'skipped', message=verdict['message'])
            elif not verdict['passed']:
                text = f'{verdict["figure"]}: {verdict["message"]}'
                ElementTree.SubElement(case, 'failure', message=text)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode', xml_declaration=True) + '\n'


def write(path: Path, text: str) -> None:
    """Write a file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
