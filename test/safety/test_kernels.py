"""The compiled core against Pinocchio, coal, finite differences and dense sampling."""

from __future__ import annotations

import coal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.kinematics import Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.safety import chain, distance, limits, World
from vla_ros.safety import rows as row_kernels
from vla_ros.safety.check import check_line, time_on_line
from vla_ros.safety.limits import limits_of
from vla_ros.safety.scene import Scene

points = hnp.arrays(np.float64, (4, 3), elements=st.floats(-1.0, 1.0))


def random_pose(robot, rng):
    return rng.uniform(robot.limits('lower'), robot.limits('upper'))


@pytest.fixture(scope='module')
def scene(shared_filter, robot, config):
    return Scene(shared_filter.scene.model, limits_of(robot), config)


@pytest.fixture(scope='module')
def world():
    """One obstacle of each shape, turned; two of them move."""
    rng = np.random.default_rng(5)
    turns = Rotation.random(3, random_state=5).as_quat()
    shapes = [('box', (0.1, 0.3, 0.2)), ('cylinder', (0.3, 0.05)), ('sphere', (0.1,))]
    return World(
        0.0,
        tuple(
            Obstacle(
                name=shape,
                shape=shape,
                size=np.array(size),
                position=np.array([0.5, 0.3 * (i - 1), 0.5]),
                orientation=turns[i],
                linear_velocity=rng.normal(size=3) * (i > 0),
                angular_velocity=rng.normal(size=3) * (i > 0),
            )
            for i, (shape, size) in enumerate(shapes)
        ),
    )


def coal_pose(turn, centre):
    return coal.Transform3s(np.asarray(turn), np.asarray(centre))


def coal_capsule(a, b, radius):
    """Return coal's capsule of two ends and its pose."""
    axis = b - a
    length = np.linalg.norm(axis)
    turn = np.eye(3)
    if length > 0:
        turn = Rotation.align_vectors([axis / length], [[0.0, 0.0, 1.0]])[0].as_matrix()
    return coal.Capsule(radius, length), coal_pose(turn, (a + b) / 2)


def coal_distance(a, pose_a, b, pose_b):
    return coal.distance(a, pose_a, b, pose_b, coal.DistanceRequest(), coal.DistanceResult())


def test_capsules_stand_where_pinocchio_puts_their_links(robot, scene):
    kinematics = Kinematics(robot.urdf_path, robot.arm_joints, robot.tool_frame)
    rng = np.random.default_rng(0)
    for _ in range(20):
        q = random_pose(robot, rng)
        chain.forward(scene.model.arm, q, scene.work.pose)
        for i, capsule in enumerate(robot.capsules):
            turn, place = kinematics.frame_pose(q, capsule.link)
            for end, point in enumerate((capsule.a, capsule.b)):
                want = turn @ np.array(point) + place
                np.testing.assert_allclose(scene.work.pose.ends[i, end], want, atol=1e-12)


@given(points)
@settings(max_examples=150)
def test_segment_distance_is_the_least_of_all(p):
    s, t = distance.closest_on_segments(*p)
    found = np.linalg.norm(p[0] + s * (p[1] - p[0]) - p[2] - t * (p[3] - p[2]))
    u = np.linspace(0.0, 1.0, 21)
    on_a = p[0] + u[:, None] * (p[1] - p[0])
    on_b = p[2] + u[:, None] * (p[3] - p[2])
    dense = np.linalg.norm(on_a[:, None] - on_b[None], axis=2).min()
    assert 0.0 <= s <= 1.0 and 0.0 <= t <= 1.0
    assert found <= dense + 1e-7


