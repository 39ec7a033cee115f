from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vla_ros.errors import SimulationError, UnknownNameError
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.robot import load_robot
from vla_ros.sim.scene import COLOURS
from vla_ros.sim.world import World

ROOT = Path(__file__).parents[2]
ROBOT = load_robot(ROOT / 'config/robots/panda.yaml')
URDF = ROBOT.urdf_path
ARM = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)
HOME = np.array(ROBOT.home)
DOWN = np.diag([1.0, -1.0, -1.0])
OPEN, CLOSED = ROBOT.gripper.open, ROBOT.gripper.closed
LAYOUT = {
    'cube': (0.50, 0.10, 0.3),
    'cylinder': (0.40, -0.15, 0.0),
    'ball': (0.62, -0.05, 0.0),
    'plate': (0.52, -0.18, 0.0),
}


@pytest.fixture(scope='module')
def world():
    world = World(ROBOT, URDF)
    yield world
    world.close()


def move(world, q, start, end, seconds, gripper):
    """Take the tool along a smooth straight line; return joints and the largest error [m]."""
    solver = InverseKinematics(
        ARM, lower=ROBOT.limits('lower'), upper=ROBOT.limits('upper'), posture=HOME
    )
    share = np.linspace(0.0, 1.0, round(seconds / 0.05) + 1)[1:, None]
    path = start + (end - start) * share**2 * (3.0 - 2.0 * share)
    worst = 0.0
    for joints, position in zip(solver.solve_path(q, DOWN, path).q, path):
        world.set_command(joints, gripper, over=0.05)
        world.step(0.05)
        worst = max(worst, float(np.linalg.norm(world.tool_pose()[1] - position)))
        q = joints
    return q, worst


def test_simulator_and_kinematics_agree_on_every_link(world):
    rng = np.random.default_rng(3)
    for q in rng.uniform(ROBOT.limits('lower'), ROBOT.limits('upper'), (50, ROBOT.dof)):
        world.reset(q)
        for link in (ROBOT.tool_frame, *(c.link for c in ROBOT.capsules)):
            rotation, position = world.link_pose(link)
            expected, at = ARM.frame_pose(q, link)
            assert np.abs(rotation - expected).max() < 1e-6
            assert np.abs(position - at).max() < 1e-6


def test_joint_state_is_what_the_reset_set(world):
    world.reset(HOME + 0.1, 0.02)
    state = world.joint_state()
    assert state.stamp == 0.0
    assert np.array_equal(state.position, np.append(HOME + 0.1, 0.02))
    assert np.array_equal(state.velocity, np.zeros(ROBOT.dof + 1))


def test_an_arm_at_rest_stays_where_it_is(world):
    world.reset()
    before = world.tool_pose()[1]
    world.step(2.0)
    assert np.linalg.norm(world.tool_pose()[1] - before) < 1e-4


def test_a_reference_at_1_rad_per_second_is_tracked_to_5_mm(world):
    world.reset()
    worst = 0.0
    for tick in range(1, 401):
        turn = (1.0 - np.cos(np.pi * 0.005 * tick)) / np.pi  # peak speed 1 rad/s
        q = HOME + turn * np.array([1.0, 0.3, -1.0, 0.5, 1.0, 0.5, 1.0])
        world.set_command(q, OPEN)
        world.step(0.005)
        worst = max(worst, float(np.linalg.norm(world.tool_pose()[1] - ARM.fk(q)[1])))
    assert worst < 0.005


def test_the_gripper_moves_at_its_own_speed_and_both_fingers_together(world):
    world.reset()
    world.set_command(HOME, CLOSED)
    world.step(0.5 * OPEN / ROBOT.gripper.velocity)
    middle = world.joint_state().position[-1]
    assert 0.4 * OPEN < middle < 0.75 * OPEN
    world.step(0.5)
    left, right = (world.link_pose(f'panda_{side}finger')[1] for side in ('left', 'right'))
    centre = world.tool_pose()[1]
    assert np.abs(0.5 * (left + right) - centre)[:2].max() < 2e-4
    assert world.joint_state().position[-1] < 1e-3


