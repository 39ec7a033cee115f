"""Two arms through the whole graph: simulator, safety filter and policy as processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from vla_ros import graph, paths
from vla_ros.cli.session import session
from vla_ros.robot import load_robot
from vla_ros.ros import convert

LIMIT = 60.0  # bound of every wait [s]
PAIR = load_robot(paths.find('robots', 'dual_panda'))


@pytest.fixture
def patient(tmp_path) -> Path:
    """Return a safety file that bears a busy machine."""
    settings = yaml.safe_load(paths.find('safety', 'default').read_text(encoding='utf-8'))
    file = tmp_path / 'safety.yaml'
    file.write_text(yaml.safe_dump({**settings, 'deadline': 1.0, 'plan_timeout': 5.0}))
    return file


@pytest.mark.slow
def test_a_scripted_policy_moves_both_arms_and_both_grippers(patient, tmp_path, monkeypatch):
    for name in ('ROS_DOMAIN_ID', 'ROS_AUTOMATIC_DISCOVERY_RANGE'):
        monkeypatch.setenv(name, os.environ.get(name, ''))  # a session sets them; undone after
    arguments = {
        'robot': 'dual_panda', 'policy': 'scripted_pair', 'safety': str(patient), 'seed': 1,
    }  # fmt: skip
    seen: list[np.ndarray] = []

    def joints(msg) -> None:
        seen.append(convert.joint_state_from_msg(msg, PAIR.joint_names).position)

    with session(PAIR, arguments, tmp_path / 'log.txt') as run:
        run.client.listen(graph.JOINT_STATES, joints)
        run.ready()
        run.until(lambda: seen, LIMIT, 'joint states')
        start = seen[-1]
        run.client.say('meet', LIMIT)

        def moved() -> bool:
            way = np.ptp(np.array(seen), axis=0)
            arms = all(way[PAIR.columns(arm)].max() > 0.1 for arm in PAIR.arms)
            return arms and bool((way[PAIR.dof :] > 0.03).all())

        run.until(moved, LIMIT, 'motion of both arms and grippers')
        status = run.client.safety
    assert status is not None and not status.latched
    np.testing.assert_allclose(start[:14], PAIR.home, atol=0.01)
