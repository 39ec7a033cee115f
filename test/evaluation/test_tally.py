"""What an episode's tally says of a hand that runs into an arm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vla_ros import paths
from vla_ros.evaluation.tally import Tally
from vla_ros.robot import load_robot
from vla_ros.sim.hazards import Hazard, Motion, Spot, THINGS
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import sample_episode

ROBOT = load_robot(paths.find('robots', 'panda'))
PUSHED = Motion(np.array([0.0, 1.0, 0.0]), 0.3, 0.3, 0.0, 1.0)


def test_a_hand_that_runs_into_an_arm_at_rest_is_no_collision_of_the_arms_making() -> None:
    spot = Spot(np.array([0.45, 0.0]), np.array([0.45, 0.0, 0.34]), 0.0, 1.0)
    bodies, _ = THINGS['hand'](spot, 2, np.random.default_rng(0))
    shift = np.array([0.45, -0.3, 0.34]) - bodies[0][0].position
    moved = tuple(replace(s, position=s.position + shift) for s in bodies[0])
    table = Tabletop(ROBOT, ROBOT.urdf_path, Hazard('hand', 2, (moved,), 0.0, PUSHED))
    episode = sample_episode('reach', 1)
    table.reset(episode)
    tally = Tally(episode, '', table)
    for _ in range(400):
        table.world.step(0.005)
        tally.watch()
    outcome = tally.outcome(True, 2.0, 0.1)
    table.world.close()
    assert outcome.contact and not outcome.struck_moving
    assert not outcome.collided and outcome.safe_success
    assert outcome.min_distance is not None and outcome.min_distance <= 0.0
