"""Margins by part and role, held things among the rows, and what changes when they come and go."""

from __future__ import annotations

from dataclasses import replace

import coal
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.safety import World
from vla_ros.safety.check import check_line, CONTACT
from vla_ros.safety.limits import limits_of, stop_time
from vla_ros.safety.model import with_held
from vla_ros.safety.scene import Scene
from vla_ros.safety.tick import look

UP = [0.0, 0.0, 0.0, 1.0]
CUBE = Obstacle('cube', 'box', [0.04] * 3, [0.0, 0.0, 0.105], attached_to='panda_hand')


@pytest.fixture
def scene(shared_filter, robot, config):
    return Scene(shared_filter.scene._empty, limits_of(robot), config)


@pytest.fixture(scope='module')
def kinematics(robot):
    return Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)


def box(name='crate', place=(0.5, 0.0, 0.1), size=(0.1, 0.1, 0.1), **changes):
    return Obstacle(name, 'box', size, place, **changes)


def margins(scene, body):
    """Return the margins of the rows of one body by the name of the capsule."""
    rows = {}
    for row, margin in enumerate(scene.margins):
        one, _, other = scene.name(row).partition('/')
        if other == body:
            rows.setdefault(one, set()).add(round(float(margin), 9))
    return rows


def test_each_part_has_its_margin_from_each_role(scene, config):
    scene.set_world(
        World(
            0.0,
            (
                box(),
                box('own', margin=0.07),
                box('cube', role='target'),
                box('table', role='support'),
            ),
        )
    )
    fingers = {'fingers', 'fingertips'}
    for body, link, finger in (
        ('crate', config.margin_obstacle, config.margin_obstacle),
        ('own', 0.07, 0.07),
        ('cube', config.margin_target, config.margin_finger_target),
        ('table', config.margin_floor, config.margin_finger_floor),
    ):
        found = margins(scene, body)
        assert len(found) == len(scene.model.arm.moving)
        for capsule, values in found.items():
            assert values == {round(finger if capsule in fingers else link, 9)}
    below = margins(scene, 'floor')
    assert below['fingers'] == {config.margin_finger_floor}
    assert below['hand'] == {config.margin_floor}


def stops_clear(scene, robot, q, v):
    """Say whether a step at v and the straight stop after it keep every margin."""
    work, h = scene.work, scene.rows(q, 0.0).clearance
    row, _ = check_line(
        scene.arm, scene.bodies, q, v, 0.005, stop_time(v, robot.limits('acceleration')), 0.0, h,
        scene.margins - CONTACT, scene.pose, work.again, work.linear, work.angular, work.scratch,
    )  # fmt: skip
    return row == -1


def test_fingers_around_a_target_are_no_row_and_bind_nothing(scene, robot, kinematics):
    """The grasp: the cube stands between the fingers; the hand and the wrist still keep away."""
    q = np.array(robot.home)
    _, place = kinematics.fk(q)
    cube = box('cube', place, (0.04, 0.04, 0.04), role='target')
    scene.set_world(World(0.0, (cube,)))
    rows = scene.rows(q, 0.0)
    named = [scene.name(r) for r in rows.which]
    assert 'hand/cube' in named and 'wrist/cube' in named
    assert not any(n.startswith('finger') and n.endswith('cube') for n in named)
    fingers = [r for r in range(len(scene.margins)) if scene.name(r) == 'fingertips/cube']
    assert rows.clearance[fingers[0]] < 0.0
    v = np.full(robot.dof, 0.02)
    assert stops_clear(scene, robot, q, v)
    scene.set_world(World(0.0, (replace(cube, role='obstacle'),)))
    assert not stops_clear(scene, robot, q, v)


def held_pose(kinematics, q, solid):
    """Return coal's pose of a held solid."""
    turn, place = kinematics.frame_pose(q, solid.attached_to)
    mine = Rotation.from_quat(solid.orientation).as_matrix()
    return coal.Transform3s(turn @ mine, turn @ solid.position + place)


