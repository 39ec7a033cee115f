"""Soft rows: against Pinocchio, and what they do to a plan and never do."""

from __future__ import annotations

from dataclasses import replace

from drive import Drive
import numpy as np
import pytest

from vla_ros import config as files
from vla_ros.errors import ConfigError
from vla_ros.kinematics import Kinematics
from vla_ros.safety import Level
from vla_ros.safety.chain import forward
from vla_ros.safety.config import Workspace
from vla_ros.safety.soft import manipulability, soft_rows
from vla_ros.safety.work import knobs_of

ANYWHERE = Workspace((-9.0, -9.0, -9.0), (9.0, 9.0, 9.0))


@pytest.fixture(scope='module')
def kinematics(robot):
    return Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)


def by_pinocchio(kinematics, q):
    """Return sqrt(det(J J^T)) of the tool."""
    jacobian = kinematics.jacobian(q)
    return float(np.sqrt(np.linalg.det(jacobian @ jacobian.T)))


def test_manipulability_is_that_of_the_jacobian(shared_filter, robot, kinematics):
    rng, scene = np.random.default_rng(0), shared_filter.scene
    for _ in range(50):
        q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        forward(scene.arm, q, scene.pose)
        found = manipulability(scene.arm, scene.pose, 0, scene.work.gram)
        assert found == pytest.approx(by_pinocchio(kinematics, q), abs=1e-9)


def test_rows_are_gradients_and_bounds_are_barriers(shared_filter, robot, config, kinematics):
    rng, scene = np.random.default_rng(1), shared_filter.scene
    space = Workspace((0.2, -0.3, 0.1), (0.6, 0.3, 0.7))
    soft = replace(config, workspace=space, singularity=0.2)
    knobs = knobs_of(soft, 1.0)
    work, gamma, step = scene.work, config.barrier_gain, 1e-6
    singular = 0
    for _ in range(30):
        q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        forward(scene.arm, q, work.pose)
        count = soft_rows(scene.arm, q, 3, knobs, work, scene.pose)

        def distances(q):
            tool = kinematics.fk(q)[1]
            sides = np.stack([tool - space.low, space.high - tool], axis=1).ravel()
            return np.append(sides, by_pinocchio(kinematics, q) - 0.2)

        here = distances(q)[:count]
        assert count == 7 if distances(q)[6] < 0.2 else count == 6
        singular += count == 7
        np.testing.assert_allclose(work.bound[3 : 3 + count], -gamma * here, atol=1e-9)
        for j in range(robot.dof):
            ahead = q + step * (np.arange(robot.dof) == j)
            slope = (distances(ahead)[:count] - here) / step
            np.testing.assert_allclose(work.g[3 : 3 + count, j], slope, atol=1e-5)
    assert singular > 10


def furthest(drive, kinematics, seconds):
    """Return how far the tool gets in y [m]."""
    reached = []
    for _ in range(round(seconds / 0.1)):
        drive.run(0.1)
        reached.append(kinematics.fk(drive.q[:-1])[1][1])
    return max(reached)


@pytest.fixture
def made(safety, robot, config):
    """Make a drive with other settings; the filter gets its own back."""
    yield lambda **other: Drive(safety, robot, replace(config, **other))
    safety.retune(config)


def test_a_workspace_is_kept_by_what_it_weighs_and_holds_nothing_up(made, kinematics):
    free = furthest(made(mode='cbf'), kinematics, 2.0)
    space = replace(ANYWHERE, high=(9.0, free - 0.15, 9.0))
    light = made(mode='cbf', workspace=space, soft_weight=0.01)
    barely = furthest(light, kinematics, 2.0)
    heavy = made(mode='cbf', workspace=space, soft_weight=1e3)
    kept = furthest(heavy, kinematics, 2.0)
    assert kept < free - 0.14 and kept < barely - 0.02
    assert any('tool/workspace' in r.active_constraints for r in heavy.results)
    for drive in light, heavy:
        assert max(r.level for r in drive.results) == Level.S1_FILTERED
        assert not any(r.slack for r in drive.results)  # no other row gave way


def test_what_is_preferred_changes_nothing_where_it_holds(made):
    plain, eased = made(mode='cbf'), None
    plain.run(1.0)
    eased = made(mode='cbf', workspace=ANYWHERE, singularity=1e-6)
    eased.run(1.0)
    for a, b in zip(plain.results, eased.results, strict=True):
        np.testing.assert_array_equal(a.filtered_velocity, b.filtered_velocity)


def test_a_workspace_that_is_none_is_refused(config):
    with pytest.raises(ConfigError, match='expected low below high'):
        files.build(Workspace, {'low': [0, 0, 0], 'high': [1, 0, 1]}, 'here')