def test_clearances_equal_coal(robot, scene, world):
    """Every row, obstacles too, is coal's distance wherever the bodies are apart."""
    arm = scene.model.arm
    rng = np.random.default_rng(1)
    scene.set_world(world)
    floor = coal.Halfspace(np.array([0.0, 0.0, 1.0]), arm.floor)
    shapes = [coal.Box(*world.obstacles[0].size), coal.Capsule(0.05, 0.3), coal.Sphere(0.1)]
    compared = 0
    for _ in range(20):
        rows = scene.rows(random_pose(robot, rng), 0.0)
        ends = scene.work.pose.ends
        solid = [
            coal_capsule(ends[i, 0], ends[i, 1], arm.capsule_radius[i]) for i in range(len(ends))
        ]
        want = [coal_distance(*solid[i], *solid[k]) for i, k in arm.pairs]
        ground = coal_pose(np.eye(3), np.zeros(3))
        want += [coal_distance(*solid[i], floor, ground) for i in arm.above_floor]
        for obstacle, shape in zip(world.obstacles, shapes):
            turn = Rotation.from_quat(obstacle.orientation).as_matrix()
            pose = coal_pose(turn, obstacle.position)
            want += [coal_distance(*solid[i], shape, pose) for i in arm.moving]
        want = np.array(want)
        apart = want > 1e-3
        compared += int(apart.sum())
        np.testing.assert_allclose(rows.clearance[apart], want[apart], atol=2e-6)
        assert (rows.clearance[~apart] < 2e-3).all()
    assert compared > 500


def test_row_gradients_equal_finite_differences(robot, scene, world):
    rng = np.random.default_rng(2)
    scene.set_world(world)
    step, checked = 1e-7, 0
    for _ in range(15):
        q = random_pose(robot, rng)
        rows = scene.rows(q, 0.0)
        matrix, index, centre = rows.matrix.copy(), rows.which.copy(), rows.clearance.copy()
        numeric = np.zeros((len(centre), robot.dof))
        bend = np.zeros_like(numeric)
        for j in range(robot.dof):
            shift = step * np.eye(robot.dof)[j]
            up = scene.rows(q + shift, 0.0).clearance.copy()
            down = scene.rows(q - shift, 0.0).clearance.copy()
            numeric[:, j] = (up - down) / (2 * step)
            bend[:, j] = np.abs(up + down - 2 * centre) / step
        for r, row in enumerate(index):
            # a kink, where the nearest feature changes, has no gradient; a touching pair neither
            if centre[row] > 1e-3 and bend[row].max() < 1e-3:
                np.testing.assert_allclose(matrix[r], numeric[row], atol=1e-6)
                checked += 1
    assert checked > 200


def test_bound_of_a_moving_obstacle_has_its_speed(robot, scene, world):
    """d/dt h for a resting arm is minus the obstacle's part of the bound."""
    scene.set_world(World())
    q = np.array(robot.home)
    still = [
        Obstacle(**{**vars(o), 'linear_velocity': np.zeros(3), 'angular_velocity': np.zeros(3)})
        for o in world.obstacles
    ]
    scene.set_world(World(0.0, tuple(still)))
    rows = scene.rows(q, 0.0)
    bound, index, before = rows.bound.copy(), rows.which.copy(), rows.clearance.copy()
    scene.set_world(World(0.0, world.obstacles))
    moving = scene.rows(q, 0.0).bound.copy()
    step = 1e-6
    later = []
    for o in world.obstacles:
        turn = Rotation.from_rotvec(o.angular_velocity * step) * Rotation.from_quat(o.orientation)
        place = o.position + step * o.linear_velocity
        later.append(Obstacle(**{**vars(o), 'position': place, 'orientation': turn.as_quat()}))
    still_later = [
        Obstacle(**{**vars(o), 'linear_velocity': np.zeros(3), 'angular_velocity': np.zeros(3)})
        for o in later
    ]
    scene.set_world(World(0.0, tuple(still_later)))
    rate = (scene.rows(q, 0.0).clearance - before) / step
    for r, row in enumerate(index):
        if row >= scene.fixed and before[row] > 1e-2:
            assert moving[r] - bound[r] == pytest.approx(-rate[row], abs=1e-3)


def test_levers_bound_every_distance_from_the_axes(robot, scene):
    arm = scene.model.arm
    rng = np.random.default_rng(3)
    tightest = np.zeros_like(arm.lever)
    for _ in range(400):
        chain.forward(arm, rng.uniform(-np.pi, np.pi, robot.dof), scene.work.pose)
        for c, last in enumerate(arm.capsule_joint):
            for j in range(last + 1):
                r = scene.work.pose.ends[c] - scene.work.pose.origin[j]
                off = np.linalg.norm(np.cross(scene.work.pose.axis[j], r), axis=1).max()
                assert off <= arm.lever[c, j] + 1e-12
                tightest[c, j] = max(tightest[c, j], off)
    used = arm.lever > 0.05
    assert (tightest[used] / arm.lever[used]).mean() > 0.6  # a bound, and not a wild one


