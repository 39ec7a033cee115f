"""The matrix is whole, and its page shows it."""

from __future__ import annotations

from matrix import BEGIN, END, GROUPS, PAGE, page

from vla_ros.safety.config import FAULTS

ROWS = [row for rows in GROUPS.values() for row in rows]


def test_every_fault_of_the_table_has_a_row():
    assert set(FAULTS) - {row.fault for row in ROWS} == set()


def test_no_two_rows_are_the_same():
    assert len({row.what for row in ROWS}) == len(ROWS)


def test_the_page_shows_the_matrix():
    text = PAGE.read_text(encoding='utf-8')
    shown = text.partition(BEGIN)[2].partition(END)[0]
    assert shown == ''.join(page()), 'run python test/faults/matrix.py'
