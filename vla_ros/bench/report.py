"""The report of `vla bench safety`: figures as JSON, and a table with the targets beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.table import Table

from vla_ros.bench.cost import Cost
from vla_ros.bench.timing import Peer, Timing

MEDIAN, P99 = 90.0, 200.0  # [us] targets of one cycle on two cores
FASTER = 5.0  # times than AEGIS and cbfpy
BARE = 2.5  # times the bare DAQP filter on our kernel


class Result(NamedTuple):
    """All that one run measured."""

    mine: Cost  # the headline
    grown: Sequence[Cost]  # by rows
    joints: Sequence[Cost]
    peers: Sequence[Peer]


def as_json(result: Result) -> dict[str, Any]:
    """Return the whole result; the headline's figures stand at the top."""
    return {
        **_line(result.mine),
        'growth': [_line(c) for c in result.grown],
        'joints': [_line(c) for c in result.joints],
        'peers': {
            p.name: {
                'what': p.what,
                'failed': p.failed,
                'note': p.note,
                **({**p.timing._asdict(), 'ours_us': p.ours_us} if p.timing else {}),
            }
            for p in result.peers
        },
    }


def _line(cost: Cost) -> dict[str, Any]:
    return {
        'rows': cost.rows,
        'dof': cost.dof,
        'obstacles': cost.obstacles,
        'filtered': cost.filtered,
        **cost.timing._asdict(),
    }


def table(result: Result) -> Table:
    """Return the table for a human; times are microseconds of one cycle."""
    out = Table(box=None, pad_edge=False)
    for name in ('', 'p50', 'p99', 'p99.9', 'overruns', ''):
        out.add_column(name, justify='right' if name else 'left', overflow='fold')
    cost = result.mine
    name = f'{cost.dof} joints, {cost.rows} rows, whole cycle'
    out.add_row(name, *_figures(cost.timing), f'{cost.filtered:.0%} of cycles filtered')
    for title, costs in (('rows', result.grown), ('joints', result.joints)):
        for c in costs:
            name = f'{c.rows} rows' if title == 'rows' else f'{c.dof} joints, {c.rows} rows'
            out.add_row(name, *_figures(c.timing), f'{c.obstacles} obstacles')
    for p in result.peers:
        unsolved = f'{p.failed} unsolved' if p.failed else ''
        note = '; '.join(text for text in (p.what, unsolved, p.note) if text)
        out.add_row(p.name, *(_figures(p.timing) if p.timing else [''] * 4), note)
    return out


def targets(result: Result) -> list[str]:
    """Return one line for each target: what was found and what was promised."""
    mine = result.mine.timing
    lines = [
        _target('median [us]', mine.p50_us, MEDIAN, mine.p50_us <= MEDIAN),
        _target('p99 [us]', mine.p99_us, P99, mine.p99_us <= P99),
    ]
    for p in result.peers:
        if p.timing is None:
            continue
        ratio = p.timing.p50_us / p.ours_us
        if p.name == 'bare_daqp':
            text = 'times the bare DAQP filter'
            lines.append(_target(text, 1.0 / ratio, BARE, 1.0 / ratio <= BARE))
        elif p.name.startswith(('aegis', 'cbfpy')):
            text = f'times faster than {p.name}'
            lines.append(_target(text, ratio, FASTER, ratio >= FASTER))
    return lines


def _target(text: str, found: float, target: float, met: bool) -> str:
    return f'{"met   " if met else "missed"}  {text}: {found:.3g}, target {target:g}'


def _figures(timing: Timing) -> list[str]:
    micros = [f'{x:.0f}' for x in (timing.p50_us, timing.p99_us, timing.p999_us)]
    return [*micros, f'{timing.overruns} of {timing.cycles}']
