"""What pages of HTML share: one file with everything in it, which loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .8rem }
th { text-align: left; border-bottom: 2px solid #999 } td { border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.passed { color: #1b7f3b } .failed { color: #b33a3a; font-weight: 600 } .quiet { color: #888 }
figure { margin: 1.5rem 0 } figcaption { font-weight: 600 } img { max-width: 100% }
"""


def html_page(title: str, heading: str, parts: Iterable[str]) -> str:
    """Return a page of HTML.

    Args:
        title: Of the window, as text.
        heading: As text.
        parts: Of the body, as HTML.
    """
    return '\n'.join([
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<title>{escape(title)}</title>',
        f'<style>{STYLE}</style></head><body><h1>{escape(heading)}</h1>',
        *parts,
        '</body></html>',
    ])  # fmt: skip


def table(head: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table of rows of HTML under a head of text."""
    cells = ''.join(f'<th>{escape(name)}</th>' for name in head)
    return '\n'.join([f'<table><tr>{cells}</tr>', *rows, '</table>'])


def row(cells: Iterable[str]) -> str:
    """Return a row of a table: the first cell is a name, the others are figures, all text."""
    name, *numbers = map(escape, cells)
    return (
        f'<tr><td>{name}</td>' + ''.join(f'<td class="number">{n}</td>' for n in numbers) + '</tr>'
    )


def all_figures(figures: Mapping[str, Any]) -> str:
    """Return every figure by its key, folded away."""
    rows = [
        f'<tr><td>{escape(key)}</td><td>{escape(value)}</td></tr>'
        for key, value in _flat('', figures)
    ]
    return f'<details><summary>All figures</summary><table>{"".join(rows)}</table></details>'


def write(path: Path, text: str) -> None:
    """Write a file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, Mapping):
        return [row for k, v in value.items() for row in _flat(f'{prefix}{k}.', v)]
    text = f'{value:.6g}' if isinstance(value, float) else str(value)
    return [(prefix.rstrip('.'), text)]