def test_no_line_is_cleared_that_dense_sampling_refutes(robot, scene, world):
    """Soundness of the advancement, and that it clears what is well clear."""
    scene.set_world(world)
    rng = np.random.default_rng(4)
    cleared = refuted = missed = 0
    while cleared < 40 or refuted < 40:
        q = random_pose(robot, rng)
        d = rng.normal(size=robot.dof) * 0.15
        allowed = np.full(len(scene.margins), 0.005)
        if scene.rows(q, 0.0).clearance.min() < 0.006:
            continue
        dt, stop, age = 0.2, 1.6, 0.1  # [s] the line ends at q + d
        samples = []
        for u in np.linspace(0.0, 1.0, 50):
            t = age + time_on_line(u, dt, stop)
            samples.append(scene.rows(q + u * d, t).clearance.min())
        h = scene.rows(q, age).clearance.copy()
        row, _ = check_line(
            scene.model.arm, scene.bodies, q, d, dt, stop, age, h, allowed, scene.work.pose,
            scene.work.again, scene.work.linear, scene.work.angular, scene.work.scratch,
        )  # fmt: skip
        if min(samples) < 0.005:
            refuted += 1
            assert row != -1
        elif min(samples) > 0.006:
            cleared += 1
            missed += row != -1
    assert missed <= 1


@given(
    st.floats(-3.0, 3.0),
    st.floats(-2.0, 2.0),
    st.floats(-2.0, 2.0),
    st.sampled_from([0.001, 0.002, 0.005, 0.01]),
)
@settings(max_examples=200)
def test_box_is_never_empty_and_always_leaves_room_to_stop(q, v, before, dt):
    one = np.ones(1)
    lo, hi = np.zeros(1), np.zeros(1)
    a, speed = 5.0, 2.0
    if 2.5 - abs(q) < v * v / (2 * a):  # only states from which a stop in time exists
        v = before = 0.0
    joint = limits.Limits(
        -2.5 * one, 2.5 * one, speed * one, a * one, 400.0 * one, np.zeros((1, 2, 3)),
        np.zeros(0), np.zeros(0),
    )  # fmt: skip
    acc = np.clip((v - before) / dt, -a, a) * one
    limits.limit_box(joint, q * one, v * one, acc, 0.2, dt, lo, hi)
    assert lo[0] <= hi[0]
    assert -a * dt - 1e-12 <= lo[0] - v and hi[0] - v <= a * dt + 1e-12
    if abs(q) <= 2.5:
        for u in (lo[0], hi[0]):
            assert abs(q + dt * u + np.sign(u) * u * u / (2 * a)) <= 2.5 + 1e-9 or u * q <= 0
    else:
        assert lo[0] * q <= 1e-12 and hi[0] * q <= 1e-12


def test_barrier_never_asks_for_more_than_the_braking_power():
    gamma, brake = 8.0, 1.5
    gaps = np.linspace(0.0, 0.5, 2001)
    speed = np.array([row_kernels.barrier_rate(g, gamma, brake) for g in gaps])
    slope = np.gradient(speed, gaps)
    assert (np.diff(speed) >= 0.0).all() and speed[0] == 0.0
    assert (speed * slope <= brake * (1 + 1e-3)).all()  # deceleration while alpha is followed
    assert slope[1] == pytest.approx(gamma) and row_kernels.barrier_rate(-0.1, gamma, brake) == 0.0


def test_golden_section_finds_the_nearest_point_of_a_box():
    rng = np.random.default_rng(6)
    for _ in range(50):
        half = rng.uniform(0.05, 0.3, 3)
        a, b = rng.uniform(-1, 1, (2, 3))
        u = distance.nearest_to_box(half, a, b)
        grid = np.linspace(0, 1, 2001)
        dense = min(distance.box_distance(half, *(a + s * (b - a))) for s in grid)
        assert distance.box_distance(half, *(a + u * (b - a))) <= dense + 1e-6