def coal_distance(a, pose_a, b, pose_b):
    return coal.distance(a, pose_a, b, pose_b, coal.DistanceRequest(), coal.DistanceResult())


@pytest.mark.parametrize('shape', ['box', 'cylinder', 'sphere', 'capsule'])
def test_the_distance_of_a_held_thing_is_never_overestimated(scene, robot, kinematics, shape):
    """Against an obstacle and the floor, by coal on the solid itself."""
    sizes = {'box': [0.03, 0.08, 0.2], 'cylinder': [0.2, 0.02], 'sphere': [0.05],
             'capsule': [0.2, 0.02]}  # fmt: skip
    turn = Rotation.from_rotvec([0.5, 1.0, -0.3]).as_quat()
    solid = Obstacle(
        'tool', shape, sizes[shape], [0.02, 0.0, 0.18], turn, attached_to='panda_hand'
    )
    made = {
        'box': lambda s: coal.Box(*s),
        'cylinder': lambda s: coal.Cylinder(s[1], s[0]),
        'sphere': lambda s: coal.Sphere(s[0]),
        'capsule': lambda s: coal.Capsule(s[1], s[0]),
    }[shape](sizes[shape])
    crate = box(place=(0.5, 0.1, 0.3), size=(0.2, 0.3, 0.2))
    scene.set_world(World(0.0, (solid, crate)))
    excess = max(scene.model.excess)
    there = coal.Transform3s(np.eye(3), crate.position)
    floor = coal.Halfspace(np.array([0.0, 0.0, 1.0]), robot.floor_height)
    ground = coal.Transform3s(np.eye(3), np.zeros(3))
    rng, compared = np.random.default_rng(0), 0
    for _ in range(60):
        q = np.array(robot.home) + rng.uniform(-1.0, 1.0, robot.dof)
        h = scene.rows(q, 0.0).clearance
        at = held_pose(kinematics, q, solid)
        for body, other, pose, loose in (
            ('crate', coal.Box(0.2, 0.3, 0.2), there, excess),
            ('floor', floor, ground, 0.083 * 0.02 if shape == 'cylinder' else 0.0),
        ):
            mine = [h[r] for r in range(len(h)) if scene.name(r) == f'held:tool/{body}']
            true = coal_distance(made, at, other, pose)
            if true > 1e-3:
                compared += 1
                assert true - loose - 1e-5 <= min(mine) <= true + 1e-5
            else:
                assert min(mine) < 2e-3
    assert compared > 60


def test_what_is_held_may_press_into_the_table_by_a_little_and_no_more(
    scene, robot, kinematics, config, shared_filter
):
    """It was taken from there: the model of it may reach in, without a collision."""
    q = np.array(robot.home)
    turn, place = kinematics.frame_pose(q, 'panda_hand')
    height = turn[2] @ CUBE.position + place[2] - robot.floor_height
    for deep, collides in ((-0.01, False), (0.003, False), (0.008, True)):
        length = height + deep  # from the fingers down, which is where the hand's z points
        at = CUBE.position + [0.0, 0.0, length / 2]
        tall = replace(CUBE, size=[0.04, 0.04, length], position=at)
        scene.set_world(World(0.0, (tall,)))
        rows = scene.rows(q, 0.0)
        still = np.zeros(robot.dof)
        row = look(
            scene.arm, scene.bodies, shared_filter.scene.limits, q, still, still, 0.005, 0.0,
            scene.margins, shared_filter.scene.knobs, scene.work,
        )[-1]  # fmt: skip
        assert (row >= 0) == collides
        if collides:
            assert scene.name(row) == 'held:cube/floor'
        ends = [r for r in range(scene.fixed) if scene.name(r) == 'held:cube/floor']
        assert min(rows.clearance[ends]) == pytest.approx(-deep, abs=1e-6)
    assert min(scene.margins[ends]) == config.margin_held_floor


