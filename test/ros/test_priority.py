"""Who may take priority: the policy gives some up only where the control loop can take none."""

from __future__ import annotations

import os
import resource

import pytest

pytest.importorskip('rclpy')

from vla_ros.ros.node import may_raise

NOBODY = 65534


def test_asking_changes_nothing():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    may_raise()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.skipif(os.getuid() != 0, reason='only root can become somebody else')
def test_a_user_without_the_right_may_not():
    child = os.fork()
    if child == 0:
        answer = 2
        try:
            resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
            os.setuid(NOBODY)
            answer = int(may_raise())
        finally:
            os._exit(answer)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
