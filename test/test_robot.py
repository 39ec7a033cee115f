"""RobotSpec: names, limits and cameras, and what a robot file may not say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import yaml

from vla_ros import config, paths
from vla_ros.errors import ConfigError, UnknownNameError
from vla_ros.robot import JointLimits, load_robot, RobotSpec

PANDA = paths.find('robots', 'panda')


@pytest.fixture(scope='module')
def robot() -> RobotSpec:
    return load_robot(PANDA)


def test_joints_keep_the_order_of_the_file(robot):
    table = yaml.safe_load(PANDA.read_text(encoding='utf-8'))
    assert robot.arm_joints == tuple(j['name'] for j in table['joints'])
    assert robot.joint_names == (*robot.arm_joints, table['gripper']['joint'])
    assert robot.dof == len(table['joints'])
    for what in ('lower', 'upper', 'velocity', 'acceleration', 'jerk'):
        np.testing.assert_array_equal(robot.limits(what), [j[what] for j in table['joints']])


def test_a_camera_is_found_by_its_name(robot):
    for camera in robot.cameras:
        assert robot.camera(camera.name) is camera
    with pytest.raises(UnknownNameError, match="'scen' in panda.*Did you mean 'scene'"):
        robot.camera('scen')


def test_how_pictures_come_is_one_of_two_words(robot):
    camera = robot.cameras[0]
    assert camera.transport == 'raw'
    with pytest.raises(UnknownNameError, match="camera 'scene'.*Did you mean 'compressed'"):
        replace(camera, transport='compresed')
    with pytest.raises(ConfigError, match='expected that of the raw pictures; write transport'):
        replace(camera, topic='camera/scene/image_raw/compressed')


@pytest.mark.parametrize(
    'change',
    [
        {'lower': 1.0, 'upper': 1.0},
        {'lower': float('nan')},
        {'velocity': 0.0},
        {'acceleration': -1.0},
        {'jerk': float('nan')},
    ],
)
def test_limits_that_leave_no_motion_are_refused(change):
    limits = JointLimits('elbow', -1.0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ConfigError, match="joint 'elbow'"):
        replace(limits, **change)


def test_home_has_one_value_for_each_joint(robot):
    with pytest.raises(ConfigError, match='home has 6 values, expected 7'):
        replace(robot, home=robot.home[:-1])


@pytest.mark.parametrize(
    'change',
    [
        {'ignored_pairs': (('base', 'elbo'),)},
        {'finger_capsules': ('thumb',)},
        {'floor_exempt': ('thumb',)},
    ],
)
def test_a_capsule_that_does_not_exist_is_named(robot, change):
    with pytest.raises(ConfigError, match="no capsule is called '(elbo|thumb)'"):
        replace(robot, **change)


def test_a_wrong_unit_of_a_whole_file_is_caught_by_its_type():
    table = yaml.safe_load(PANDA.read_text(encoding='utf-8'))
    table['joints'][0]['lower'] = '-160 deg'
    with pytest.raises(ConfigError, match=r'joints\[0\]: lower: expected float'):
        config.build(RobotSpec, table, 'panda.yaml')


def test_a_file_that_extends_another_says_only_what_differs(robot):
    streaming = load_robot(paths.find('robots', 'panda_streaming'))
    assert streaming.driver.streams and not robot.driver.streams
    assert replace(streaming, name=robot.name, driver=robot.driver) == robot


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('extends: pandas', "Did you mean 'panda'"),
        ('extends: panda_streaming', 'extends another'),
        ('extends: panda\nhomes: []', "Did you mean 'home'"),
        ('extends: panda\ndriver: {kind: forward_position, arm_topic: a, gripper_topic: g}',
         "Did you mean 'forward_position_controller'"),
        ('extends: panda\nenable: {timeout: 0.0}', 'more than 0'),
        ('extends: panda\ndriver: {kind: forward_position_controller, arm_topic: a, '
         'gripper_topic: g, late: -1.0}', 'late is -1.0 s'),
        ('extends: panda\ndriver: {kind: isaac, arm_topic: a, gripper: griper_command, '
         'gripper_topic: g}', "Did you mean 'gripper_command'"),
        ('extends: panda\ndriver: {kind: moveit_servo, arm_topic: a, gripper: arm}',
         'moveit_servo takes no gripper joint'),
        ('extends: panda\ndriver: {kind: isaac, arm_topic: a}', 'gripper_topic is '),
        ('extends: panda\ndriver: {kind: isaac, arm_topic: a, gripper: arm, gripper_topic: g}',
         'leave the topic out'),
        ('extends: panda\ndriver: {kind: forward_velocity_controller, arm_topic: a, '
         'gripper_topic: g, gain: 50.0}', 'gain is 50.0 1/s'),
    ],
)  # fmt: skip
def test_what_an_extension_may_not_say(tmp_path, text, words):
    file = tmp_path / 'mine.yaml'
    file.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_robot(file)


def test_the_arm_takes_the_joints_that_its_controller_has():
    names = {name: load_robot(paths.find('robots', name)) for name in ('panda', 'panda_isaac')}
    assert names['panda'].commanded_joints == names['panda'].arm_joints
    assert names['panda_isaac'].commanded_joints == names['panda'].joint_names


def test_an_extension_of_ones_own_lies_anywhere(tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text('extends: panda\nname: mine\nenable: {timeout: 0.3}')
    assert load_robot(file).enable.timeout == 0.3
