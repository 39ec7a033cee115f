"""One thing that was looked at: what was found, what was expected, and the cure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from vla_ros.errors import UnknownNameError

MARKS = {'ok': '[green]✓[/]', 'warn': '[yellow]![/]', 'bad': '[red]✗[/]', 'unseen': '[dim]?[/]'}


@dataclass(frozen=True)
class Finding:
    """What one look gave."""

    name: str  # what was looked at; docs/troubleshooting.md lists it
    verdict: str  # a word of MARKS; unseen: could not be looked at, `found` says why
    found: str
    expected: str = ''
    cure: str = ''

    def __post_init__(self) -> None:
        if self.verdict not in MARKS:
            raise UnknownNameError('verdict', self.verdict, MARKS, f'finding {self.name}')

    @property
    def ok(self) -> bool:
        """Whether nothing has to be done."""
        return self.verdict in ('ok', 'unseen')

    def __str__(self) -> str:
        parts = [self.found]
        if not self.ok:
            parts += [f'expected {self.expected}'] if self.expected else []
            parts += [f'→ {self.cure}'] if self.cure else []
        return '; '.join(parts)

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), 'ok': self.ok}


def ok(name: str, found: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(name, 'ok', found)


def warn(name: str, found: str, expected: str, cure: str) -> Finding:
    """Return what works, but not as well as it could."""
    return Finding(name, 'warn', found, expected, cure)


def bad(name: str, found: str, expected: str, cure: str) -> Finding:
    """Return what keeps an arm from moving, or from moving as it should."""
    return Finding(name, 'bad', found, expected, cure)


def unseen(name: str, why: str) -> Finding:
    """Return that something was not looked at."""
    return Finding(name, 'unseen', f'not looked at: {why}')


def gather(name: str, problems: Iterable[Finding], fine: str, blind: str = '') -> list[Finding]:
    """Return the problems of one kind, or that there is none.

    Args:
        name: Of the findings.
        problems: Those that were found.
        fine: What is said where there is none.
        blind: Why nothing could be seen, where that is why there is none; empty: it could.
    """
    return list(problems) or [unseen(name, blind) if blind else ok(name, fine)]


def passed(findings: Iterable[Finding]) -> bool:
    """Say whether nothing is bad."""
    return all(finding.verdict != 'bad' for finding in findings)
