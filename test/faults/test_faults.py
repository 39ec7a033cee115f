"""Every row of the fault matrix, over real processes and real DDS: rest with a reason, or on."""

from __future__ import annotations

import time
import warnings

from cell import Cell, CONFIG
from matrix import CLOCK, GUARDED, INSIDE, MESSAGES, POLICY, PROCESSES, Row
import pytest
from table import Table

from vla_ros.errors import NodeError

pytestmark = pytest.mark.timeout(400)  # [s] on a machine that is busy with other work

KEEPS = 0.25  # [s] for which rest and reason must outlast the stop
ON = 1.2  # [s] for which a row that is no fault lasts, more than the plan timeout
TRIES = 3
LATE = {  # what a machine that is late for the filter is told
    'missed_deadline', 'stream_stopped', 'process_lost', 'joint_state_stale', 'enable_released',
    'clock_paused', 'clock_step', 'tracking_lost',
}  # fmt: skip
AWAY = 1.0  # [s] for which an arm too near to an obstacle must not come nearer
TOUCH = 1e-4  # [m]
WAY = 0.1  # [rad] that the arm travels at least in the last second and a half


def play(cell: Cell, row: Row) -> None:
    """Play a row; once more if it fails, and again where the machine was late for filter or arm.

    What failed is shown as a warning: a row that needs its second chance often is to be mended.
    """
    for attempt in range(TRIES):
        cell.reasons.clear()
        cell.late = False
        try:
            once(cell, row)
            return
        except (AssertionError, NodeError) as error:
            late = cell.late or cell.reasons & (LATE - {row.fault})
            if attempt == TRIES - 1 or (attempt and not late):
                raise
            warnings.warn(f'{row.what}: played again after {error}', stacklevel=1)
            recover(cell)


def once(cell: Cell, row: Row) -> None:
    """Move, let it go wrong, see it end as the table says, cure it, move again."""
    cell.ready()
    cell.moves()
    refused = cell.refused
    cell.heard.clear()
    row.inject(cell)
    if row.fault:
        stops(cell, row)
    elif not row.stays:
        cell.until(lambda: cell.least < 0.0, 'the obstacle inside the margin to be seen')
        keeps_off(cell)
    else:
        time.sleep(ON)
        cell.until(lambda: cell.travel() > WAY, 'the motion to go on')
        faults = {reason for reason, level in tuple(cell.heard) if level > 1}
        assert faults <= LATE, faults
    if row.refuses:
        cell.until(lambda: cell.refused > refused, 'refusals in the diagnostics')
    row.cure(cell)
    if row.fault and CONFIG.faults[row.fault].latched and not row.activates:
        time.sleep(KEEPS)
        assert cell.status.latched, 'the cure alone cleared it'
        assert cell.speed < cell.still
        cell.reset()
    cell.moves()
    assert not cell.wrong, cell.wrong[:3]


def stops(cell: Cell, row: Row) -> None:
    """See the arm come to rest, for the reason that the table has, and stay there."""
    cell.until(
        lambda: (
            row.fault in {reason for reason, _ in tuple(cell.heard)}
            or (cell.status.latched and cell.status.reason == row.hides)
        ),
        f"the reason '{row.fault}'",
    )
    if not row.stays:
        keeps_off(cell)
        return
    if row.watch != 'command':
        cell.until(lambda: cell.speed < cell.still, 'rest')
    if row.watch != 'arm':
        cell.until(lambda: cell.told_to_rest, 'a command to rest')
    place = cell.place
    cell.look()
    cell.heard.clear()
    time.sleep(KEEPS)
    allowed = {
        (fault, CONFIG.faults[fault].level) for fault in (row.fault, row.then, row.hides) if fault
    }
    assert set(cell.heard) <= allowed
    fault = CONFIG.faults[cell.status.reason]
    assert cell.status.latched == fault.latched
    assert cell.status.message.startswith(fault.message)
    assert abs(cell.place - place).max() < cell.stays


def keeps_off(cell: Cell) -> None:
    """See an arm that is too near to a ball come no nearer to it; away from it, it may."""
    time.sleep(KEEPS)  # the stop itself still comes nearer
    gap = min(cell.gap(), CONFIG.margin_obstacle)
    time.sleep(AWAY)
    assert cell.gap() > gap - TOUCH


def recover(cell: Cell) -> None:
    """End what was done wrong."""
    cell.wrong.clear()
    cell.wake()
    cell.behave()


@pytest.fixture(autouse=True)
def sane(request):
    """Leave the next row a cell without faults, whatever became of this one."""
    names = {'plain', 'sabotaged', 'guarded', 'table'} & set(request.fixturenames)
    cells = [request.getfixturevalue(name) for name in names]
    yield
    for cell in cells:
        recover(cell)


@pytest.mark.parametrize('row', [*MESSAGES, *PROCESSES], ids=lambda row: row.what)
def test_what_others_send(plain: Cell, row: Row) -> None:
    play(plain, row)


@pytest.mark.parametrize('row', [*CLOCK, *INSIDE], ids=lambda row: row.what)
def test_what_time_and_solver_do(sabotaged: Cell, row: Row) -> None:
    play(sabotaged, row)


@pytest.mark.parametrize('row', GUARDED, ids=lambda row: row.what)
def test_what_processes_and_people_do(guarded: Cell, row: Row) -> None:
    play(guarded, row)


@pytest.mark.parametrize('row', POLICY, ids=lambda row: row.what)
def test_what_the_policy_does(table: Table, row: Row) -> None:
    play(table, row)
