"""The forwarder as the filter judges it: how long it may be silent, and why it stopped the arm."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.drivers.link import Link, silence_of
from vla_ros.robot import load_robot
from vla_ros.status import Hold

DT = 0.005


def run(link: Link, seconds: float) -> tuple[str, str]:
    for _ in range(round(seconds / DT)):
        fault = link.tick(DT)
    return fault


@pytest.mark.parametrize('name', ['panda_streaming', 'panda_velocity'])
def test_an_arm_that_would_run_on_has_its_forwarder_missed_sooner(name):
    driver = load_robot(paths.find('robots', name)).driver
    silence = silence_of(driver)
    assert (silence < 0.25) == driver.arm.runs_on
    link = Link(silence)
    assert run(link, 2.0 * silence) == ('', '') and not link.lost  # nobody has spoken yet
    link.hear(Hold(streams=True))
    assert run(link, 0.9 * silence) == ('', '')
    fault, _ = run(link, 0.2 * silence)
    assert fault == 'process_lost' and link.lost
    link.hear(Hold(streams=True))
    run(link, DT)
    assert not link.lost and link.broken


def test_why_the_arm_was_stopped_comes_with_the_fault():
    link = Link(0.5)
    link.hear(Hold(False, np.zeros(2), 'the controller refused goal 7'))
    assert link.tick(DT) == ('stream_stopped', 'the controller refused goal 7')
