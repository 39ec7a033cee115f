"""S4 asks the driver once, outside the control thread."""

from __future__ import annotations

import threading
import time

from vla_ros.nodes.driver_stop import ASKED, DriverStop, NONE
from vla_ros.safety.result import Level

S3, S4 = Level.S3_HOLD, Level.S4_DRIVER_STOP
LIMIT = 10.0  # bound of every wait [s]


class Driver:
    """A driver whose answer waits for the test."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answer = threading.Event()

    def __call__(self) -> str:
        self.calls.append(threading.current_thread().name)
        assert self.answer.wait(LIMIT)
        return 'the driver stopped: done'


def settled(stop: DriverStop, text: str) -> bool:
    deadline = time.monotonic() + LIMIT
    while stop.judge(S4) != text and time.monotonic() < deadline:
        time.sleep(0.005)
    return stop.judge(S4) == text


def test_below_s4_nobody_is_asked():
    driver = Driver()
    stop = DriverStop(driver)
    assert [stop.judge(level) for level in Level if level is not S4] == [''] * 4
    assert not driver.calls


def test_it_is_asked_once_and_the_control_thread_does_not_wait():
    driver = Driver()
    stop = DriverStop(driver)
    assert [stop.judge(S4) for _ in range(50)] == [ASKED] * 50
    driver.answer.set()
    assert settled(stop, 'the driver stopped: done')
    assert driver.calls == ['driver_stop']


def test_it_is_asked_again_when_s4_comes_back():
    driver = Driver()
    driver.answer.set()
    stop = DriverStop(driver)
    assert settled(stop, 'the driver stopped: done')
    assert stop.judge(S3) == ''
    assert settled(stop, 'the driver stopped: done')
    assert len(driver.calls) == 2


def test_without_a_service_the_status_says_so():
    stop = DriverStop(None)
    assert stop.judge(S4) == NONE
    assert stop.judge(S3) == ''
