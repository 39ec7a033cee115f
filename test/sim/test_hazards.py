"""Hazards: distances against MuJoCo, where they stand, and that they repeat."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from vla_ros import paths
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import load_robot
from vla_ros.sim import hazards
from vla_ros.sim.hazards import clearance, distance, Hazard, place, start, Sweep, sweep
from vla_ros.sim.scene import HAZARD, TABLE
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, sample_episode

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
ARM = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)
HOME = np.array(ROBOT.home)
STILL = np.zeros(3)
SEEDS = range(2_000_000_000, 2_000_000_060)


def solid(shape: str, size: tuple[float, ...], yaw: float = 0.0) -> Obstacle:
    turn = np.array([0.0, 0.0, np.sin(yaw / 2.0), np.cos(yaw / 2.0)])
    return Obstacle('thing', shape, np.array(size), np.array([0.5, 0.1, 0.2]), turn, STILL, STILL)


def way(episode: Episode) -> list[np.ndarray]:
    """Return tool positions of a straight transfer to the target, down and up again."""
    x, y = episode.layout.objects[episode.target].position
    over = np.array([x, y, 0.13])
    legs = [np.array(start(episode)), over, np.array([x, y, 0.03]), over]
    return [a + s * (b - a) for a, b in pairwise(legs) for s in np.linspace(0.0, 1.0, 15)]


def swept_of(episode: Episode) -> Sweep:
    solver = InverseKinematics(ARM, lower=ROBOT.limits('lower'), upper=ROBOT.limits('upper'))
    tool = np.array(way(episode))
    joints = solver.solve_path(HOME, ARM.fk(HOME)[0], tool).q
    target = np.array([*episode.layout.objects[episode.target].position, 0.023])
    return sweep(ROBOT, ARM, joints, episode.target_shape, np.tile(target, (len(joints), 1)))


@pytest.fixture(scope='module')
def placed() -> list[tuple[Episode, Sweep, Hazard, Hazard]]:
    """Return the episodes of some seeds in which both hazards find room."""
    found = []
    for seed in SEEDS:
        episode = sample_episode('reach', seed)
        swept = swept_of(episode)
        beside, on = place('beside', episode, swept), place('on', episode, swept)
        if beside is not None and on is not None:
            found.append((episode, swept, beside, on))
    assert len(found) >= 10
    return found


@pytest.mark.parametrize(
    ('shape', 'size', 'yaw'),
    [('box', (0.08, 0.06, 0.2), 0.7), ('cylinder', (0.2, 0.04), 0.0), ('sphere', (0.05,), 0.0)],
)
def test_distances_are_those_of_mujoco(shape: str, size: tuple[float, ...], yaw: float) -> None:
    import mujoco  # not before vla_ros.sim, which says that it draws headless

    thing, rng = solid(shape, size, yaw), np.random.default_rng(4)
    kind, half = shape, {'box': [x / 2.0 for x in size], 'sphere': size}.get(shape)
    if half is None:
        half = (size[1], size[0] / 2.0)
    x, y, z, w = thing.orientation
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom type="{kind}" size="{" ".join(map(str, half))}" '
        f'pos="{" ".join(map(str, thing.position))}" quat="{w} {x} {y} {z}"/>'
        '<body mocap="true"><geom type="sphere" size="0.001"/></body></worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    points = thing.position + rng.uniform(-0.3, 0.3, (200, 3))
    for point, ours in zip(points, distance(thing, points)):
        data.mocap_pos[0] = point
        mujoco.mj_forward(model, data)
        theirs = mujoco.mj_geomDistance(model, data, 0, 1, 2.0, None) + 0.001
        if ours > 0.002:
            assert ours == pytest.approx(theirs, abs=1e-5)
        else:
            assert theirs < 0.004


def test_what_is_swept_holds_the_arms_own_geometry() -> None:
    """A thing that touches the arm in MuJoCo also touches what was swept."""
    rng, touched = np.random.default_rng(2), 0
    target = np.array([[0.5, -0.3, 0.023]])
    balls = sweep(ROBOT, ARM, HOME[None], 'ball', target)
    for _ in range(150):
        thing = replace(
            solid('sphere', (0.04,)), position=rng.uniform((0.3, -0.2, 0.2), (0.6, 0.2, 0.6))
        )
        table = Tabletop(ROBOT, URDF, (thing,))
        near = table.world.gaps(HAZARD)
        near.pop(TABLE, None)
        gap = min(near.values(), default=np.inf)
        table.world.close()
        if gap <= 0.0:
            touched += 1
            assert clearance((thing,), balls)[0] < 0.0015  # balls bulge less than their capsule
    assert touched > 10


def test_a_start_is_far_from_the_target_and_repeats() -> None:
    for seed in SEEDS:
        episode = sample_episode('pick', seed)
        tool = start(episode)
        assert tool == start(episode)
        target = episode.layout.objects[episode.target].position
        assert np.hypot(tool[0] - target[0], tool[1] - target[1]) >= hazards.FAR


def test_beside_leaves_4_to_8_cm_and_on_blocks_the_way_but_not_its_ends(
    placed: list[tuple[Episode, Sweep, Hazard, Hazard]],
) -> None:
    for episode, swept, beside, on in placed:
        low, high = hazards.BESIDE
        assert low <= clearance(beside.solids, swept).min() <= high
        gaps = clearance(on.solids, swept)
        assert gaps.min() <= -hazards.DEPTH
        assert gaps[0] >= hazards.ROOM
        assert gaps[swept.tool[:, 2] < hazards.WORK_HEIGHT].min() >= hazards.ROOM
        for hazard in (beside, on):
            for thing in episode.layout.objects:
                base = np.array([*thing.position, 0.02])
                assert min(distance(part, base) for part in hazard.solids) > 0.02


def test_a_seed_gives_the_same_hazard_again(
    placed: list[tuple[Episode, Sweep, Hazard, Hazard]],
) -> None:
    episode, swept, _, on = placed[0]
    again = place('on', episode, swept)
    assert again is not None
    assert again.free == on.free
    assert [vars(s).keys() for s in again.solids] == [vars(s).keys() for s in on.solids]
    assert all(
        (a.position == b.position).all() and (a.size == b.size).all()
        for a, b in zip(again.solids, on.solids)
    )
    assert len({tuple(one[3].solids[0].position) for one in placed}) == len(placed)


def test_a_hazard_stands_still_until_it_is_pushed(
    placed: list[tuple[Episode, Sweep, Hazard, Hazard]],
) -> None:
    for episode, _, _, on in placed[:6]:
        table = Tabletop(ROBOT, URDF, on.solids)
        table.reset(episode)
        before = table.world.link_pose(HAZARD)[1]
        assert before == pytest.approx(on.solids[0].position)
        table.world.step(1.0)
        assert np.linalg.norm(table.world.link_pose(HAZARD)[1] - before) < 0.001
        assert table.world.gaps(HAZARD)[TABLE] == pytest.approx(0.0, abs=0.001)
        table.world.close()


def test_the_arm_that_meets_a_hazard_touches_and_moves_it() -> None:
    tool = ARM.fk(HOME)[1]
    box = replace(solid('box', (0.06, 0.06, 0.4)), position=tool + np.array([0.0, 0.2, -0.1]))
    table = Tabletop(ROBOT, URDF, (box,))
    world, seen = table.world, set()
    for _ in range(100):
        world.set_command(world.joint_state().position[:-1] + 0.02 * np.eye(7)[0], 0.04, over=0.02)
        world.step(0.02)
        seen |= {body for body, gap in world.gaps(HAZARD).items() if gap <= 0.0}
    assert {'panda_hand', 'panda_leftfinger', 'panda_rightfinger'} & seen
    assert np.linalg.norm(world.link_pose(HAZARD)[1] - box.position) > 0.02
    table.world.close()


def test_a_scene_without_a_hazard_has_none() -> None:
    table = Tabletop(ROBOT, URDF)
    names = [table.world.model.body(i).name for i in range(table.world.model.nbody)]
    table.world.close()
    assert HAZARD not in names
