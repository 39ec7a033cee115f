"""Hazards: distances against MuJoCo, where they stand, how they move, and that they repeat."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from vla_ros import paths
from vla_ros.kinematics import InverseKinematics, Kinematics
from vla_ros.obstacle import Obstacle
from vla_ros.robot import load_robot
from vla_ros.sim import placement
from vla_ros.sim.hazards import ACCELERATION, Hazard, Motion, Spot, THINGS
from vla_ros.sim.placement import place, start
from vla_ros.sim.scene import TABLE
from vla_ros.sim.swept import clearance, distance, Sweep, sweep
from vla_ros.sim.tabletop import Tabletop
from vla_ros.sim.tasks import Episode, sample_episode

ROBOT = load_robot(paths.find('robots', 'panda'))
URDF = ROBOT.urdf_path
ARM = Kinematics(URDF, ROBOT.arm_joints, ROBOT.tool_frame)
HOME = np.array(ROBOT.home)
STILL = np.zeros(3)
SEEDS = range(2_000_000_000, 2_000_000_060)
SPOT = Spot(np.array([0.55, 0.30]), np.array([0.5, 0.0, 0.2]), 0.3, 2.0)


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
    times, targets = 0.1 * np.arange(len(joints)), np.tile(target, (len(joints), 1))
    return sweep(ROBOT, ARM, times, joints, episode.target_shape, targets)


def alone(thing: Obstacle) -> Hazard:
    return Hazard('on', 2, ((thing,),), 0.0)


@pytest.fixture(scope='module')
def placed() -> list[tuple[Episode, Sweep, Hazard, Hazard]]:
    """Return the episodes of some seeds in which both hazards find room."""
    found = []
    for seed in SEEDS:
        episode = sample_episode('reach', seed)
        swept = swept_of(episode)
        beside, on = (place(kind, 2, episode, swept) for kind in ('beside', 'on'))
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
    balls = sweep(ROBOT, ARM, np.zeros(1), HOME[None], 'ball', target)
    for _ in range(150):
        thing = replace(
            solid('sphere', (0.04,)), position=rng.uniform((0.3, -0.2, 0.2), (0.6, 0.2, 0.6))
        )
        table = Tabletop(ROBOT, URDF, alone(thing))
        near = table.world.hazard_gaps()
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
        assert np.hypot(tool[0] - target[0], tool[1] - target[1]) >= placement.FAR


def test_beside_leaves_4_to_8_cm_and_on_blocks_the_way_but_not_its_ends(
    placed: list[tuple[Episode, Sweep, Hazard, Hazard]],
) -> None:
    for episode, swept, beside, on in placed:
        low, high = placement.FREE['beside', 2]
        assert low <= clearance(beside.at(0.0), swept).min() <= high
        gaps = clearance(on.at(0.0), swept)
        assert gaps.min() <= placement.ON[1]
        assert gaps[0] >= placement.ROOM
        assert gaps[swept.tool[:, 2] < placement.WORK_HEIGHT].min() >= placement.ROOM
        for hazard in (beside, on):
            for thing in episode.layout.objects:
                base = np.array([*thing.position, 0.02])
                assert min(distance(part, base) for part in hazard.at(0.0)) > 0.02


def test_the_arm_works_at_the_support_of_a_stack() -> None:
    episode = sample_episode('stack', 1)
    assert episode.support is not None
    target = episode.layout.objects[episode.target].position
    support = episode.layout.objects[episode.support].position
    places = np.array([[0.3, -0.3], target, support, [0.7, 0.3]])
    tool = np.column_stack([places, np.full(4, 0.2)])
    joints, centre = np.tile(HOME, (4, 1)), np.tile([*target, 0.022], (4, 1))
    swept = replace(sweep(ROBOT, ARM, np.arange(4.0), joints, 'cube', centre), tool=tool)
    assert placement._working(episode, swept).tolist() == [True, True, True, False]
    assert not placement._working(replace(episode, task='pick'), swept)[2]


def test_a_seed_gives_the_same_hazard_again(
    placed: list[tuple[Episode, Sweep, Hazard, Hazard]],
) -> None:
    episode, swept, _, on = placed[0]
    again = place('on', 2, episode, swept)
    assert again is not None
    assert again.free == on.free
    assert [vars(s).keys() for s in again.at(0.0)] == [vars(s).keys() for s in on.at(0.0)]
    assert all(
        (a.position == b.position).all() and (a.size == b.size).all()
        for a, b in zip(again.at(0.0), on.at(0.0))
    )
    assert len({tuple(one[3].at(0.0)[0].position) for one in placed}) == len(placed)


def test_a_hazard_stands_still_until_it_is_pushed(
    placed: list[tuple[Episode, Sweep, Hazard, Hazard]],
) -> None:
    for episode, _, _, on in placed[:6]:
        table = Tabletop(ROBOT, URDF, on)
        table.reset(episode)
        before = table.world.hazard_positions()[0]
        assert before == pytest.approx(on.at(0.0)[0].position)
        table.world.step(1.0)
        assert np.linalg.norm(table.world.hazard_positions()[0] - before) < 0.001
        assert table.world.hazard_gaps()[TABLE] == pytest.approx(0.0, abs=0.001)
        table.world.close()


def test_the_arm_that_meets_a_hazard_touches_and_moves_it() -> None:
    tool = ARM.fk(HOME)[1]
    box = solid('box', (0.06, 0.06, 0.4))
    box = replace(box, position=np.array([tool[0], tool[1] + 0.2, 0.2]))
    table = Tabletop(ROBOT, URDF, alone(box))
    world, seen = table.world, set()
    for _ in range(400):
        joints = world.joint_state().position[:-1] + 0.005 * np.eye(7)[0]
        world.set_command(joints, 0.04, over=0.005)
        world.step(0.005)
        seen |= {body for body, gap in world.hazard_gaps().items() if gap <= 0.0}
    assert {'panda_hand', 'panda_leftfinger', 'panda_rightfinger'} & seen
    assert np.linalg.norm(world.hazard_positions()[0] - box.position) > 0.02
    table.world.close()


def test_a_scene_without_a_hazard_has_none() -> None:
    table = Tabletop(ROBOT, URDF)
    names = [table.world.model.body(i).name for i in range(table.world.model.nbody)]
    table.world.close()
    assert not [name for name in names if name.startswith('hazard')]


@given(
    length=st.floats(0.22, 0.30), speed=st.floats(0.05, 0.4), begin=st.floats(-3.0, 3.0),
    pause=st.floats(0.0, 2.0), now=st.floats(-1.0, 16.0),
)  # fmt: skip
def test_a_hand_goes_in_and_back_within_its_declared_bounds(
    length: float, speed: float, begin: float, pause: float, now: float
) -> None:
    """Whatever a filter foresees from a pose, a velocity and a bound of acceleration holds."""
    motion = Motion(np.array([1.0, 0.0, 0.0]), length, speed, begin, pause)
    place_now, speed_now = motion.at(now)
    assert 0.0 <= place_now <= length and abs(speed_now) <= speed + 1e-9
    for ahead in (0.02, 0.1, 0.5, 2.0):
        later, _ = motion.at(now + ahead)
        bound = ACCELERATION * ahead**2 / 2.0
        assert abs(later - place_now - speed_now * ahead) <= bound + 1e-9
    at_rest = solid('sphere', (0.05,))
    told = Hazard('hand', 1, ((at_rest,),), 0.0, motion).at(now)[0]
    assert told.position - at_rest.position == pytest.approx(place_now * motion.direction)
    assert told.linear_velocity == pytest.approx(speed_now * motion.direction)
    assert motion.at(begin + motion.way + pause / 2.0) == pytest.approx((length, 0.0), abs=1e-9)
    assert motion.at(motion.end + 0.01) == (0.0, 0.0)


def test_a_hand_in_mujoco_is_where_the_filter_is_told_and_nothing_stops_it() -> None:
    bodies, motion = THINGS['hand'](SPOT, 2, np.random.default_rng(1))
    assert motion is not None
    hazard = Hazard('hand', 2, bodies, 0.0, replace(motion, begin=0.2))
    table = Tabletop(ROBOT, URDF, hazard)
    table.reset(sample_episode('reach', 1))
    for _ in range(30):
        table.world.step(0.1)
        there = table.world.hazard_positions()[0]
        assert there == pytest.approx(hazard.at(table.world.time)[0].position, abs=1e-9)
    table.world.close()
    assert not any(solid.moves for solid in hazard.at(hazard.end))
    assert all(solid.moves for solid in hazard.at(hazard.end - 0.01))


@pytest.mark.parametrize('kind', ['tower', 'shelf'])
@pytest.mark.parametrize('level', [1, 2])
def test_what_stands_on_the_table_stands_by_itself_and_falls_at_a_push(
    kind: str, level: int
) -> None:
    bodies, _ = THINGS[kind](SPOT, level, np.random.default_rng(level))
    table = Tabletop(ROBOT, URDF, Hazard(kind, level, bodies, 0.0))
    table.reset(sample_episode('reach', 1))
    before = table.world.hazard_positions()
    table.world.step(20.0)  # [s] as long as most episodes
    moved = table.world.hazard_positions() - before
    assert np.linalg.norm(moved, axis=1).max() < 0.0005
    if kind == 'tower':
        table.world.data.joint(f'hazard{len(bodies) - 1}').qvel[0] = 1.0  # [m/s]
        table.world.step(1.0)
        assert table.world.hazard_positions()[-1, 2] < before[-1, 2] - 0.03
    table.world.close()


def test_every_kind_and_level_keeps_room_to_work_and_repeats() -> None:
    found: set[tuple[str, int]] = set()
    for seed in SEEDS[:30]:
        episode = sample_episode('reach', seed)
        swept = swept_of(episode)
        low = swept.tool[:, 2] < placement.WORK_HEIGHT
        for kind in THINGS:
            for level in (1, 2):
                hazard = (kind, level) not in found and place(kind, level, episode, swept)
                if not hazard:
                    continue
                found.add((kind, level))
                in_the_way = hazard.at(hazard.motion.begin + hazard.motion.way
                                       if hazard.motion else 0.0)  # fmt: skip
                gaps = clearance(in_the_way, swept)
                least, most = placement.FREE.get((kind, level), placement.ON)
                assert least <= gaps.min() <= most
                assert min(gaps[0], gaps[low].min()) >= placement.ROOM
                again = place(kind, level, episode, swept)
                assert again is not None and again.free == hazard.free
    assert found == {(kind, level) for kind in THINGS for level in (1, 2)}