@pytest.mark.parametrize('name', ['cube', 'cylinder', 'ball'])
def test_a_grasp_holds_by_friction_alone(world, name):
    world.reset(objects=LAYOUT)
    world.step(0.2)
    start, target = world.tool_pose()[1], world.object_position(name)
    above = target + [0.0, 0.0, 0.12]
    q, _ = move(world, HOME, start, above, 1.0, OPEN)
    q, _ = move(world, q, above, target, 0.8, OPEN)
    q, _ = move(world, q, target, target, 0.6, CLOSED)
    assert {'panda_leftfinger', 'panda_rightfinger'} <= world.touches(name)
    pads = [c for c in world.contacts() if {c.first, c.second} == {name, 'panda_leftfinger'}]
    assert 0.0 < sum(c.force for c in pads) < ROBOT.gripper.effort
    q, error = move(world, q, target, target + [0.0, 0.0, 0.15], 0.8, CLOSED)
    assert error < 0.005
    lifted = world.object_position(name)
    assert lifted[2] > target[2] + 0.14
    world.step(3.0)
    assert np.linalg.norm(world.object_position(name) - lifted) < 0.002
    assert world.touches(name) == {'panda_leftfinger', 'panda_rightfinger'}
    world.set_command(q, OPEN)
    world.step(1.0)
    assert world.object_position(name)[2] < 0.05


def test_objects_rest_where_they_are_put(world):
    world.reset(objects=LAYOUT)
    world.step(0.5)
    before = {name: world.object_position(name) for name in LAYOUT}
    world.step(2.0)
    for name, (x, y, _) in LAYOUT.items():
        position = world.object_position(name)
        assert np.abs(position - before[name]).max() < 1e-4
        assert np.abs(position[:2] - (x, y)).max() < 1e-3
        assert abs(position[2] - world.objects[name].rest_height) < 1e-3


@pytest.mark.parametrize('name', ['cube', 'cylinder', 'ball'])
def test_an_object_dropped_on_the_plate_stays_on_it(world, name):
    world.reset(objects={'plate': LAYOUT['plate']})
    x, y, _ = LAYOUT['plate']
    top = 2.0 * world.objects['plate'].rest_height
    world.set_object_pose(name, np.array([x, y, top + world.objects[name].rest_height + 0.01]))
    world.step(1.5)
    assert world.touches(name) == {'plate'}
    assert np.abs(world.object_position(name)[:2] - (x, y)).max() < 0.002


def test_a_rolling_ball_comes_to_rest(world):
    world.reset(objects={'ball': LAYOUT['ball']})
    world.data.joint('ball').qvel[1] = 0.2
    world.step(2.0)
    assert np.abs(world.data.joint('ball').qvel).max() < 1e-3


def test_a_closed_hand_pushes_a_cube(world):
    world.reset(gripper=CLOSED, objects={'cube': (0.5, 0.0, 0.0)})
    start = np.array([0.5, -0.08, 0.03])
    q, _ = move(world, HOME, world.tool_pose()[1], start, 1.2, CLOSED)
    move(world, q, start, np.array([0.5, 0.04, 0.03]), 1.0, CLOSED)
    assert world.object_position('cube')[1] > 0.05
    assert abs(world.object_position('cube')[2] - 0.022) < 2e-3


def test_a_fingertip_on_the_table_is_reported(world):
    world.reset(gripper=CLOSED)
    target = np.array([0.5, 0.0, 0.004])
    assert not world.touches('table') & {'panda_leftfinger', 'panda_rightfinger'}
    move(world, HOME, world.tool_pose()[1], target, 1.5, CLOSED)
    assert world.touches('table') & {'panda_leftfinger', 'panda_rightfinger'}


def test_the_same_commands_give_the_same_world(world):
    def run():
        world.reset(objects=LAYOUT)
        move(world, HOME, world.tool_pose()[1], np.array([0.55, 0.05, 0.04]), 1.0, CLOSED)
        return world.data.qpos.copy()

    first = run()
    world.step(0.3)
    assert np.array_equal(run(), first)


def pixel(world, camera, point, width, height):
    rotation, position = world.camera_pose(camera)
    local = rotation.T @ (point - position)
    u, v, w = world.camera_matrix(camera, width, height) @ local
    assert w > 0.0
    return u / w, v / w


