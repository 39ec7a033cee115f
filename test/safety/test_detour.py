"""Going around: what is asked of the tool, which way, and that it leads out of a dead end."""

from __future__ import annotations

from dataclasses import replace

from drive import DT
import numpy as np
import pytest

from vla_ros.actions import Plan
from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.safety import World
from vla_ros.safety.detour import blocking_row, go_aside, OVER, PATIENCE, PULL, SPEED
from vla_ros.types import JointState, Trajectory

GOAL = 1.2  # [rad] of the first joint, from home


def box(position, size, yaw=0.0, **kwargs):
    return Obstacle(
        name='box',
        shape='box',
        size=np.array(size),
        position=np.array(position),
        orientation=np.array([0.0, 0.0, np.sin(yaw / 2), np.cos(yaw / 2)]),
        linear_velocity=np.zeros(3),
        angular_velocity=np.zeros(3),
        **kwargs,
    )


@pytest.fixture(scope='module')
def kinematics(robot):
    return Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)


@pytest.fixture
def beside(safety, robot, config, kinematics):
    """Rows at home with a box 7 cm beside the tool, in +y; what is asked for goes into it."""
    safety.retune(replace(config, mode='path+cbf'))
    tool = kinematics.fk(np.array(robot.home))[1]

    def make(away=(0.0, 0.12, 0.0), size=(0.06, 0.02, 0.5), **kwargs):
        safety.scene.set_world(World(0.0, (box(tool + away, size, **kwargs),)))
        rows = safety.scene.rows(np.array(robot.home), 0.0)
        work = safety.scene.work
        work.detour[:] = 0.0
        work.desired[:] = np.linalg.pinv(kinematics.jacobian(np.array(robot.home))[:3]) @ away
        work.desired[:] *= 20.0  # so fast that a row is broken
        return work, len(rows.bound)

    yield make
    safety.retune(config)
    safety.scene.set_world(World())


def ask(safety, work, count, v=None, dt=DT):
    scene = safety.scene
    v = np.zeros(len(work.desired)) if v is None else v
    go_aside(scene.arm, scene.bodies, v, count, dt, scene.knobs, work)
    return work.desired.copy()


def test_the_tool_goes_along_the_body_at_its_pace(safety, beside, robot, kinematics):
    work, count = beside()
    before = work.desired.copy()
    row = blocking_row(safety.scene.arm, safety.scene.bodies, count, work)
    assert row >= 0 and work.g[row] @ before < work.bound[row]
    after = ask(safety, work, count)
    jacobian = kinematics.jacobian(np.array(robot.home))[:3]
    along = np.array([1.0, 0.0, 0.0])  # of a face that looks to -y
    assert abs(along @ jacobian @ after) == pytest.approx(SPEED, abs=1e-9)
    # What was added is the least motion that moves the tool so.
    added = after - PULL * before
    direction = along @ jacobian
    least = (added @ direction) / (direction @ direction) * direction
    np.testing.assert_allclose(added, least, atol=1e-12)


def test_it_begins_on_the_side_to_which_the_wish_leans(safety, beside, robot, kinematics):
    jacobian = kinematics.jacobian(np.array(robot.home))
    for lean in (-0.03, 0.03):
        work, count = beside((lean, 0.12, 0.0))
        after = ask(safety, work, count)
        assert jacobian[0] @ after * lean > 0.0


def test_ways_take_turns_where_there_is_none(safety, beside):
    work, count = beside()
    wish, ways = work.desired.copy(), []
    for _ in range(4):
        for _ in range(round(PATIENCE / DT) + 1):
            work.desired[:] = wish
            ways.append(int(work.detour[1]))
            ask(safety, work, count)
    changes = [way for k, way in enumerate(ways) if k == 0 or way != ways[k - 1]]
    assert changes[:4] == [0, 1, OVER, 0]


def test_over_it_means_upwards(safety, beside, robot, kinematics):
    work, count = beside()
    work.detour[:] = 1.0, OVER, 0.0
    after = ask(safety, work, count)
    up = kinematics.jacobian(np.array(robot.home))[2]
    assert up @ after == pytest.approx(SPEED, abs=1e-9)


def test_who_gets_on_keeps_its_side(safety, beside):
    work, count = beside()
    wish = work.desired.copy()
    v = ask(safety, work, count) - PULL * wish
    for _ in range(3 * round(PATIENCE / DT)):
        work.desired[:] = wish
        ask(safety, work, count, v=v)
    assert work.detour[1] == 0.0


def test_a_halted_pace_does_not_move(safety, beside, robot, kinematics):
    work, count = beside()
    safety.speed_scale = 0.0
    try:
        after = ask(safety, work, count)
    finally:
        safety.speed_scale = 1.0
    along = kinematics.jacobian(np.array(robot.home))[0]
    assert along @ after == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    'away, kwargs',
    [
        ((0.0, 0.12, 0.0), {'role': 'target'}),  # it may be touched
        ((0.0, 0.0, -0.10), {'size': (0.4, 0.4, 0.02)}),  # it is below
        ((0.0, 1.50, 0.0), {}),  # it is far away
    ],
)
def test_nothing_else_is_a_reason_to_go_aside(safety, beside, away, kwargs):
    work, count = beside(away, **kwargs)
    before = work.desired.copy()
    np.testing.assert_array_equal(ask(safety, work, count), before)
    assert (work.detour == 0.0).all()


def chase(safety, robot, config, world, mode, seconds):
    """Ask for the straight way from wherever the arm is, as a policy does that sees no bodies.

    Returns:
        How near the first joint came to its goal [rad] and the smallest barrier [m].
    """
    safety.retune(replace(config, mode=mode))
    q, now = np.append(robot.home, 0.04), 100.0
    goal = q + GOAL * (np.arange(len(q)) == 0)
    safety.reset(q)
    plan = Plan(len(q))
    plan.reset(now - DT)
    nearest, barriers = np.inf, []
    for k in range(round(seconds / DT)):
        if k % 40 == 0:
            times = 0.05 * np.arange(1, 25)
            share = np.minimum(0.4 * times / np.abs(goal - q).max(), 1.0)
            assert plan.accept(Trajectory(now, times, q + share[:, None] * (goal - q)), now).ok
        now += DT
        result = safety.step(JointState(now, q, np.zeros_like(q)), plan, world, now, DT)
        q = result.command.positions[0].copy()
        nearest = min(nearest, float(np.abs(goal - q)[0]))
        barriers.append(result.min_barrier)
    return nearest, min(barriers)


def test_it_leads_out_of_a_dead_end(safety, robot, config, kinematics):
    """A board right across the way: the nearest velocity that is free is none."""
    q = np.array(robot.home)
    q[0] += 0.5 * GOAL
    tool = kinematics.fk(q)[1]
    board = World(1e4, (box((*tool[:2], 0.3), (0.16, 0.02, 0.6), yaw=0.5 * GOAL),))
    try:
        stuck, kept = chase(safety, robot, config, board, 'cbf', 20.0)
        assert stuck > 0.3 and kept > -1e-6
        arrived, kept = chase(safety, robot, config, board, 'path+cbf', 20.0)
        assert arrived < 0.05 and kept > -1e-6
    finally:
        safety.retune(config)
