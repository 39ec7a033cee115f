"""A pair of arms composed of two robot files: the same arms, each at its place."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pinocchio as pin
import pytest
from scipy.spatial.transform import Rotation
import yaml

from vla_ros import graph, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.kinematics import Kinematics
from vla_ros.robot import build_robot, load_robot

PAIR = load_robot(paths.find('robots', 'dual_panda'))
PANDA = load_robot(paths.find('robots', 'panda'))
TURN = Rotation.from_euler('xyz', [0.3, -0.9, 2.0])
LEVEL = Rotation.from_euler('xyz', [0.0, np.pi / 2.0, 0.7])  # roll and yaw about one axis
TABLE = {
    'name': 'mine',
    'arms': {
        'one': {'robot': 'panda', 'prefix': 'b_', 'position': [0.1, 0.4, 0.2]},
        'other': {'robot': 'panda', 'prefix': 'a_', 'position': [-0.2, -0.3, 0.2]},
    },
}


def rig(**changes):
    """Return a robot with other mounts: arm -> keys."""
    arms = {name: {**TABLE['arms'][name], **changes.get(name, {})} for name in TABLE['arms']}
    own = {key: value for key, value in changes.items() if key not in arms}
    return build_robot({**TABLE, 'arms': arms, **own}, 'mine.yaml')


def test_joints_of_all_arms_come_before_those_of_all_grippers():
    names = [f'{side}_{name}' for side in ('left', 'right') for name in PANDA.arm_joints]
    fingers = [f'{side}_{PANDA.gripper.joint}' for side in ('left', 'right')]
    assert list(PAIR.joint_names) == [*names, *fingers]
    assert (PAIR.dof, len(PAIR.grippers), len(PAIR.home)) == (14, 2, 14)
    for k, arm in enumerate(PAIR.arms):
        assert PAIR.joint_names[PAIR.columns(arm)] == arm.joint_names
        assert PAIR.joint_names[PAIR.grip_column(arm)] == arm.gripper.joint
        assert PAIR.every_column(arm) == [*range(7 * k, 7 * k + 7), 14 + k]
        assert (arm.limits('jerk') == PANDA.limits('jerk')).all()


@pytest.mark.parametrize('turn', [TURN, LEVEL], ids=['any', 'level'])
def test_every_tool_is_where_its_base_and_its_own_arm_say(turn):
    """Against the single arm moved by hand, and Pinocchio on all of the composed URDF."""
    robot = rig(one={'orientation': turn.as_quat().tolist()}, floor_height=0.0)
    whole = pin.buildModelFromUrdf(str(robot.urdf_path))
    data, rng = whole.createData(), np.random.default_rng(4)
    alone = Kinematics(PANDA.urdf_path, PANDA.arm_joints, PANDA.tool_frame)
    bases = {'one': (turn, [0.1, 0.4, 0.2]), 'other': (Rotation.identity(), [-0.2, -0.3, 0.2])}
    for _ in range(20):
        q = rng.uniform(robot.limits('lower'), robot.limits('upper'))
        full = pin.neutral(whole)
        for name, value in zip(robot.arm_joints, q):
            full[whole.joints[whole.getJointId(name)].idx_q] = value
        pin.framesForwardKinematics(whole, data, full)
        for arm in robot.arms:
            mine = Kinematics(robot.urdf_path, arm.joint_names, arm.tool_frame)
            r, p = mine.fk(q[robot.columns(arm)])
            place = data.oMf[whole.getFrameId(arm.tool_frame)]
            np.testing.assert_allclose(p, place.translation, atol=1e-12)
            np.testing.assert_allclose(r, place.rotation, atol=1e-12)
            base, at = bases[arm.name]
            own_r, own_p = alone.fk(q[robot.columns(arm)])
            np.testing.assert_allclose(p, base.apply(own_p) + at, atol=1e-9)
            np.testing.assert_allclose(r, base.as_matrix() @ own_r, atol=1e-9)


def test_the_same_file_gives_the_same_description_and_another_place_another():
    assert rig().urdf == rig().urdf
    assert rig().urdf_path.read_bytes() == rig().urdf_path.read_bytes()
    assert rig(one={'position': [0.1, 0.5, 0.2]}).urdf != rig().urdf
    root = ElementTree.parse(rig().urdf_path).getroot()
    for kind in ('link', 'joint', 'material'):
        names = [e.attrib['name'] for e in root.findall(kind)]
        assert len(names) == len(set(names)) > 0


def test_pairs_within_an_arm_are_ignored_as_its_file_says_and_none_between_arms():
    inner = {frozenset(pair) for pair in PAIR.ignored_pairs}
    assert len(inner) == 2 * len(PANDA.ignored_pairs)
    assert all(len({name.split('_')[0] for name in pair}) == 1 for pair in inner)


def test_topics_and_cameras_have_a_prefix_or_a_namespace():
    topics = [topic.name for topic in graph.command_topics(PAIR)]
    driver = PANDA.driver
    for side in ('left_', 'right_'):
        assert {side + driver.arm_topic, side + driver.gripper_topic} <= set(topics)
    spaced = rig(one={'namespace': 'north', 'cameras': ['wrist']}, other={'cameras': []})
    assert spaced.arm('one').driver.arm_topic == f'north/{driver.arm_topic}'
    assert [(c.name, c.topic) for c in spaced.cameras] == [
        ('b_wrist', f'north/{PANDA.camera("wrist").topic}')
    ]


def test_floors_agree_or_one_is_said(tmp_path):
    assert rig().floor_height == pytest.approx(0.2)
    with pytest.raises(ConfigError, match='its floors are at .* say floor_height'):
        rig(one={'position': [0.0, 0.4, 0.3]})
    with pytest.raises(ConfigError, match='does not stand: say floor_height'):
        rig(one={'orientation': TURN.as_quat().tolist()})
    assert rig(one={'position': [0.0, 0.4, 0.3]}, floor_height=0.1).floor_height == 0.1


def test_what_stands_around_an_arm_moves_with_it(tmp_path):
    post = {'name': 'post', 'shape': 'box', 'size': [0.1, 0.1, 0.4], 'position': [0.2, 0.0, 0.1],
            'orientation': [0.0, 0.0, 0.6, 0.8]}  # fmt: skip
    file = tmp_path / 'posted.yaml'
    file.write_text(yaml.safe_dump({'extends': 'panda', 'name': 'posted', 'obstacles': [post]}))
    turn = {'robot': str(file), 'orientation': TURN.as_quat().tolist()}
    (found,) = rig(one=turn, floor_height=0.0).obstacles
    assert found.name == 'b_post'
    np.testing.assert_allclose(found.position, TURN.apply([0.2, 0.0, 0.1]) + [0.1, 0.4, 0.2])
    wanted = (TURN * Rotation.from_quat(post['orientation'])).as_matrix()
    np.testing.assert_allclose(Rotation.from_quat(found.orientation).as_matrix(), wanted)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'one': {'robot': 'pandas'}}, "Did you mean 'panda'"),
        ({'one': {'prefx': 'b_'}}, "Did you mean 'prefix'"),
        ({'one': {'orientation': [0.0, 0.0, 0.0, 2.0]}}, 'has length 2.0, expected 1'),
        ({'one': {'prefix': 'a_'}}, 'joints of one name: a_panda_'),
        ({'one': {'robot': 'dual_panda'}}, 'dual_panda has several arms'),
        ({'one': {'robot': 'panda_streaming'}}, 'the forwarder serves one arm'),
        ({'tool_frame': 'hand'}, "unknown key 'tool_frame'"),
    ],
)
def test_what_a_rig_may_not_say(change, words):
    with pytest.raises(ConfigError, match=words):
        rig(**change)


def test_a_robot_of_its_own_urdf_names_its_arms():
    """A rig that has one description: every arm says its fields, and their order is the file's."""
    table = yaml.safe_load(paths.find('robots', 'panda').read_text(encoding='utf-8'))
    arm = {key: table.pop(key) for key in ('tool_frame', 'joints', 'home', 'driver', 'gripper')}
    robot = build_robot({**table, 'arms': {'only': arm}}, 'mine.yaml')
    assert robot.arm('only') == replace(PANDA.arm(), name='only')
    with pytest.raises(UnknownNameError, match="arm 'onli' .*Did you mean 'only'"):
        robot.arm('onli')
    del arm['home']
    with pytest.raises(ConfigError, match=r'arms\[0\]: missing home'):
        build_robot({**table, 'arms': {'only': arm}}, 'mine.yaml')


def test_what_is_about_one_arm_asks_which(tmp_path):
    for word in ('tool_frame', 'driver', 'gripper'):
        with pytest.raises(ConfigError, match='several arms: say which of left, right'):
            getattr(PAIR, word)
    with pytest.raises(UnknownNameError, match="Did you mean 'left'"):
        PAIR.arm('lef')


def test_an_arm_without_a_gripper_has_nothing_to_command_there():
    driver = replace(PANDA.driver, gripper_topic='')
    bare = PANDA.with_arm(gripper=None, driver=driver)
    assert bare.joint_names == PANDA.arm_joints and bare.grippers == ()
    assert bare.ready.tolist() == list(PANDA.home)
    assert [t.name for t in graph.command_topics(bare)] == [driver.arm_topic]
    with pytest.raises(ConfigError, match='has no gripper'):
        _ = bare.gripper
    with pytest.raises(ConfigError, match='leave the topic out if'):
        PANDA.with_arm(gripper=None)
    with pytest.raises(ConfigError, match='and give it if not'):
        PANDA.with_arm(driver=driver)