@pytest.mark.parametrize('camera', ['scene', 'wrist'])
@pytest.mark.parametrize('size', [(192, 192), (320, 240)])
def test_an_object_is_drawn_where_the_camera_model_says(world, camera, size):
    names = ('red', 'green', 'blue')
    painted = dict(zip(('cube', 'cylinder', 'ball'), names))
    spots = {'cube': (0.50, 0.0, 0.0), 'cylinder': (0.50, 0.09, 0.0), 'ball': (0.50, -0.09, 0.0)}
    world.reset(objects=spots, colours=painted)
    picture = world.render(camera, *size)
    assert picture.shape == (size[1], size[0], 3)
    assert picture.dtype == np.uint8
    for channel, name in enumerate(painted):
        u, v = pixel(world, camera, world.object_position(name), *size)
        seen = picture[int(v), int(u)].astype(int)
        assert seen[channel] > 1.5 * np.delete(seen, channel).max(), (name, seen)


def test_the_workspace_is_inside_the_square_part_of_the_scene_picture(world):
    world.reset()
    for x in (0.32, 0.68):
        for y in (-0.25, 0.25):
            for z in (0.0, 0.1):
                u, v = pixel(world, 'scene', np.array([x, y, z]), 640, 480)
                assert 80 < u < 560
                assert 0 < v < 480


def test_the_wrist_sees_what_is_within_8_cm_below_a_hovering_hand(world):
    solver = InverseKinematics(ARM, posture=HOME)
    world.reset(solver.solve(HOME, DOWN, np.array([0.5, 0.0, 0.15])).q)
    for turn in np.linspace(0.0, 2.0 * np.pi, 12):
        point = np.array([0.5 + 0.08 * np.cos(turn), 0.08 * np.sin(turn), 0.02])
        u, v = pixel(world, 'wrist', point, 640, 480)
        assert 80 < u < 560
        assert 0 < v < 480


def test_objects_that_are_not_placed_are_out_of_sight(world):
    world.reset(objects={'cube': LAYOUT['cube']}, colours={'cube': 'red'})
    picture = world.render('scene', 192, 192).astype(int)
    red, green, blue = np.moveaxis(picture, 2, 0)
    assert (red > 2 * np.maximum(green, blue)).sum() > 50
    assert not (green > 1.5 * np.maximum(red, blue)).any()
    assert not (blue > 1.5 * np.maximum(red, green)).any()


def test_colours_belong_to_the_episode(world):
    world.reset(objects=LAYOUT, colours={'cube': 'yellow'})
    assert np.allclose(world.model.geom('cube').rgba[:3], COLOURS['yellow'])
    world.reset(objects=LAYOUT)
    assert np.allclose(world.model.geom('cube').rgba[:3], COLOURS['red'])


def test_object_poses_are_xyzw(world):
    turn = Rotation.from_euler('xyz', [0.4, -0.2, 1.0]).as_quat()
    world.reset()
    world.set_object_pose('cube', np.array([0.5, 0.1, 0.2]), turn)
    position, quaternion = world.object_pose('cube')
    assert np.allclose(position, [0.5, 0.1, 0.2])
    assert np.allclose(quaternion, turn)


def test_bad_input_is_refused_before_anything_moves(world):
    world.reset(objects=LAYOUT)
    before = world.data.qpos.copy()
    with pytest.raises(SimulationError, match='finite'):
        world.set_command(np.full(7, np.nan), OPEN)
    with pytest.raises(SimulationError, match='shape'):
        world.set_command(HOME[:6], OPEN)
    with pytest.raises(UnknownNameError, match="'cube'"):
        world.object_pose('cub')
    with pytest.raises(UnknownNameError, match="'yellow'"):
        world.reset(colours={'cube': 'yelow'})
    with pytest.raises(UnknownNameError, match="'wrist'"):
        world.render('wirst')
    assert np.array_equal(world.data.qpos, before)
    world.step(0.1)
    assert np.abs(world.joint_state().position[:-1] - HOME).max() < 1e-4


def test_a_missing_model_is_one_clear_error(tmp_path):
    with pytest.raises(SimulationError, match=r'missing\.urdf'):
        World(ROBOT, tmp_path / 'missing.urdf')
