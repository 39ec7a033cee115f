"""The fit of a policy to a robot."""

from __future__ import annotations

from dataclasses import replace
import re

import numpy as np
import pytest

from vla_ros import config, paths
from vla_ros.errors import RobotPolicyMismatch, VlaError
from vla_ros.fit import check, check_rates, check_statistics, notes, require_fit
from vla_ros.robot import load_robot
from vla_ros.spec import ActionSlice, ImageSpec, PolicySpec, StateSlice
from vla_ros.statistics import Bounds, Identity, MeanStd

ROBOT = load_robot(paths.find('robots', 'panda'))
SPEC = config.load(paths.find('policies', 'tiny_pi0'), PolicySpec)
JOINTS = ActionSlice('joint_position', 'rad')
TOOL = ActionSlice('tool_position', 'm')
GRIPPER = ActionSlice('gripper', 'open_fraction')
SPEED = ActionSlice('joint_velocity', 'rad/s', scale=1.8)
DELTA = ActionSlice(
    'tool_delta', 'm_rad', 'previous', rotation='axis_angle', frame='base', scale=0.05,
    rotation_scale=0.5,
)  # fmt: skip


@pytest.mark.parametrize(
    ('change', 'finding'),
    [
        ({'images': (ImageSpec('ceiling', 96),)}, "needs camera 'ceiling'.*scene, wrist"),
        ({'images': (ImageSpec('wrist', 641),)}, 'gives 640x480.*641 px'),
        ({'action': ()}, 'declares no action'),
        ({'action': (GRIPPER,)}, 'exactly one of'),
        ({'action': (TOOL, JOINTS)}, 'exactly one of'),
        ({'action': (DELTA, JOINTS)}, 'exactly one of.*found tool_delta, joint_position'),
        ({'horizon': 1, 'replan_steps': 1}, "horizon of 1.*strategy 'synchronous'"),
        ({'action': (TOOL, TOOL, GRIPPER)}, 'tool_position'),
        ({'action': (TOOL, GRIPPER, GRIPPER)}, 'gripper'),
    ],
)
def test_what_does_not_fit_is_found_with_its_cure(change, finding):
    spec = replace(SPEC, **change)
    assert any(re.search(finding, text) for text in check(ROBOT, spec))
    with pytest.raises(RobotPolicyMismatch, match=finding):
        require_fit(ROBOT, spec)


def test_every_misfit_is_told_at_once():
    spec = replace(SPEC, images=(ImageSpec('a', 96), ImageSpec('b', 96)), action=())
    assert len(check(ROBOT, spec)) >= 3
    assert issubclass(RobotPolicyMismatch, VlaError)


@pytest.mark.parametrize(
    'action', [(TOOL,), (JOINTS,), (GRIPPER, JOINTS), (TOOL, GRIPPER), (DELTA,), (SPEED, GRIPPER)]
)
def test_what_fits_has_no_finding(action):
    spec = replace(SPEC, images=(ImageSpec('scene', 640),), action=action)
    assert check(ROBOT, spec) == []
    require_fit(ROBOT, spec)


def only(findings: list[str], pattern: str) -> None:
    assert len(findings) == 1 and re.search(pattern, findings[0]), findings


def test_one_picture_a_chunk_and_one_command_a_step_are_needed():
    assert check_rates(ROBOT, SPEC, 0.005) == []
    only(check_rates(ROBOT, replace(SPEC, step=0.004), 0.005), 'step of 0.004 s.*period of 0.005')
    slow = replace(ROBOT, cameras=tuple(replace(c, rate=0.5) for c in ROBOT.cameras))
    only(check_rates(slow, SPEC, 0.005), r'lasts 1\.200 s.*picture at 0\.5 Hz')
    assert check_rates(slow, replace(SPEC, images=()), 0.005) == []


def test_a_home_outside_of_its_limits_is_found():
    home = (*ROBOT.home[:6], 2.9)
    only(check(ROBOT.with_arm(home=home), SPEC), 'panda_joint7 at 2.9 rad, outside of its limits')


def test_a_tool_that_cannot_move_from_home_every_way_is_found():
    """Without its third and fifth joint the Panda holds the orientation on a surface only."""
    keep = (0, 1, 3, 5, 6)
    five = ROBOT.with_arm(
        joints=tuple(ROBOT.joints[k] for k in keep),
        home=tuple(ROBOT.home[k] for k in keep),
    )
    assert check(five, replace(SPEC, action=(JOINTS, GRIPPER))) == []
    assert check(five, replace(SPEC, action=(TOOL, GRIPPER))) == []  # the wrist turns back
    only(check(five, replace(SPEC, action=(DELTA,))), r'cannot turn 0\.1 rad about \+x')
    walls = tuple(replace(j, upper=q + 1e-3) for j, q in zip(ROBOT.joints, ROBOT.home))
    cornered = ROBOT.with_arm(joints=walls)
    only(check(cornered, SPEC), r'its tool cannot move 0\.02 m along .*which tool_position')


def test_a_robot_whose_model_cannot_be_read_is_a_finding():
    only(check(replace(ROBOT, urdf='gone.urdf'), SPEC), 'cannot read the robot model')
    only(check(ROBOT.with_arm(tool_frame='hand'), SPEC), "unknown link 'hand'")


