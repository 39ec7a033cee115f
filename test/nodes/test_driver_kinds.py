"""Every kind of driver as processes: the arm goes where it is told, and silence stops it.

Two kinds run always; the others, whose outlets are the same, with VLA_ROS_ALL_DRIVERS=1.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
import signal
import time

import pytest

pytest.importorskip('rclpy')

from driven import Cell, cell_of, LATE, RESTING

from vla_ros.drivers.link import silence_of

pytestmark = pytest.mark.timeout(300)
ALWAYS = ['panda_action', 'panda_velocity']
OTHERS = ['panda_isaac', 'panda_servo']
ALL = os.environ.get('VLA_ROS_ALL_DRIVERS') == '1'
STOP = 1.0  # [s] in which every stop of this arm is over


@pytest.fixture(scope='module', params=[*ALWAYS, *(OTHERS if ALL else ())])
def cell(request, tmp_path_factory) -> Iterator[Cell]:
    with cell_of(request.param, tmp_path_factory.mktemp(request.param)) as made:
        made.ready()
        yield made


def test_the_arm_goes_where_it_is_told(cell):
    start = cell.place()
    cell.move(0.4)
    cell.until(lambda: abs(cell.place() - start - 0.4) < 0.02, 'the goal')
    cell.until(lambda: cell.client.safety.source == '', 'the end of the override')


def test_a_killed_filter_leaves_an_arm_that_stops_and_needs_one_reset(cell):
    cell.ready()
    cell.lose_filter(STOP)
    cell.reset()
    cell.move(0.4)


def test_a_killed_forwarder_leaves_an_arm_that_stops(cell):
    cell.ready()
    cell.move(-0.8)
    cell.signal('forwarder', signal.SIGKILL)
    began = time.monotonic()
    cell.until(lambda: cell.reason in ('process_lost', 'tracking_lost'), 'the fault')
    cell.until(lambda: cell.speed() < RESTING, 'rest')
    driver = cell.robot.driver
    notice = silence_of(driver) - driver.late + LATE if driver.arm.runs_on else 0.0
    assert time.monotonic() - began < STOP + notice + 1.0
    held = cell.place()
    cell.start('forwarder')
    time.sleep(0.5)
    assert cell.place() == pytest.approx(held, abs=5e-3)
    cell.reset()
    cell.move(0.4)


def test_a_controller_that_gives_up_is_believed_and_named(cell):
    """The world is set anew under a moving arm: the controller finds itself far off its path."""
    if '/action/' not in cell.robot.driver.arm.type:
        pytest.skip('this controller never says what it does')
    cell.ready()
    cell.move(0.8)
    cell.until(lambda: abs(cell.place()) > 0.4, 'an arm far from home')
    cell.client.reset_world('', 'reach', 1)
    told = 'PATH_TOLERANCE_VIOLATED'
    cell.until(lambda: any(told in line for line in cell.lines), 'the result of the goal')
    cell.until(lambda: cell.client.safety.latched, 'the fault')
    cell.until(lambda: cell.speed() < RESTING, 'rest')
    time.sleep(0.5)  # a goal that was under way is given up as well, and latches again
    cell.reset()
    cell.move(0.4)
