"""A control loop that was late goes on where its last command has brought the arm."""

from __future__ import annotations

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.drivers.follower import TrajectoryFollower
from vla_ros.nodes.control import Control
from vla_ros.robot import load_robot
from vla_ros.safety.config import load_safety
from vla_ros.types import JointState, Trajectory

ROBOT = load_robot(paths.find('robots', 'panda'))
PERIOD = 0.005  # [s]


@pytest.fixture(scope='module')
def control() -> Control:
    return Control(ROBOT, load_safety(paths.find('safety', 'default')))


@pytest.mark.parametrize('late', [0.012, 0.02, 0.05, 0.09, 0.3])
def test_the_next_command_goes_on_from_where_the_stop_has_brought_the_arm(control, late):
    """The arm plays the stop of the last command, so a reference of before lies behind it."""
    control.start()
    arm, now = TrajectoryFollower(np.array(ROBOT.home)), 100.0

    def tick(dt: float):
        place, speed = arm.sample(now)
        control.put_state(JointState(now, np.append(place, 0.04), np.append(speed, 0.0)))
        result = control.tick(now, dt)
        command = result.command
        arm.accept(
            Trajectory(now, command.times, command.positions[:, :-1], command.velocities[:, :-1]),
            now,
        )
        return result

    for k in range(240):
        if k % 20 == 0:
            times = 0.1 * np.arange(1, 20)
            positions = np.tile([*ROBOT.home, 0.04], (19, 1))
            way = now - 100.0 + times
            positions[:, 0] += np.where(way < 0.4, 1.5 * way**2, 0.24 + 1.2 * (way - 0.4))
            control.put_trajectory(Trajectory(now, times, positions))
        tick(PERIOD)
        now += PERIOD
    now += late - PERIOD
    place, speed = arm.sample(now)
    result = tick(late)
    command = result.command
    wanted = (command.positions[0, :-1] - place) / command.times[0]
    change = np.abs(wanted - speed) / ROBOT.limits('acceleration')
    assert speed[0] > 0.5 or late > 0.2
    assert change.max() < 0.1, f'{speed[0]:.2f} rad/s, then {wanted[0]:.2f}'
    assert (result.reason == 'missed_deadline') == (late > 0.1)
