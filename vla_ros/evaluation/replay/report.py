"""The report of replays: one page that stands alone, and JUnit for continuous integration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from xml.etree import ElementTree

from vla_ros.evaluation.page import all_figures, html_page, table
from vla_ros.evaluation.replay.runs import Run

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
    rows = [_row(number, run) for number, run in enumerate(runs)]
    parts = [
        table(('replay', *COLUMNS, 'verdict'), rows),
        *(_section(number, run) for number, run in enumerate(runs)),
    ]
    return html_page('Replay', f'Replay: {word}', parts)


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
        f'{all_figures(run.figures)}'
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