def test_a_held_thing_has_margins_of_its_own(scene, config):
    table, cube = box('table', role='support'), box('bowl', role='target')
    scene.set_world(World(0.0, (CUBE, box(), cube, table)))
    excess = max(scene.model.excess)
    found = {body: sorted(margins(scene, body)['held:cube']) for body in
             ('crate', 'bowl', 'table', 'floor')}  # fmt: skip
    assert found['floor'] == [config.margin_held_floor]
    assert found['table'] == [
        round(config.margin_held_floor - excess, 9), config.margin_held_floor
    ]  # fmt: skip
    assert found['crate'][-1] == config.margin_obstacle and found['crate'][0] < -100
    assert found['bowl'][-1] < -100


def test_taking_and_putting_down_leave_the_rest_as_it_was(scene, robot):
    q = np.array(robot.home)
    scene.set_world(World(0.0, (box(),)))
    before = {scene.name(r): h for r, h in enumerate(scene.rows(q, 0.0).clearance)}
    scene.set_world(World(1.0, (box(), CUBE)))
    during = {scene.name(r): h for r, h in enumerate(scene.rows(q, 1.0).clearance)}
    scene.set_world(World(2.0, (box(),)))
    after = {scene.name(r): h for r, h in enumerate(scene.rows(q, 2.0).clearance)}
    assert after == before
    assert {name: during[name] for name in before} == before
    assert all('held:cube' in name for name in during.keys() - before.keys())


def test_the_model_is_built_anew_only_when_the_grip_changes(scene):
    scene.set_world(World(0.0, (CUBE,)))
    model = scene.model
    scene.set_world(World(1.0, (replace(CUBE), box())))  # the same values, told again
    assert scene.model is model
    scene.set_world(World(2.0, (replace(CUBE, position=[0.0, 0.0, 0.11]), box())))
    assert scene.model is not model


def test_an_obstacle_is_where_its_velocity_takes_it(scene, robot):
    """Rows are of now, not of the stamp."""
    q = np.array(robot.home)
    moving = Obstacle('ball', 'sphere', [0.05], [1.0, 0.0, 0.5], UP, [-0.2, 0.0, 0.1])
    scene.set_world(World(10.0, (moving,)))
    now = scene.rows(q, 10.4).clearance.copy()
    there = replace(moving, position=[0.92, 0.0, 0.54])
    scene.set_world(World(10.4, (there,)))
    np.testing.assert_allclose(now, scene.rows(q, 10.4).clearance, atol=1e-12)


def test_other_settings_give_other_margins(scene, config):
    scene.set_world(World(0.0, (box(),)))
    scene.set_config(replace(config, margin_obstacle=0.1))
    assert margins(scene, 'crate')['hand'] == {0.1}


def step(safety, robot, adversary, state_of, now, world):
    q = np.append(robot.home, 0.04)  # the adversary wants to stay there
    return safety.step(state_of(q, now), adversary, world, now, 0.005)


def test_a_filter_brakes_on_stale_obstacles_and_goes_on_with_fresh_ones(
    safety, robot, adversary, state_of
):
    far = Obstacle('cart', 'sphere', [0.05], [3.0, 0.0, 0.5], UP, [0.1, 0.0, 0.0])
    world, now, seen = World(1.0, (far,)), 1.0, []
    for k in range(200):
        now += 0.005
        if k == 150:
            world = World(now, (replace(far),))
        seen.append(step(safety, robot, adversary, state_of, now, world).reason)
    assert 'obstacle_stale' not in seen[:95]
    assert seen[140] == 'obstacle_stale' and 'obstacle_stale' not in seen[150:]