def test_statistics_are_as_wide_as_the_slices():
    state, action = Identity(4), MeanStd(np.zeros((12, 4)), np.ones((12, 4)))
    narrow = replace(SPEC, action=SPEC.action[:1])
    only(
        check_statistics(ROBOT, narrow, state, action),
        r'action has 3 dimensions \(tool_position 3\).* statistics have 4',
    )
    only(check_statistics(ROBOT, SPEC, Identity(8), Identity(4)), 'state has 4 .* have 8')
    assert check_statistics(ROBOT, SPEC, state, Identity(4)) == []


@pytest.mark.parametrize(
    ('low', 'high', 'part', 'wrong'),
    [
        (-1.0, 1.0, GRIPPER, True),
        (0.0, 1.0, GRIPPER, False),
        (-0.05, 1.05, GRIPPER, False),
        (-1.0, 1.0, ActionSlice('gripper', 'range', closed=1.0, open=-1.0), False),
        (0.0, 0.08, ActionSlice('gripper', 'range', closed=0.0, open=0.04), True),
        (-1.0, 1.0, ActionSlice('gripper', 'open_fraction', 'observation'), False),
    ],
)
def test_a_gripper_is_declared_as_the_data_had_it(low, high, part, wrong):
    spec = replace(SPEC, action=(part, SPEC.action[0]))
    stats = Bounds([low, -9.0, -9.0, -9.0], [high, 9.0, 9.0, 9.0])
    found = check_statistics(ROBOT, spec, Identity(4), stats)
    if wrong:
        only(found, f'gripper runs from {low:.3g} to {high:.3g}.*declared closed at 0 and open')
    else:
        assert found == []
    states = (StateSlice('gripper', part.unit, closed=part.closed, open=part.open),)
    spec = replace(SPEC, state=states)
    found = check_statistics(ROBOT, spec, Bounds([low], [high]), Identity(4))
    assert any("the state's gripper" in text for text in found) == (
        wrong or part.relative_to != 'absolute'
    )


@pytest.mark.parametrize(
    ('mean', 'std', 'wrong'),
    [(0.6, 0.49, False), (0.1, 0.3, False), (0.0, 0.99, True), (0.5, 0.7, True), (1.4, 0.1, True)],
)
def test_a_mean_and_a_deviation_tell_the_range_too(mean, std, wrong):
    """Half open, half closed has a deviation of half the range; none can have more."""
    spec = replace(SPEC, action=(GRIPPER,))
    found = check_statistics(ROBOT, spec, Identity(4), MeanStd([mean], [std]))
    if wrong:
        only(found, f'gripper has mean {mean:.3g} and deviation {std:.3g}')
    else:
        assert found == []


def test_actions_faster_than_the_joints_are_noted():
    """1.8 rad/s is more than joint 1 may do (1.74), and not more than joint 5 (2.0)."""
    spec = replace(SPEC, action=(SPEED, GRIPPER))
    only(notes(ROBOT, spec), r'joint_velocity asks panda_joint1 .* 1\.80 rad/s, 1\.0 times')
    assert notes(ROBOT, replace(SPEC, action=(replace(SPEED, scale=1.7), GRIPPER))) == []
    only(notes(ROBOT, replace(SPEC, action=(JOINTS,))), 'gripper stays as it is')
    turns = ActionSlice('joint_delta', 'rad', 'previous', scale=0.3)  # 3 rad/s
    only(notes(ROBOT, replace(SPEC, action=(turns, GRIPPER))), r'3\.00 rad/s, 1\.7 times')


def test_a_tool_delta_is_as_fast_as_the_jacobian_says():
    """0.5 rad per 0.1 s about the vertical is 5 rad/s of the last joint, which hangs down."""
    spec = replace(SPEC, action=(DELTA, GRIPPER))
    only(notes(ROBOT, spec), 'the largest tool_delta asks panda_joint')
    slow = replace(DELTA, scale=0.005, rotation_scale=0.01)
    assert notes(ROBOT, replace(SPEC, action=(slow, GRIPPER))) == []
    unscaled = replace(DELTA, scale=1.0, rotation_scale=1.0)
    spec = replace(SPEC, action=(unscaled, GRIPPER))
    assert notes(ROBOT, spec) == []  # nothing is known of its size
    stats = Bounds([-0.3] * 6 + [0.0], [0.1] * 6 + [1.0])
    only(notes(ROBOT, spec, stats), 'the largest tool_delta asks')
    small = MeanStd([0.0] * 6 + [0.5], [1e-3] * 6 + [0.3])
    assert notes(ROBOT, spec, small) == []
    assert notes(ROBOT, spec, Identity(7)) == []


@pytest.mark.parametrize('rotation', ['euler_xyz', 'axis_angle', 'quaternion_xyzw'])
def test_numbers_that_jump_at_home_are_noted(rotation):
    """The tool hangs down at home: a roll of pi, or of -pi."""
    unit = 'm' if rotation == 'quaternion_xyzw' else 'm_rad'
    near = (1.0, 0.0, 0.0, 0.0) if unit == 'm' else (3.14, 0.0, 0.0)
    pose = StateSlice('tool_pose', unit, rotation=rotation)
    only(notes(ROBOT, replace(SPEC, state=(pose,))), f'its state writes .* in {rotation}.*near')
    assert notes(ROBOT, replace(SPEC, state=(replace(pose, near=near),))) == []
    acted = ActionSlice('tool_pose', unit, rotation=rotation)
    only(notes(ROBOT, replace(SPEC, action=(acted, GRIPPER))), f'its action writes .* {rotation}')
    matrix = StateSlice('tool_pose', 'm', rotation='matrix')
    assert notes(ROBOT, replace(SPEC, state=(matrix,))) == []
