"""The oracle's shortcut is sound, and the bench's own arithmetic is right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.bench.arena import Arena
from vla_ros.bench.long_arm import two_in_a_row
from vla_ros.bench.oracle import Oracle
from vla_ros.bench.timing import summarise
from vla_ros.kinematics import Kinematics
from vla_ros.robot import load_robot
from vla_ros.sim.world import World

ROBOTS = sorted(p.stem for p in (paths.share() / 'config' / 'robots').glob('*.yaml'))


@pytest.fixture(scope='module')
def robot():
    return load_robot(paths.find('robots', 'panda'))


def test_no_distance_falls_faster_than_its_levers_say(robot):
    """The bound that lets the oracle skip a pair, against distances along random ways."""
    rng = np.random.default_rng(0)
    oracle = Oracle(robot, Arena(3, 0, 1.0, rng).solids)
    tightest = 0.0
    for _ in range(150):
        q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        there = q + rng.normal(0.0, 0.02, robot.dof)
        a, b = (oracle.full(np.append(x, rng.uniform(0.0, 0.04))) for x in (q, there))
        before, after = oracle.distances(a), oracle.distances(b)
        apart = (before > 0.0) & (after > 0.0)
        bound = oracle.levers @ np.abs(b - a)
        assert (np.abs(after - before)[apart] <= bound[apart] + 1e-6).all()
        tightest = max(tightest, float((np.abs(after - before) / bound)[apart].max()))
    assert tightest > 0.5  # and not so loose that nothing would ever be skipped


def test_pairs_that_are_not_due_are_apart(robot):
    """Walk among moving solids: whatever the shortcut skips, the full look finds apart."""
    rng = np.random.default_rng(1)
    arena = Arena(2, 2, 2.0, rng)
    oracle, full = Oracle(robot, arena.solids), Oracle(robot, arena.solids)
    q, v = np.array(robot.home), rng.uniform(-1.0, 1.0, robot.dof)
    arena.settle(oracle, oracle.full(np.append(q, 0.04)), 0.05)
    arena.settle(full, full.full(np.append(q, 0.04)), 0.05)
    skipped = 0
    for k in range(300):
        t = 0.005 * k
        pose = oracle.full(np.append(q + 0.3 * np.sin(3.0 * t) * v, 0.04))
        due = oracle.due(pose, 0.005)
        arena.place(oracle, t)
        arena.place(full, t)
        touching = {pair for pair, _ in oracle.look(due)} if due else set()
        assert touching == set(np.flatnonzero(full.distances(pose) <= 0.0).tolist())
        skipped += len(oracle.room) - len(due)
    assert skipped > 0.8 * 300 * len(oracle.room)


@pytest.mark.parametrize('kind', ['ur5e', 'odd'])
def test_what_mimics_a_joint_goes_where_mujoco_puts_it(kind, tmp_path):
    """Linkages that turn the other way; and one with a multiplier and an offset."""
    robot = load_robot(paths.find('robots', 'panda' if kind == 'odd' else kind))
    if kind == 'odd':
        text = robot.urdf_path.read_text(encoding='utf-8')
        assert text.count('<mimic ') == 1
        file = tmp_path / 'odd.urdf'
        file.write_text(text.replace('<mimic ', '<mimic multiplier="0.5" offset="0.003" '))
        robot = replace(robot, urdf=str(file))
    oracle, world = Oracle(robot), World(robot, robot.urdf_path, objects=())
    ends = robot.grippers[0].closed, robot.grippers[0].open
    for opening in np.linspace(*ends, 3):
        world.reset(gripper=opening)
        full = oracle.full(np.append(robot.home, opening))
        for name in list(oracle.model.names)[1:]:
            column = oracle.model.joints[oracle.model.getJointId(name)].idx_q
            assert full[column] == pytest.approx(world.data.joint(name).qpos[0]), name


@pytest.mark.parametrize('name', ROBOTS)
def test_at_home_nothing_touches_at_any_opening(name):
    """Else an attack would find a contact that no command made."""
    robot = load_robot(paths.find('robots', name))
    oracle, joints = Oracle(robot), robot.ready
    for share in np.linspace(0.0, 1.0, 4):
        joints[robot.dof :] = [g.open + share * (g.closed - g.open) for g in robot.grippers]
        assert oracle.distances(oracle.full(joints)).min() > 0.0


def test_percentiles_and_overruns():
    micros = np.concatenate([np.full(990, 50.0), np.full(9, 400.0), [9000.0]])
    timing = summarise(micros, 0.005)
    assert timing.p50_us == 50.0 and timing.max_us == 9000.0
    assert timing.overruns == 1 and timing.cycles == 1000
    assert 50.0 < timing.p99_us <= 400.0 < timing.p999_us < 9000.0


def test_two_arms_in_a_row_are_one_chain(robot, tmp_path):
    """The second half moves as the robot itself does, from where the first half ends."""
    long = two_in_a_row(robot, tmp_path)
    assert long.dof == 2 * robot.dof
    whole = Kinematics(tmp_path / long.urdf, long.arm_joints, long.tool_frame)
    one = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    rng = np.random.default_rng(2)
    for _ in range(10):
        q = rng.uniform(-1.0, 1.0, long.dof)
        first, place = one.fk(q[: robot.dof])
        second, reach = one.fk(q[robot.dof :])
        turn, centre = whole.fk(q)
        np.testing.assert_allclose(turn, first @ second, atol=1e-9)
        np.testing.assert_allclose(centre, place + first @ reach, atol=1e-9)