def test_a_filter_keeps_the_last_obstacles_when_the_new_ones_cannot_be_used(
    safety, robot, adversary, state_of
):
    good = World(1.0, (box(place=(0.7, 0.0, 0.3)),))
    bad = World(1.01, (box('ghost', place=(np.nan, 0.0, 0.0)),))
    step(safety, robot, adversary, state_of, 1.005, good)
    result = step(safety, robot, adversary, state_of, 1.01, bad)
    assert 'obstacle_invalid' in result.faults and not result.latched
    assert any(safety.scene.name(r).endswith('/crate') for r in range(len(safety.scene.margins)))
    result = step(safety, robot, adversary, state_of, 1.015, good)
    assert 'obstacle_invalid' not in result.faults
    result = step(safety, robot, adversary, state_of, 1.02, replace(good, refused='twice'))
    assert 'obstacle_invalid' in result.faults


def test_taking_something_does_not_move_the_reference(safety, robot, adversary, state_of):
    for k in range(40):
        held = (CUBE,) if 10 <= k < 30 else ()
        result = step(safety, robot, adversary, state_of, 1.0 + 0.005 * k, World(0.0, held))
        assert not result.faults
        np.testing.assert_allclose(result.command.positions[0, :7], robot.home, atol=1e-12)


@pytest.mark.parametrize('mode', ['held', 'empty'])
def test_neither_the_arm_nor_what_it_holds_goes_through_anything(
    safety, robot, adversary, state_of, oracle, kinematics, mode
):
    """A plan that leaps about, a pole in the hand, a crate, a wall and a shelf, judged by coal."""
    turn = Rotation.from_rotvec([0.0, 1.2, 0.4]).as_quat()
    pole = Obstacle('pole', 'cylinder', [0.3, 0.012], [0.0, 0.0, 0.12], turn,
                    attached_to='panda_hand')  # fmt: skip
    crate = box(place=(0.55, 0.25, 0.25), size=(0.15, 0.1, 0.5))
    shelf = box('shelf', (0.5, -0.35, 0.25), (0.3, 0.2, 0.02), role='support')
    wall = Obstacle('wall', 'plane', [], [0.66, 0.0, 0.0],
                    Rotation.from_rotvec([0.0, -np.pi / 2, 0.0]).as_quat())  # fmt: skip
    world = World(0.0, (crate, shelf, wall, *((pole,) if mode == 'held' else ())))
    still = coal.Transform3s(np.eye(3), np.zeros(3))
    press = safety.config.margin_held_floor
    deep = press - max(with_held(safety.scene._empty, [pole]).excess)  # over the shelf's edge
    solids = {
        'crate': (coal.Box(*crate.size), coal.Transform3s(np.eye(3), crate.position), 0.0),
        'shelf': (coal.Box(*shelf.size), coal.Transform3s(np.eye(3), shelf.position), deep),
        'wall': (coal.Halfspace(np.array([-1.0, 0.0, 0.0]), -0.66), still, 0.0),
        'floor': (coal.Halfspace(np.array([0.0, 0.0, 1.0]), 0.0), still, press),
    }
    rng, q, now = np.random.default_rng(2), np.array(robot.home), 0.0
    nearest, met = dict.fromkeys(solids, np.inf), set()
    for k in range(1600):
        if k % 80 == 0:
            goal = np.array(robot.home) + rng.uniform(-1.2, 1.2, robot.dof)
            adversary.position = np.append(goal, 0.04)
        now += 0.005
        result = safety.step(state_of(np.append(q, 0.04), now), adversary, world, now, 0.005)
        q = result.command.positions[0, :-1].copy()
        assert not result.latched
        met.update(name.split('/')[-1] for name in result.active_constraints)
        if k % 4:
            continue
        oracle.move(q, 0.04)
        for name, (shape, pose, least) in solids.items():
            assert oracle.to_solid(shape, pose) > 0.0
            if mode == 'held':
                there = held_pose(kinematics, q, pole)
                gap = coal_distance(coal.Cylinder(0.012, 0.3), there, shape, pose)
                nearest[name] = min(nearest[name], gap)
                assert gap > least - 1e-6
    assert {'crate', 'wall'} <= met
    if mode == 'held':
        assert nearest['crate'] < 0.1 and nearest['wall'] < 0.1  # the pole was in their way
