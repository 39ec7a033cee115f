"""Simulator, forwarder and safety filter as processes: any of them dies, and the arm rests."""

from __future__ import annotations

from collections.abc import Iterator
import signal
import time

import numpy as np
import pytest

pytest.importorskip('rclpy')

from driven import Cell, cell_of, LATE

STOP = 1.0  # [s] in which every stop of this arm is over, the notice included


@pytest.fixture(scope='module')
def cell(tmp_path_factory) -> Iterator[Cell]:
    with cell_of('panda_streaming', tmp_path_factory.mktemp('patient')) as made:
        yield made


@pytest.fixture(autouse=True)
def ready(cell):
    """Begin each test at rest with every process there and nothing latched."""
    cell.ready()


def test_an_override_is_streamed_to_the_arm_and_reported(cell):
    start = cell.place()
    cell.move(0.4)
    cell.until(lambda: cell.client.safety.source == 'override', 'the source')
    cell.until(lambda: abs(cell.place() - start - 0.4) < 0.02, 'the goal')
    cell.until(lambda: cell.client.safety.source == '', 'the end of the override')


def test_a_killed_filter_leaves_an_arm_that_stops_and_needs_one_reset(cell):
    cell.lose_filter(STOP)
    assert cell.client.safety.latched and cell.client.safety.level == 3

    count = len(cell.joints)
    cell.reset()
    cell.move(0.4)
    steps = np.abs(np.diff([j.position[0] for j in cell.joints[count:]]))
    assert steps.max() < 0.02  # it resumed where it was, without a jump


def test_a_frozen_filter_stops_the_arm_and_cannot_take_it_back(cell):
    cell.move(0.8)
    cell.signal('safety_filter', signal.SIGSTOP)
    cell.rest()
    time.sleep(2.0 * LATE)
    held = cell.place()
    cell.signal('safety_filter', signal.SIGCONT)
    cell.until(lambda: cell.client.safety.latched, 'the fault')
    cell.until(lambda: {'missed_deadline', 'stream_stopped'} & {cell.reason}, 'its reason')
    time.sleep(0.3)
    assert cell.place() == pytest.approx(held, abs=2e-3)
    cell.reset()
    cell.move(-0.4)


def test_a_killed_forwarder_is_told_and_its_return_needs_a_reset(cell):
    cell.move(-0.8)
    cell.signal('forwarder', signal.SIGKILL)
    cell.until(lambda: cell.reason in ('process_lost', 'tracking_lost'), 'the fault')
    assert cell.client.safety.latched
    cell.rest()
    held = cell.place()
    cell.start('forwarder')
    time.sleep(0.5)
    assert cell.place() == pytest.approx(held, abs=2e-3)
    cell.reset()
    cell.move(0.4)
